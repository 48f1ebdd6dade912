import pytest
import torch

from detection.backbones import weights
from detection.ensemble import score
from detection.errors import CheckpointError
from detection.io.tensors import load_tensors, save_tensors
from detection.model_io import load_detector, save_detector
from detection.structures import Image
from tests.classification.tiny_classifier import tiny_blueprint
from tests.fuzz.models import detector


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The content of a small detector's file, with fc layers and regressors."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(weights.BACKBONES, "tiny", tiny_blueprint)
        path = tmp_path_factory.mktemp("model") / "m.safetensors"
        save_detector(path, detector(fc=True, boxes=True))
        yield load_tensors(path)


def test_heads_in_double_precision_work(tmp_path, model):
    tensors, header = model
    save_tensors(tmp_path / "m", {name: t.double() for name, t in tensors.items()}, header)
    save_tensors(tmp_path / "n", tensors, header)
    pixels = torch.arange(40 * 60 * 3).remainder(251).to(torch.uint8).view(40, 60, 3)
    image, boxes = Image(image_id="a", pixels=pixels), torch.tensor([[2.0, 3, 40, 30]])
    detectors = [load_detector(tmp_path / name, device="cpu") for name in "mn"]
    assert torch.equal(*(score(d, image, boxes, d.config).scores for d in detectors))


def test_a_run_whose_training_has_not_ended_says_how_to_go_on(tmp_path):
    with pytest.raises(CheckpointError, match=r"got a folder without model\.safetensors$"):
        load_detector(tmp_path)
    (tmp_path / "command.txt").write_text("detection train")
    with pytest.raises(CheckpointError, match=r"repeat its command\.txt with --resume$"):
        load_detector(tmp_path)
