"""Kill a fine-tuning at random moments until it has died often enough; say how its runs ended.

``python -m tests.training.killed FOLDER KILLS [map]`` prints JSON; with ``map`` the weights are
chosen by the mAP on held-out images. Everything that trains is forked from a process that has
imported what is needed, so that a life costs no start-up time.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from detection.io.files import sha256_of_bytes
from detection.training.finetune import FineTuner, fine_tune
from tests.training import tiny

CONFIG = tiny.config(
    validate_map_every=10 if sys.argv[3:] == ["map"] else 0,
    iterations=90,
    checkpoint_every=4,
    batch_size=8,
    images_per_batch=1,
    open_layers=1,
    joint_bbox=True,
    validation_fraction=0.34,
    validate_every=10,
    validation_batches=1,
)


def live(records, run):
    """Train to the end, resuming; leave the hash of all weights."""
    images = tiny.training_images(CONFIG, records)
    tuned = fine_tune(images, CONFIG, run, resume=True)
    tensors = [
        tuned.scorer.weight,
        tuned.scorer.bias,
        tuned.regressors.weight,
        tuned.fc.fc6.weight,
        tuned.fc.fc7.weight,
        *images.source.extractor.backbone.state_dict().values(),
    ]
    data = b"".join(tensor.contiguous().numpy().tobytes() for tensor in tensors)
    (run / "hash").write_text(sha256_of_bytes(data))


def start(records, run):
    """Fork a life; return its process id once it is at its first step."""
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        os.read(reading, 1)
        os.close(reading)
        return child
    step, code = FineTuner.step, 1

    def first_step(self, index):
        os.write(writing, b"!")
        FineTuner.step = step
        return step(self, index)

    FineTuner.step = first_step
    try:
        live(records, run)
        code = 0
    finally:
        os._exit(code)


def main(folder, kills):
    torch.set_num_threads(1)
    records = tiny.records(folder)
    child = start(records, folder / "straight")
    began = time.monotonic()
    assert os.waitpid(child, 0)[1] == 0
    length = time.monotonic() - began
    expected = (folder / "straight" / "hash").read_text()
    chance = random.Random(0)
    done, hashes, deaths = 0, [], []
    while done < kills or not hashes:
        run = folder / f"run{len(hashes)}"
        while not (run / "hash").exists():
            child = start(records, run)
            if done < kills:
                time.sleep(chance.uniform(0, length / 8))
                os.kill(child, signal.SIGKILL)
            status = os.waitpid(child, 0)[1]
            if os.WIFSIGNALED(status):
                done += 1
                deaths.append(len(list(run.glob("step-*.pt"))) if run.exists() else 0)
            else:
                assert status == 0
        hashes.append((run / "hash").read_text())
    equal = all(value == expected for value in hashes)
    report = {"kills": done, "runs": len(hashes), "equal": equal, "checkpoints": deaths}
    sys.stdout.write(json.dumps(report) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
