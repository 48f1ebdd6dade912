from __future__ import annotations

import threading
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from detection.config import Config, ProposalConfig
from detection.data.synthetic import synthesize
from detection.errors import DataError
from detection.inference import proposal_prefetch as ahead
from detection.inference.proposal_prefetch import find, search_ahead
from detection.kernels.jit import NUMBA_AVAILABLE

CONFIG = Config(proposals=ProposalConfig(backend="native"))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("drawn")
    synthesize(folder, train_images=4, test_images=1)
    return sorted((folder / "JPEGImages").iterdir())


def with_workers(config: Config, workers: int) -> Config:
    return replace(config, proposals=replace(config.proposals, workers=workers))


@pytest.mark.skipif(not NUMBA_AVAILABLE, reason="needs numba")
@pytest.mark.parametrize("workers", [1, 2, 0])
def test_every_number_of_threads_gives_what_a_search_alone_gives(
    workers: int, images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(ahead, "get_context")
    expected = [find(path, CONFIG.proposals, CONFIG.data.max_pixels) for path in images]
    got = list(search_ahead(images, with_workers(CONFIG, workers)))
    assert [path for path, _ in got] == images
    for (_, actual), (pixels, boxes) in zip(got, expected, strict=True):
        assert not isinstance(actual, DataError)
        assert np.array_equal(actual[0], pixels)
        assert np.array_equal(actual[1], boxes)


@pytest.mark.skipif(not NUMBA_AVAILABLE, reason="needs numba")
def test_the_next_image_is_searched_while_the_first_is_worked_on(
    images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    second = threading.Event()

    def noted(path: Path, *arguments: object) -> ahead.Found:
        if path == images[1]:
            second.set()
        return find(path, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(ahead, "find", noted)
    results = search_ahead(images, with_workers(CONFIG, 1))
    next(results)
    assert second.wait(60)
    results.close()  # type: ignore[attr-defined]


@pytest.mark.skipif(not NUMBA_AVAILABLE, reason="needs numba")
def test_an_image_that_cannot_be_read_does_not_stop_the_others(
    images: list[Path], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    got = dict(search_ahead([images[0], broken, images[1]], with_workers(CONFIG, 2)))
    assert isinstance(got[broken], DataError)
    assert str(broken) in str(got[broken])
    assert not isinstance(got[images[1]], DataError)


def test_opencv_is_searched_in_processes_where_there_are_several(
    images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    class NoProcesses(ProcessPoolExecutor):
        def __init__(self, *_: object, **__: object) -> None:
            message = "a process"
            raise RuntimeError(message)

    monkeypatch.setattr(ahead, "ProcessPoolExecutor", NoProcesses)
    opencv = replace(CONFIG, proposals=replace(CONFIG.proposals, backend="opencv"))
    with pytest.raises(RuntimeError, match="a process"):
        list(search_ahead(images[:2], with_workers(opencv, 2)))
    ((_, actual),) = search_ahead(images[:1], with_workers(opencv, 2))
    assert not isinstance(actual, DataError)
