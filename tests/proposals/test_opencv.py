"""OpenCV's selective search as a backend, and how far the native one agrees with it."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from detection import boxes as algebra
from detection.cli.commands import COMMANDS
from detection.cli.main import main
from detection.config import ProposalConfig
from detection.errors import ConfigError, DataError
from detection.proposals import opencv, search
from detection.proposals.dataset import check_backend
from detection.proposals.opencv import selective_search_opencv
from detection.proposals.search import propose
from detection.proposals.selective_search.native import selective_search
from detection.structures import Image
from tests.proposals.images import shapes

needs_contrib = pytest.mark.skipif(
    not hasattr(cv2, "ximgproc"), reason="OpenCV without contributed modules"
)
FAST = ProposalConfig(backend="opencv")
NATIVE = ProposalConfig(backend="native")


def image_of(pixels: np.ndarray, image_id: str = "photo") -> Image:
    return Image(image_id=image_id, pixels=torch.from_numpy(pixels))


@needs_contrib
@pytest.mark.parametrize("mode", ["fast", "quality"])
def test_two_calls_give_the_same_list(mode: str) -> None:
    config = ProposalConfig(backend="opencv", mode=mode)
    first = selective_search_opencv(shapes(), config, 3)
    again = selective_search_opencv(shapes(), config, 3)
    assert len(first) > 20
    assert np.array_equal(first, again)


@needs_contrib
def test_the_order_does_not_depend_on_libc_s_random_numbers() -> None:
    import ctypes

    libc = ctypes.CDLL(None)
    libc.srand(1)
    first = selective_search_opencv(shapes(), FAST, 3)
    libc.srand(2)
    assert np.array_equal(first, selective_search_opencv(shapes(), FAST, 3))


@needs_contrib
@pytest.mark.parametrize("mode", ["fast", "quality"])
def test_native_boxes_match_opencv_s(mode: str) -> None:
    image = cv2.resize(shapes(4), (320, 240), interpolation=cv2.INTER_CUBIC)
    theirs = selective_search_opencv(image, ProposalConfig(backend="opencv", mode=mode), 0)
    ours = selective_search(image, mode=mode)
    best = algebra.iou(torch.from_numpy(theirs), torch.from_numpy(ours)).max(dim=1).values
    assert float((best >= 0.7).float().mean()) >= 0.95


@needs_contrib
@pytest.mark.parametrize("size", [(1, 1), (1, 500), (300, 732), (227, 640), (1000, 100)])
def test_flat_images_of_any_size_are_searched(size: tuple[int, int]) -> None:
    config = ProposalConfig(backend="opencv", min_side=0)
    for value in (0, 255):
        boxes = selective_search_opencv(np.full((*size, 3), value, np.uint8), config, 0)
        assert boxes.tolist() == [[0, 0, size[1], size[0]]]


def test_opencv_has_no_paper_fast() -> None:
    with pytest.raises(ConfigError, match=r"proposals.mode: .*backend=native"):
        selective_search_opencv(shapes(), ProposalConfig(mode="paper_fast"), 0)


@pytest.mark.parametrize(
    ("installed", "command"),
    [
        ((), "; pip install opencv-contrib-python,"),
        (
            ("opencv-python 5.0.0", "opencv-contrib-python 5.0.0"),
            "pip uninstall -y opencv-python opencv-contrib-python && pip install "
            "opencv-contrib-python,",
        ),
        (
            ("opencv-python-headless 4.10",),
            "pip uninstall -y opencv-python-headless && pip install "
            "opencv-contrib-python-headless,",
        ),
    ],
)
def test_missing_modules_are_explained_with_the_commands(
    monkeypatch: pytest.MonkeyPatch, installed: tuple[str, ...], command: str
) -> None:
    monkeypatch.delattr(cv2, "ximgproc", raising=False)
    monkeypatch.setattr(opencv, "installed_distributions", lambda: installed)
    with pytest.raises(ConfigError) as caught:
        propose(image_of(shapes()), FAST)
    assert command in str(caught.value)
    assert all(name in str(caught.value) for name in installed)
    assert "\n" not in str(caught.value)


def test_two_packages_of_opencv_are_warned_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(opencv, "installed_distributions", lambda: ("opencv-contrib-python 5",))
    check_backend(NATIVE)
    assert not caplog.records
    both = ("opencv-python 5", "opencv-contrib-python 5")
    monkeypatch.setattr(opencv, "installed_distributions", lambda: both)
    check_backend(NATIVE)
    assert "pip uninstall -y opencv-python opencv-contrib-python && pip" in caplog.text


def test_the_native_search_needs_no_contributed_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    before = propose(image_of(shapes()), NATIVE).boxes
    monkeypatch.delattr(cv2, "ximgproc", raising=False)
    check_backend(NATIVE)
    assert torch.equal(propose(image_of(shapes()), NATIVE).boxes, before)


@pytest.mark.parametrize(
    ("reason", "command"),
    [
        ("No module named 'cv2'", "pip install opencv-contrib-python"),
        (
            "libGL.so.1: cannot open shared object file",
            "pip uninstall -y opencv-python && pip install opencv-contrib-python-headless",
        ),
    ],
)
def test_an_opencv_that_cannot_be_imported_is_explained_in_one_line(
    reason: str,
    command: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object) -> None:
        raise ImportError(reason)

    installed = ("opencv-python 5",) if "headless" in command else ()
    monkeypatch.setattr(opencv, "installed_distributions", lambda: installed)
    monkeypatch.setitem(COMMANDS, "configs", replace(COMMANDS["configs"], run=fail))
    assert main(["configs"]) == 2
    line = capsys.readouterr().err
    got = installed[0] if installed else "none"
    assert line.startswith(f"error: cv2: expected an OpenCV that can be imported, got {got} (")
    assert line.endswith(f"({reason}); {command}\n")


def test_an_error_of_opencv_names_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        message = "OpenCV(4.5): error:\n (-215:Assertion failed) !empty()"
        raise cv2.error(message)

    monkeypatch.setattr(search, "_search", fail)
    with pytest.raises(DataError, match=r"^000012: .*Assertion failed"):
        propose(image_of(shapes(), "000012"), NATIVE)
