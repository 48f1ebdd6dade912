"""The same seed twice, and one process against four: the same numbers to the bit, on a CPU.

With another number of threads torch's conv layers round otherwise, and a GPU does: both within
bounds that are tested here.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from detection.config import FeatureConfig, ProposalConfig
from detection.data.images import read_image
from detection.ensemble import score
from detection.features.factory import make_extractor
from detection.io.tensors import load_tensors
from detection.model_io import load_detector
from detection.proposals.search import propose, resolve_backend
from detection.runs.folder import read_run_config
from tests.faults.conftest import Trained
from tests.faults.small import FINE_TUNING, SETTINGS, run, where, write_tree
from tests.features.contract import BOXES, picture
from tests.training import tiny


def work(folder: Path, trained: Trained, settings: tuple[str, ...], workers: int) -> dict[str, str]:
    """Propose, train and evaluate from nothing; return what comes out, as text."""
    options = (*settings, *where(trained.tree, folder / "boxes"))
    options += ("--proposals.workers", str(workers))
    out = folder / "run"
    assert run("train", *options, "--out", out) == 0
    assert run("evaluate", out, "--proposals.workers", workers) == 0
    metrics = json.loads((out / "metrics.json").read_text())
    metrics.pop("config")
    boxes = sorted((folder / "boxes").rglob("*.safetensors"))
    tensors, _ = load_tensors(out / "model.safetensors")
    return {
        "boxes": str([load_tensors(path)[0]["boxes"].tolist() for path in boxes]),
        "weights": str({name: t.double().sum().item() for name, t in sorted(tensors.items())}),
        "svms": str([tensors["svm.weight"].tolist(), tensors["svm.bias"].tolist()]),
        "regressors": str(tensors["bbox.weight"].tolist()),
        "detections": (out / "detections" / "coco.json").read_text(),
        "metrics": json.dumps(metrics),
    }


@pytest.mark.parametrize("settings", [SETTINGS, FINE_TUNING], ids=["svm", "fine-tuning"])
def test_f52_the_same_seed_twice_and_one_against_four_workers_change_no_bit(
    trained_once: Trained, tmp_path: Path, settings: tuple[str, ...]
) -> None:
    settings = tuple("pool5" if word == "fc7" else word for word in settings)
    first = work(tmp_path / "first", trained_once, settings, 1)
    again = work(tmp_path / "again", trained_once, settings, 4)
    assert first == again
    assert json.loads(first["detections"])


def test_f52_another_seed_changes_the_weights(trained_once: Trained, tmp_path: Path) -> None:
    out = tmp_path / "run"
    seed = ("--finetune.seed", "1")
    assert run("train", *FINE_TUNING, *trained_once.where, *seed, "--out", out) == 0
    other = tmp_path / "other"
    assert run("train", *FINE_TUNING, *trained_once.where, "--out", other) == 0
    a, b = (load_tensors(path / "model.safetensors")[0] for path in (out, other))
    assert not torch.equal(a["fc.fc7.weight"], b["fc.fc7.weight"])


@pytest.mark.parametrize("method", ["sppnet", "rcnn"])
def test_f52_the_number_of_threads_changes_features_by_rounding_alone(method: str) -> None:
    config = FeatureConfig(method=method, scales=(96,), device="cpu", context=2)
    extractor = make_extractor(tiny.backbone(), config)
    threads = torch.get_num_threads()
    features = []
    try:
        for number in (1, 4):
            torch.set_num_threads(number)
            features.append(extractor.extract(picture(60, 90), BOXES).expand())
    finally:
        torch.set_num_threads(threads)
    torch.testing.assert_close(*features, rtol=1e-5, atol=1e-5)


def test_f52_boxes_do_not_depend_on_the_number_of_threads(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "data", train=1, test=1)
    image = read_image(tree.root / "JPEGImages" / "000001.jpg", "1")
    for mode in ("fast", "paper_fast"):
        config = ProposalConfig(backend="native", mode=mode)
        one, four = (propose(image, config, threads=number).boxes for number in (1, 4))
        assert torch.equal(one, four)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_f52_a_gpu_changes_scores_by_less_than_a_thousandth_of_their_spread(
    trained_once: Trained,
) -> None:
    image = read_image(trained_once.tree.root / "JPEGImages" / "000007.jpg", "7")
    scores = []
    for device in ("cpu", "cuda"):
        detector = load_detector(trained_once.run, device=device)
        boxes = propose(image, detector.config.proposals).boxes
        scores.append(score(detector, image, boxes.to(device), detector.config).scores.cpu())
    assert (scores[0] - scores[1]).abs().max() < 1e-3 * scores[0].std()


def test_a_run_names_the_backend_of_its_boxes(trained_once):
    for config in (read_run_config(trained_once.run), load_detector(trained_once.run).config):
        assert config.proposals.backend == resolve_backend(ProposalConfig())
