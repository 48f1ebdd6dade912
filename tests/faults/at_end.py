"""A search that never ends or is killed, imported in a moment by the process that searches."""

import os
import signal
import time

import numpy as np


def find(name, pixels, config, threads):
    """Sleep, die or find nothing, as the name says."""
    if name == "endless":
        time.sleep(600)
    if name == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    return np.zeros((0, 4), np.float32)
