import pickle
import sys
from pathlib import Path

import pytest
import torch

from detection.backbones.weight_files import read_state
from detection.backbones.weights import load_backbone
from detection.errors import CheckpointError
from tests.backbones.saved import saved, squeezenet


def test_a_state_dict_may_lie_in_a_checkpoint(tmp_path, state):
    path = saved(tmp_path, {"state_dict": state, "epoch": 3}, "checkpoint.pt")
    assert torch.equal(
        load_backbone(squeezenet(weights=path)).trunk[0].weight, state["features.0.weight"]
    )


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pth"])
@pytest.mark.parametrize("kept", [0, 10, 0.5, -10])
def test_truncated_files_are_refused_by_name(tmp_path, state, name, kept):
    path = Path(saved(tmp_path, state, name))
    content = path.read_bytes()
    end = int(len(content) * kept) if isinstance(kept, float) else kept
    path.write_bytes(content[:end])
    with pytest.raises(CheckpointError, match=name) as caught:
        load_backbone(squeezenet(weights=str(path)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["gone.safetensors", "gone.pth"])
def test_a_missing_file_is_refused_by_name(tmp_path, name):
    with pytest.raises(CheckpointError, match=name):
        load_backbone(squeezenet(weights=str(tmp_path / name)))


class Executable:
    """What would run code when it is unpickled."""

    def __reduce__(self):
        return sys.exit, (3,)


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_file_that_would_run_code_is_refused(tmp_path, protocol):
    path = tmp_path / "weights.pt"
    path.write_bytes(pickle.dumps({"features.0.weight": Executable()}, protocol=protocol))
    with pytest.raises(CheckpointError, match=r"would run code|missing or truncated"):
        load_backbone(squeezenet(weights=str(path)))
    torch.save({"features.0.weight": Executable()}, path)
    with pytest.raises(CheckpointError, match="would run code"):
        load_backbone(squeezenet(weights=str(path)))


@pytest.mark.parametrize("content", [[1, 2], {"a": 3}, 5])
def test_a_file_without_a_state_dict_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "weights.pt")
    with pytest.raises(CheckpointError, match="expected a state dict of tensors"):
        read_state(tmp_path / "weights.pt")
