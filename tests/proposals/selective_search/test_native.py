"""What holds for the boxes of the native selective search."""

from __future__ import annotations

import logging
import subprocess
import sys

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detection.errors import ConfigError
from detection.proposals.selective_search import native
from detection.proposals.selective_search.native import diversity, selective_search
from tests.proposals.images import shapes

pytest.importorskip("numba")

MODES = ["fast", "quality", "paper_fast"]


@pytest.mark.parametrize("mode", MODES)
def test_every_call_and_any_number_of_threads_give_the_same_list(mode: str) -> None:
    image = shapes(1)
    first = selective_search(image, mode=mode, seed=5)
    assert len(first) > 20
    for threads in (1, 2, 5):
        again = selective_search(image, mode=mode, seed=5, threads=threads)
        assert np.array_equal(first, again)


def test_another_process_gives_the_same_list() -> None:
    code = (
        "from tests.proposals.images import shapes\n"
        "from detection.proposals.selective_search.native import selective_search\n"
        "print(selective_search(shapes(2), seed=7).tobytes().hex())"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert result.stdout.decode().strip() == selective_search(shapes(2), seed=7).tobytes().hex()


def test_the_seed_changes_the_order_and_not_the_boxes() -> None:
    first, second = (selective_search(shapes(), seed=seed) for seed in (0, 1))
    assert not np.array_equal(first, second)
    assert sorted(map(tuple, first.tolist())) == sorted(map(tuple, second.tolist()))


@settings(max_examples=30, deadline=None)
@given(
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
    st.integers(0, 999),
    st.sampled_from(["noise", "flat", "shapes"]),
    st.sampled_from(MODES),
    st.integers(0, 25),
)
def test_boxes_lie_in_the_image_are_distinct_and_large_enough(
    size: tuple[int, int], seed: int, kind: str, mode: str, min_side: int
) -> None:
    height, width = size
    random = np.random.default_rng(seed)
    if kind == "shapes":
        image = shapes(seed, 100, 100)[:height, :width].copy()
    else:
        low = 0 if kind == "noise" else 200
        image = random.integers(low, max(low + 1, 256 * (kind == "noise")), (*size, 3), np.uint8)
    boxes = selective_search(image, mode=mode, min_side=min_side, seed=seed)
    assert boxes.dtype == np.float32
    assert boxes.shape == (len(boxes), 4)
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2] <= width).all()
    assert (boxes[:, 3] <= height).all()
    assert (boxes[:, 2:] - boxes[:, :2] >= max(min_side, 1)).all()
    assert len({tuple(box) for box in boxes.tolist()}) == len(boxes)
    if min(size) >= min_side:
        assert [0, 0, width, height] in boxes.tolist()


@pytest.mark.parametrize(
    ("size", "expected"), [((1, 1), 1), ((1, 50), 1), ((50, 1), 1), ((100, 1000), 1)]
)
def test_a_flat_image_has_one_box(size: tuple[int, int], expected: int) -> None:
    for value in (0, 255):
        boxes = selective_search(np.full((*size, 3), value, np.uint8), min_side=1)
        assert boxes.tolist() == [[0, 0, size[1], size[0]]] * expected


@pytest.mark.parametrize("size", [(300, 732), (227, 640), (100, 1000), (1, 500), (31, 31)])
def test_unusual_sizes_are_searched(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    boxes = selective_search(cv2.blur(image, (9, 9)), min_side=1)
    assert [0, 0, size[1], size[0]] in boxes.tolist()


def test_a_square_on_flat_ground_is_found_exactly() -> None:
    image = np.full((100, 120, 3), 40, np.uint8)
    image[30:70, 50:90] = (200, 60, 60)
    boxes = selective_search(image)
    close = np.abs(boxes - np.array([50, 30, 90, 70])).max(axis=1) <= 1
    assert close.any()


def test_memory_layout_does_not_matter() -> None:
    image = shapes(3)
    mirrored = np.ascontiguousarray(image[:, ::-1])
    assert np.array_equal(selective_search(image[:, ::-1]), selective_search(mirrored))


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((10, 10), np.uint8),
        np.zeros((10, 10, 4), np.uint8),
        np.zeros((10, 10, 3), np.float32),
        np.zeros((0, 10, 3), np.uint8),
    ],
)
def test_other_arrays_are_refused(image: np.ndarray) -> None:
    with pytest.raises((ValueError, TypeError)):
        selective_search.__wrapped__(image)


def test_opencv_s_parameters_are_the_defaults() -> None:
    fast = diversity("fast", 150, 150)
    assert fast.segmentations == ((150, 100), (300, 100), (450, 100))
    assert len(fast.colour_spaces) * len(fast.segmentations) * len(fast.similarities) == 12
    quality = diversity("quality", 150, 150)
    assert [k for k, _ in quality.segmentations] == [150, 300, 450, 600, 750]
    assert len(quality.colour_spaces) * len(quality.similarities) == 20
    assert diversity("paper_fast", 150, 150).segmentations == ((50, 50), (100, 100))


def test_without_numba_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "NUMBA_AVAILABLE", False)
    with pytest.raises(ConfigError, match=r"pip install numba, or choose .*opencv"):
        selective_search(shapes())


def test_compilation_is_announced_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(native, "_warm", False)
    monkeypatch.setattr(native, "is_cached", lambda _: False)
    with caplog.at_level(logging.WARNING):
        native.warm_up()
        native.warm_up()
    assert [record.getMessage().startswith("compiling") for record in caplog.records] == [True]


def test_where_nothing_can_be_kept_the_remedy_is_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(native, "_warm", False)
    monkeypatch.setattr(native, "is_cached", lambda _: False)
    monkeypatch.setattr(native, "can_cache", lambda _: False)
    with caplog.at_level(logging.WARNING):
        native.warm_up()
    assert "at every start" in caplog.text
    assert "set NUMBA_CACHE_DIR" in caplog.text
