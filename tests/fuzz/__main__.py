"""Feed damaged inputs to the readers of files; a line of JSON each, exit code 1 at a bug."""

import argparse
import json
import logging
import sys
from pathlib import Path

import torch

from tests.fuzz.models import ModelFile
from tests.fuzz.readers import Annotation, Coco, ImageFile, Settings, Split, VocFolder, scratch
from tests.fuzz.runner import fuzz, mutant

READERS = {
    "annotation": Annotation,
    "voc": VocFolder,
    "split": Split,
    "coco": Coco,
    "image": ImageFile,
    "model": ModelFile,
    "config": Settings,
}

QUICK = {
    "annotation": 3000,
    "voc": 1000,
    "split": 1500,
    "coco": 4000,
    "image": 4000,
    "model": 400,
    "config": 1500,
}
"""How many inputs take a second or two each."""


def main(words=None):
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description=__doc__)
    parser.add_argument("--readers", nargs="+", choices=READERS, default=list(READERS))
    parser.add_argument("--inputs", type=int, default=10_000, help="of each reader")
    parser.add_argument("--seconds", type=float, default=3600, help="at most, of each reader")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a few thousand inputs of each reader")
    parser.add_argument("--one", type=int, help="read this input alone, without a net")
    options = parser.parse_args(words)
    logging.disable(logging.CRITICAL)
    torch.set_num_threads(1)
    bugs = 0
    for name in options.readers:
        with scratch() as folder:
            reader = READERS[name](Path(folder))
            if options.one is not None:
                data = mutant(reader, options.seed, options.one)
                print(data[:3000])  # noqa: T201
                reader.read(data)
                continue
            inputs = QUICK[name] if options.quick else options.inputs
            report = fuzz(reader, inputs, seed=options.seed, seconds=options.seconds)
        bugs += len(report["bugs"])
        print(json.dumps({"reader": name, "seed": options.seed} | report), flush=True)  # noqa: T201
    return 1 if bugs else 0


if __name__ == "__main__":
    sys.exit(main())
