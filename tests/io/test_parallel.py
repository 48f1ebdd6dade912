from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from joblib.externals.loky import get_reusable_executor

from detection.errors import ConfigError, DataError, DetectionError, ImageError
from detection.io import dask_cluster
from detection.io.parallel import parallel_map


def square(x: int) -> int:
    if x == 13:
        message = "an unlucky number"
        raise ValueError(message)
    if x == 14:
        message = "fourteen.jpg: broken"
        raise DataError(message)
    if x == 15:
        message = "svm.c: expected less"
        raise ConfigError(message)
    if x == 16:
        message = "sixteen.jpg: broken"
        raise ImageError(message)
    return x * x


def unpicklable_failure(x: int) -> int:
    class LocalError(Exception):
        def __init__(self, first: int, second: int) -> None:
            super().__init__("local")
            self.callback = lambda: first + second

    if x == 2:
        raise LocalError(1, 2)
    return x


def unpicklable_result(x: int) -> Callable[[], int]:
    return (_ for _ in range(x))  # type: ignore[return-value]


def killed(x: int) -> int:
    if x == 2:
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def slow(x: int) -> int:
    time.sleep(30 if x == 1 else 0)
    return x


@pytest.mark.parametrize("workers", [1, 2])
def test_every_item_gives_its_own_result(workers: int) -> None:
    results = dict(parallel_map(square, range(9), workers=workers, names=list("abcdefghi")))
    assert results == {x: x * x for x in range(9)}


@pytest.mark.parametrize("workers", [1, 2])
def test_an_exception_becomes_a_data_error_that_names_the_item(workers: int) -> None:
    with pytest.raises(DataError, match=r"^image7: ValueError: an unlucky number$") as caught:
        list(parallel_map(square, [1, 13, 2], workers=workers, names=["a", "image7", "b"]))
    assert "in square" in str(caught.value.__cause__)


@pytest.mark.parametrize("workers", [1, 2])
def test_errors_of_the_package_keep_their_kind_and_are_not_named_twice(workers: int) -> None:
    with pytest.raises(DataError, match=r"^fourteen.jpg: broken$"):
        list(parallel_map(square, [1, 14], workers=workers, names=["one", "fourteen"]))
    with pytest.raises(ConfigError, match=r"^fifteen: svm.c: expected less$"):
        list(parallel_map(square, [1, 15], workers=workers, names=["one", "fifteen"]))


@pytest.mark.parametrize("workers", [1, 2])
def test_failures_can_be_collected_while_the_rest_goes_on(workers: int) -> None:
    failures: dict[int, str] = {}

    def note(index: int, error: DetectionError) -> None:
        failures[index] = str(error)

    mapped = parallel_map(
        square, [16, 2, 16, 3], workers=workers, names=list("abcd"), on_error=note
    )
    assert sorted(mapped) == [(1, 4), (3, 9)]
    assert failures == {0: "a: sixteen.jpg: broken", 2: "c: sixteen.jpg: broken"}


def test_an_exception_that_cannot_be_pickled_does_not_hang() -> None:
    with pytest.raises(DataError, match=r"^two: LocalError: local"):
        list(parallel_map(unpicklable_failure, [1, 2], workers=2, names=["one", "two"], timeout=60))


def test_a_result_that_cannot_be_pickled_is_an_error() -> None:
    with pytest.raises(DataError, match="pickle"):
        list(parallel_map(unpicklable_result, [1, 2], workers=2, names=["one", "two"], timeout=60))


def test_a_killed_worker_is_an_error_that_names_what_was_under_way() -> None:
    mapped = parallel_map(killed, [0, 1, 2, 3, 4], workers=2, names=list("abcde"))
    with pytest.raises(DataError, match=r"c.*: a worker process was killed"):
        list(mapped)


def killed_once(folder: Path) -> int:
    time.sleep(0.3)
    (folder / f"begun{len(list(folder.iterdir()))}").touch()
    if len(list(folder.iterdir())) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return len(list(folder.iterdir()))


def test_a_death_is_survived_where_that_is_allowed(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in "abcd"]
    for folder in folders:
        folder.mkdir()
        (folder / "begun0").touch() if folder.name != "c" else None
    mapped = parallel_map(killed_once, folders, workers=2, names=list("abcd"), deaths=1)
    assert sorted(index for index, _ in mapped) == [0, 1, 2, 3]
    assert len(list(folders[2].iterdir())) == 2


def test_an_item_that_kills_each_of_its_processes_ends_the_work() -> None:
    mapped = parallel_map(killed, [0, 1, 2, 3, 4], workers=2, names=list("abcde"), deaths=2)
    with pytest.raises(DataError, match=r"c.*: a worker process was killed"):
        list(mapped)


def test_an_item_that_takes_too_long_is_named() -> None:
    with pytest.raises(DataError, match=r"stuck.jpg: took longer than 1 s"):
        list(parallel_map(slow, [0, 1], workers=2, names=["a", "stuck.jpg"], timeout=1.0))


KEPT: list[bytes] = []


def growing(x: int) -> int:
    KEPT.append(b"x" * 200_000_000)
    time.sleep(0.6)
    return x


def test_processes_that_grow_are_replaced_without_a_loss() -> None:
    mapped = parallel_map(growing, range(8), workers=2, names=list("abcdefgh"))
    assert sorted(mapped) == [(x, x) for x in range(8)]
    get_reusable_executor().shutdown(wait=True, kill_workers=True)


def square_slowly(x: int) -> int:
    time.sleep(0 if x == 13 else 0.3)
    return square(x)


@pytest.mark.parametrize("workers", [1, 2])
def test_after_a_failure_nothing_new_begins_and_what_is_finished_is_given(workers: int) -> None:
    given = []
    with pytest.raises(DataError, match="unlucky"):
        given.extend(
            result
            for _, result in parallel_map(
                square_slowly,
                [13, *range(12)],
                workers=workers,
                names=[f"item {i}" for i in range(13)],
            )
        )
    assert len(given) < 12


def test_no_items_give_nothing() -> None:
    assert list(parallel_map(square, [], workers=0, names=[])) == []


def here(_: int) -> str:
    return Path("name").read_text()


def test_relative_paths_mean_the_folder_that_is_current_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The processes of an earlier call are used again, and began in another folder."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "name").write_text(name)
        monkeypatch.chdir(tmp_path / name)
        actual = dict(parallel_map(here, [0, 1, 2], workers=2, names=["a", "b", "c"]))
        assert set(actual.values()) == {name}


class Arrival:
    """Becomes, in the process where it arrives, the folder that is current there."""

    def __reduce__(self) -> tuple[Callable[[], str], tuple[()]]:
        return os.getcwd, ()


def as_it_came(item: object) -> object:
    return item


def test_no_process_begins_or_stays_in_a_folder_that_was_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder that was removed MKL cannot be loaded, and a new process cannot begin."""
    for name in ("one", "two", "three"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        mapped = parallel_map(as_it_came, [Arrival()] * 4, workers=2, names=list("abcd"))
        assert set(dict(mapped).values()) == {str(tmp_path / name)}
        monkeypatch.chdir(tmp_path)
        (tmp_path / name).rmdir()


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "foo", "localhost:notaport"])
def test_a_scheduler_that_is_away_is_one_line(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr(dask_cluster, "_CONNECT", 1)
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", address)
    mapped = parallel_map(square, [1, 2], workers=2, names=["a", "b"], backend="dask")
    with pytest.raises(ConfigError, match=rf"^DASK_SCHEDULER_ADDRESS: .*{address}"):
        list(mapped)
