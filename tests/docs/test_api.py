import doctest
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detection.model_io import save_detector
from detection.tiny import tiny_detector
from tests.docs.pages import DOCS, blocks


def test_what_the_page_prints_is_printed():
    outcome = doctest.testfile(
        str(DOCS / "api.md"), module_relative=False, optionflags=doctest.ELLIPSIS
    )
    assert outcome.failed == 0
    assert outcome.attempted > 15


@pytest.mark.slow
def test_the_examples_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("runs/sppnet").mkdir(parents=True)
    save_detector(Path("runs/sppnet/model.safetensors"), tiny_detector())
    pixels = np.random.default_rng(0).integers(0, 255, (90, 120, 3), dtype=np.uint8)
    Image.fromarray(pixels).save("image.jpg")
    Image.fromarray(pixels[::-1]).save("other.jpg")
    names: dict[str, object] = {}
    for block in blocks("api.md"):
        if block.language == "python":
            smaller = block.text.replace(
                "train_images=120, test_images=40", "train_images=8, test_images=2"
            )
            exec(compile(smaller, "api.md", "exec"), names)
    printed = capsys.readouterr().out
    assert "cat" in printed or "dog" in printed
    assert "mAP, 11 points" in printed
    assert names["boxes"].shape[1] == 4
    assert "mining 2 of 2 {'retrainings': " in printed
    assert "sppnet on own/Sequential" in printed
