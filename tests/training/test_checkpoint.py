import json

import numpy as np
import pytest
import torch

from detection.errors import CheckpointError, DataError
from detection.training import checkpoint
from detection.training.checkpoint import load_latest, save_checkpoint


def state(value):
    return {"weights": {"w": torch.full((2, 2), float(value))}, "step": value, "name": "net"}


def test_the_last_checkpoint_comes_back_as_it_was(tmp_path):
    plain = {
        "tensor": torch.arange(6, dtype=torch.int64).view(2, 3),
        "half": torch.ones(2, dtype=torch.bfloat16),
        "nested": [1, 2.5, True, None, "text", (3, {"deep": torch.zeros(0)})],
    }
    save_checkpoint(tmp_path, plain, 7)
    loaded = load_latest(tmp_path)
    assert loaded is not None
    assert loaded.step == 7
    assert torch.equal(loaded.state["tensor"], plain["tensor"])
    assert torch.equal(loaded.state["half"], plain["half"])
    assert loaded.state["nested"][:5] == [1, 2.5, True, None, "text"]
    assert loaded.state["nested"][5][1]["deep"].shape == (0,)


def test_a_folder_without_checkpoints_gives_none(tmp_path):
    assert load_latest(tmp_path) is None
    assert load_latest(tmp_path / "missing") is None


def test_only_the_last_two_are_kept(tmp_path):
    for step in (1, 2, 3, 4):
        save_checkpoint(tmp_path, state(step), step)
    assert sorted(path.name for path in tmp_path.glob("*.pt")) == [
        "step-00000003.pt",
        "step-00000004.pt",
    ]
    assert load_latest(tmp_path).state["step"] == 4


def test_saving_the_same_step_again_replaces_it(tmp_path):
    save_checkpoint(tmp_path, state(1), 1)
    save_checkpoint(tmp_path, state(2), 2)
    save_checkpoint(tmp_path, state(20), 2)
    assert load_latest(tmp_path).state["step"] == 20
    assert [row["step"] for row in json.loads((tmp_path / "manifest.json").read_text())] == [1, 2]


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    "damage",
    [
        flip_a_bit,
        lambda path: path.write_bytes(path.read_bytes()[:-10]),
        lambda path: path.write_bytes(b""),
        lambda path: path.unlink(),
    ],
    ids=["bit flip", "truncated", "empty", "missing"],
)
def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path, caplog, damage):
    save_checkpoint(tmp_path, state(1), 1)
    damage(save_checkpoint(tmp_path, state(2), 2))
    loaded = load_latest(tmp_path)
    assert loaded.step == 1
    assert loaded.state["weights"]["w"].unique().tolist() == [1.0]
    assert "step-00000002.pt" in caplog.text


def test_two_damaged_checkpoints_stop(tmp_path):
    for step in (1, 2):
        flip_a_bit(save_checkpoint(tmp_path, state(step), step))
    with pytest.raises(CheckpointError, match=r"expected a good checkpoint, got none .*step-0"):
        load_latest(tmp_path)


@pytest.mark.parametrize("content", ["", "[{}]", '{"a": 1}', "not json"])
def test_a_damaged_manifest_stops_instead_of_starting_anew(tmp_path, content):
    save_checkpoint(tmp_path, state(1), 1)
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(CheckpointError, match="no readable manifest"):
        load_latest(tmp_path)


def test_a_first_save_that_ended_between_its_files_starts_anew(tmp_path, caplog, monkeypatch):
    """As by a kill or a full disk."""

    def no_space(path, value):
        message = "no space"
        raise DataError(message)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write_json_atomic", no_space)
        with pytest.raises(DataError, match="no space"):
            save_checkpoint(tmp_path, state(1), 1)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001.pt"]
    assert load_latest(tmp_path) is None
    assert "the first checkpoint was not finished" in caplog.text
    save_checkpoint(tmp_path, state(2), 2)
    assert load_latest(tmp_path).step == 2
    (tmp_path / "manifest.json").unlink()
    save_checkpoint(tmp_path, state(3), 3)
    (tmp_path / "manifest.json").unlink()
    (tmp_path / "step-00000002.pt").write_bytes(b"")
    with pytest.raises(CheckpointError, match="no readable manifest"):
        load_latest(tmp_path)


def test_a_file_that_would_run_code_is_not_loaded(tmp_path):
    import hashlib
    import pickle

    class Evil:
        def __reduce__(self):
            return (print, ("executed",))

    data = pickle.dumps(Evil(), protocol=2)
    (tmp_path / "step-00000001.pt").write_bytes(data)
    entry = {
        "file": "step-00000001.pt",
        "step": 1,
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    (tmp_path / "manifest.json").write_text(json.dumps([entry]))
    with pytest.raises(CheckpointError, match="expected a checkpoint"):
        load_latest(tmp_path)


@pytest.mark.parametrize("value", [np.float64(1.0), {1, 2}, object()])
def test_a_value_that_could_not_be_read_again_is_refused(tmp_path, value):
    with pytest.raises(TypeError, match=r"state\['a'\]\[0\]: expected a tensor or plain data"):
        save_checkpoint(tmp_path, {"a": [value]}, 1)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, state(1), 1)

    def full(path, data):
        message = f"{path}: no space"
        raise DataError(message)

    monkeypatch.setattr("detection.training.checkpoint.write_bytes_atomic", full)
    with pytest.raises(DataError, match="no space"):
        save_checkpoint(tmp_path, state(2), 2)
    assert load_latest(tmp_path).step == 1
