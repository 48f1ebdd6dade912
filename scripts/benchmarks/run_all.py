"""Run every step of the benchmark and keep its lines as JSON, a file a step.

A step whose file is there is skipped, so that a run that was cut off goes on where it stopped.
``table.py`` turns the files into Markdown. Steps named ``gpu_`` run only where there is a GPU; the
others do not see it. Run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from detection.io.files import write_json_atomic
from detection.runs.environment import describe_environment

HERE = Path(__file__).resolve().parent
KEPT = (
    *("detection", "revision", "python", "processor", "instructions", "cpu_count"),
    *("gpus", "cuda", "packages"),
)


@dataclass(frozen=True, kw_only=True)
class Step:
    """A script with its arguments; ``quick`` replaces the sizes for a smoke run.

    Attributes:
        script: its name without ``.py``.
        words: of the command line.
        quick: the same for a smoke run.
        needs_run: reads a trained detector with fc layers.
    """

    script: str
    words: str = ""
    quick: str = ""
    needs_run: bool = False


def both(name: str, script: str, words: str, quick: str) -> dict[str, Step]:
    """Return the step on two threads and on one."""
    return {
        f"{name}_{threads}t": Step(
            script=script, words=f"{words} --threads {threads}", quick=f"{quick} --threads 1"
        )
        for threads in (2, 1)
    }


def whole(name: str, backbone: str, words: str) -> dict[str, Step]:
    """Return the step of one backbone on whole images."""
    fixed = f"{{images}} --backbones {backbone} --out {{out}}/stages"
    quick = f"{fixed} --num-images 1 --max-boxes 20"
    return {name: Step(script="whole_image", words=f"{fixed} {words}", quick=quick)}


STEPS: dict[str, Step] = {
    "selective_search": Step(
        script="selective_search",
        words="--images {images}",
        quick="--images {images} --images 1 --repeats 1",
    ),
    **both("spp_pooling", "spp_pooling", "", "--rois 40 --repeats 1 --loop-repeats 1"),
    **both("nms", "nms", "", "--boxes 60 --repeats 1"),
    **both("fc", "fc", "", "--rois 20 --feature-dim 400 --repeats 1"),
    "fc_loss": Step(
        script="fc_loss",
        words="{run} --max-boxes 300",
        quick="{run} --max-boxes 10",
        needs_run=True,
    ),
    **both("conv_trunk", "conv_trunk", "", "--repeats 1 --networks 1"),
    **both("training_operators", "training_operators", "", "--images 1 --rois 8 --repeats 1"),
    "svm_2t": Step(
        script="svm",
        words="--threads 2 --repeats 2",
        quick="--rows 400 --feature-dim 64 --classes 3 --repeats 1",
    ),
    "cold_reads": Step(script="cold_reads", quick="--repeats 1"),
    "duplicate_windows": Step(
        script="duplicate_windows",
        words="{images} --num-images 6 --repeats 9 --threads 2",
        quick="{images} --num-images 1 --repeats 1",
    ),
    **whole("whole_image_zf5", "zf5", "--num-images 5 --threads 2"),
    **whole("whole_image_alexnet", "alexnet", "--num-images 5 --threads 2"),
    **whole("whole_image_vgg16", "vgg16", "--num-images 2 --threads 2"),
    **whole("whole_image_zf5_int8", "zf5", "--num-images 5 --fc int8 --threads 2"),
    **{
        f"whole_image_{backbone}_forms": Step(
            script="whole_image_forms",
            words=f"{{images}} --backbone {backbone} --threads 2 --out {{out}}/stages {images}",
            quick=f"{{images}} --backbone {backbone} --num-images 1 --max-boxes 20 --keep 5 "
            "--repeats 2 --side 256",
        )
        for backbone, images in (
            ("zf5", ""),
            ("alexnet", "--num-images 5"),
            ("vgg16", "--num-images 1"),
        )
    },
    **whole("whole_image_alexnet_int8", "alexnet", "--num-images 5 --fc int8 --threads 2"),
    **whole("whole_image_vgg16_int8", "vgg16", "--num-images 2 --fc int8 --threads 2"),
    "context": Step(
        script="context",
        words="{images} --num-images 10 --threads 2",
        quick="{images} --num-images 1 --backbones alexnet",
    ),
    "throughput": Step(
        script="throughput",
        words="{images}",
        quick="{images} --num-images 2 --repeats 1 --long-side 600",
    ),
    "training_features": Step(
        script="training_features",
        words="{images} --threads 2",
        quick="{images} --num-images 1 --crops 2",
    ),
    "scaling": Step(
        script="scaling",
        words="--threads 2 --out {out}/stages --plot {plots}/scaling.png",
        quick="--largest 200 --repeats 1",
    ),
    "proposal_recall": Step(
        script="proposal_recall",
        words="--voc {voc} --out {out}/stages --plot {plots}/recall.png --keep runs/recall",
        quick="--voc {voc} --images 1 --plot {plots}/recall.png",
    ),
    "gpu_busy": Step(script="gpu_busy", words="{images}", quick="{images} --num-images 2"),
    "gpu_spp_pooling": Step(script="spp_pooling", words="--cuda 1", quick="--cuda 1 --repeats 1"),
    **{
        key: step
        for backbone in ("zf5", "alexnet", "vgg16")
        for scales in (1, 5)
        for key, step in whole(
            f"gpu_whole_image_{backbone}_{scales}scale",
            backbone,
            f"--num-images 10 --repeats 3 --num-scales {scales}",
        ).items()
    },
}


def command_of(step: Step, options: argparse.Namespace) -> list[str]:
    """Return the words of a step's command line, from the script on."""
    words = (step.quick if options.quick else step.words).split()
    voc = options.voc.as_posix()
    places = {
        "images": f"{voc}/VOC2012/JPEGImages",
        "voc": voc,
        "out": options.out.as_posix(),
        "plots": (options.out if options.quick else options.plots).as_posix(),
        "run": options.fc_run.as_posix(),
    }
    return [f"{step.script}.py", *(word.format(**places) for word in words), "--json"]


