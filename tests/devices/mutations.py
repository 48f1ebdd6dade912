"""Remove one transfer between devices at a time: does a scenario notice?

``python -m tests.devices.mutations`` works on a copy of the tree and prints a row a mutation; the
exit code is 1 if one survives.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]

MUTATIONS = (
    ("detector.py", "proposals.boxes.to(device)", "proposals.boxes", "sppnet"),
    ("detector.py", "scorer=self.scorer.to(target)", "scorer=self.scorer", "moved_detector"),
    ("postprocess.py", ", dim=1).cpu()", ", dim=1)", "sppnet"),
    ("training/rois.py", "    values = values.to(rows.device)\n", "", "overlaps_of_shared_rows"),
    (
        "training/rois.py",
        "values.new_zeros(num_rows, values.shape[1])",
        "torch.zeros(num_rows, values.shape[1])",
        "sppnet",
    ),
    ("training/svms.py", "its_labels.to(values[-1].device)", "its_labels", "sppnet"),
    ("training/feature_cache.py", "moved(maps, self.extractor.device)", "maps", "sppnet"),
    (
        "training/feature_cache.py",
        "moved(kept, self.extractor.device)",
        "kept",
        "tuned_conv_layers_with_softmax",
    ),
    ("training/bbox_targets.py", "bias=bias).to(self._device)", "bias=bias)", "trained_in_memory"),
    (
        "heads/hard_negatives.py",
        "stored = kept.to(self._storage)",
        "stored = kept",
        "rows_in_host_memory",
    ),
    (
        "kernels/tall_matmul.py",
        "torch.mm(block.to(weights), padded.T",
        "torch.mm(block.to(weights.dtype), padded.T",
        "rows_in_host_memory",
    ),
    ("heads/svm.py", "config).to(targets.device)", "config)", "liblinear"),
    (
        "heads/svm.py",
        "weight=self.weight.to(device), bias=self.bias.to(device)",
        "weight=self.weight, bias=self.bias",
        "moved_svms",
    ),
    ("features/sppnet.py", "boxes = boxes.to(self.device)", "pass", "sppnet"),
    (
        "features/rcnn.py",
        "torch.unique(boxes.to(self.device)",
        "torch.unique(boxes",
        "rcnn",
    ),
    ("training/finetune.py", ".to(like.device)", "", "tuned_fc_layers"),
    ("classification/view_scores.py", "images.to(model.fc8.weight.device)", "images", "classifier"),
    ("proposals/search.py", "image.pixels.cpu()", "image.pixels", "proposals_of_an_image_there"),
)
"""(module, what stands there, what stands there instead, the scenario that must notice)."""


def survives(tree: Path, number: int) -> bool:
    """Return whether the scenario passes although the transfer is missing."""
    name, old, new, scenario = MUTATIONS[number]
    path = tree / "detection" / name
    text = path.read_text()
    if old not in text:
        message = f"{name}: expected {old!r}"
        raise ValueError(message)
    path.write_text(text.replace(old, new, 1))
    out = tree / f"out{number}"
    out.mkdir()
    environment = os.environ | {"PYTHONPATH": str(tree)}
    command = [sys.executable, "-m", "tests.devices", str(out), scenario]
    subprocess.run(command, cwd=tree, env=environment, capture_output=True, check=True)
    path.write_text(text)
    return not json.loads((out / f"{scenario}.json").read_text())


def main() -> int:
    """Try all of them."""
    alive = 0
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        for part in ("detection", "tests"):
            shutil.copytree(ROOT / part, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
        for number, (name, old, _, scenario) in enumerate(MUTATIONS):
            lives = survives(tree, number)
            alive += lives
            word = "SURVIVES" if lives else "caught"
            sys.stdout.write(f"{word} {name} {old.strip()!r} {scenario}\n")
    sys.stdout.write(f"{len(MUTATIONS) - alive} of {len(MUTATIONS)} mutations caught\n")
    return int(alive > 0)


if __name__ == "__main__":
    sys.exit(main())
