from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
import pytest
import torch

from detection.config import ProposalConfig
from detection.proposals import search
from detection.proposals.search import propose, propose_all, resolve_backend
from detection.structures import Image
from tests.proposals.images import shapes

NATIVE = ProposalConfig(backend="native")


Backend = Literal["auto", "native", "opencv"]


def image_of(pixels: np.ndarray, image_id: str = "photo") -> Image:
    return Image(image_id=image_id, pixels=torch.from_numpy(pixels))


def test_auto_takes_native_where_numba_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "NUMBA_AVAILABLE", True)
    assert resolve_backend(ProposalConfig()) == "native"
    monkeypatch.setattr(search, "NUMBA_AVAILABLE", False)
    assert resolve_backend(ProposalConfig()) == "opencv"
    assert resolve_backend(ProposalConfig(backend="native")) == "native"


def test_the_cut_keeps_the_best_ranked() -> None:
    image = image_of(shapes())
    every = propose(image, ProposalConfig(backend="native", max_boxes=0)).boxes
    best = propose(image, ProposalConfig(backend="native", max_boxes=10)).boxes
    assert len(every) > 10
    assert torch.equal(best, every[:10])
    assert torch.equal(every, propose_all(image, NATIVE).boxes)


def test_the_order_depends_on_the_pixels_and_the_seed_not_on_the_name() -> None:
    first = propose(image_of(shapes(), "a"), NATIVE).boxes
    assert torch.equal(first, propose(image_of(shapes(), "b"), NATIVE).boxes)
    reseeded = propose(image_of(shapes()), ProposalConfig(backend="native", seed=1)).boxes
    assert not torch.equal(first, reseeded)


def test_an_image_without_large_boxes_has_no_proposals() -> None:
    actual = propose(image_of(np.zeros((8, 8, 3), np.uint8)), NATIVE)
    assert actual.boxes.shape == (0, 4)
    assert actual.boxes.dtype == torch.float32


def test_a_large_image_is_searched_at_max_side() -> None:
    image = cv2.resize(shapes(5), (640, 480), interpolation=cv2.INTER_NEAREST)
    actual = propose(image_of(image), ProposalConfig(backend="native", max_side=320)).boxes
    assert [0, 0, 640, 480] in actual.tolist()
    assert bool((actual[:, 2] <= 640).all() and (actual[:, 3] <= 480).all())
    assert float((actual[:, 2:] - actual[:, :2]).min()) >= 20
    small = ProposalConfig(backend="native", max_side=1000)
    assert torch.equal(
        propose(image_of(image), small).boxes, propose(image_of(image), NATIVE).boxes
    )


@pytest.mark.parametrize("numba", [True, False])
def test_a_configuration_for_training_names_its_backend(
    numba: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "NUMBA_AVAILABLE", numba)
    expected = "native" if numba else "opencv"
    assert search.with_backend(ProposalConfig()).backend == expected
    assert search.with_backend(ProposalConfig(backend="opencv")).backend == "opencv"
    assert search.with_backend(ProposalConfig(import_file="a.mat")).backend == "auto"


@pytest.mark.parametrize(
    ("trained", "used", "warns"),
    [
        ("native", "opencv", True),
        ("opencv", "native", True),
        ("opencv", "auto", True),
        ("native", "auto", False),
        ("native", "native", False),
        ("auto", "opencv", False),
    ],
)
def test_another_backend_than_that_of_the_training_is_said(
    trained: Backend,
    used: Backend,
    warns: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(search, "NUMBA_AVAILABLE", True)
    search.warn_of_other_backend(ProposalConfig(backend=trained), ProposalConfig(backend=used))
    assert [record.levelname for record in caplog.records] == (["WARNING"] if warns else [])
    if warns:
        assert f"expected {trained}, whose boxes the detector was trained on" in caplog.text


def test_boxes_from_a_file_have_no_backend(caplog: pytest.LogCaptureFixture) -> None:
    trained = ProposalConfig(backend="opencv", import_file="a.mat")
    search.warn_of_other_backend(trained, NATIVE)
    assert caplog.text == ""