def run(name: str, step: Step, options: argparse.Namespace) -> None:
    """Run one step and write its file.

    Raises:
        SystemExit: where the script fails.
    """
    words = command_of(step, options)
    hidden = {} if name.startswith("gpu_") else {"CUDA_VISIBLE_DEVICES": ""}
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, str(HERE / words[0]), *words[1:]],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | hidden,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(f"{name}: expected exit code 0, got {done.returncode}")
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    described = describe_environment()
    result = {
        "command": " ".join(["python", f"scripts/benchmarks/{words[0]}", *words[1:]]),
        "seconds": round(time.perf_counter() - start, 1),
        "environment": {key: described[key] for key in KEPT},
        "lines": lines,
    }
    write_json_atomic(options.out / f"{name}.json", result)
    print(f"{name}: {len(lines)} lines in {result['seconds']:.0f} s", flush=True)


def main() -> None:
    """Run what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("steps", nargs="*", metavar="STEP", help=f"of {', '.join(STEPS)}")
    parser.add_argument("--voc", type=Path, default=Path("data/voc2012-subset/VOCdevkit"))
    parser.add_argument("--fc-run", type=Path, default=Path("runs/subset_sppnet_fc"))
    parser.add_argument("--out", type=Path, help="a folder; the default is results/ beside this")
    parser.add_argument("--plots", type=Path, default=Path("docs/images"), help="for the figures")
    parser.add_argument("--again", action="store_true", help="also where the file is there")
    parser.add_argument("--quick", action="store_true", help="smallest sizes, numbers thrown away")
    options = parser.parse_args()
    unknown = set(options.steps) - set(STEPS)
    if unknown:
        parser.error(f"expected steps of {', '.join(STEPS)}, got {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory() as nowhere:
        default = Path(nowhere) if options.quick else Path(os.path.relpath(HERE / "results"))
        options.out = options.out or default
        for name in options.steps or STEPS:
            if name.startswith("gpu_") and not torch.cuda.is_available():
                print(f"{name}: not measured, there is no GPU here")
            elif STEPS[name].needs_run and not options.fc_run.exists():
                print(f"{name}: not measured, there is no {options.fc_run}")
            elif options.again or not (options.out / f"{name}.json").exists():
                run(name, STEPS[name], options)


if __name__ == "__main__":
    main()
