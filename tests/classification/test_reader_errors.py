import os
import signal

import pytest

from detection.classification.batches import LabelledImages
from detection.classification.pretrain import pretrain
from detection.errors import DataError
from tests.classification.tiny_classifier import (
    tiny_config,
)

pytestmark = pytest.mark.usefixtures("tiny_network")


def in_a_reader(monkeypatch, action) -> None:
    """Let the processes that read images do something else."""
    main, read = os.getpid(), LabelledImages.__getitem__

    def reading(self, key):
        if os.getpid() != main:
            action()
        return read(self, key)

    monkeypatch.setattr(LabelledImages, "__getitem__", reading)


@pytest.mark.parametrize("number", [signal.SIGBUS, signal.SIGKILL])
def test_f58_a_killed_reader_is_explained_with_the_remedies(root, tmp_path, monkeypatch, number):
    in_a_reader(monkeypatch, lambda: os.kill(os.getpid(), number))
    with pytest.raises(DataError, match=r"/dev/shm .*--ipc=host.*pretrain\.workers 0"):
        pretrain(tiny_config(root, epochs=1, workers=1), tmp_path / "run")


def test_f58_a_reader_without_shared_memory_is_explained(root, tmp_path, monkeypatch):
    def full():
        message = "unable to write to file </torch_1_2_0>: No space left on device (28)"
        raise RuntimeError(message)

    in_a_reader(monkeypatch, full)
    with pytest.raises(DataError, match=r"--ipc=host.*pretrain\.workers 0"):
        pretrain(tiny_config(root, epochs=1, workers=1), tmp_path / "run")


def test_f46_a_picture_that_another_process_cannot_read_is_named_in_one_line(root, tmp_path):
    (root / "train" / "red" / "broken.png").write_bytes(b"not an image")
    with pytest.raises(DataError, match=r"^\S*broken\.png: expected an image") as caught:
        pretrain(tiny_config(root, epochs=1, workers=1), tmp_path / "run")
    assert "Traceback" not in str(caught.value)
