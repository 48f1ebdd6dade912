"""Functions that kill the worker that calls them."""

import os
import signal


def killed_once(path):
    if not path.exists():
        path.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return path.name


def killed(number):
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return number
