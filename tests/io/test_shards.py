import functools
import os
import signal
import time

import pytest

from detection.errors import ConfigError, DataError
from detection.io import files
from detection.io.shards import (
    Parallel,
    file_key,
    is_complete,
    read_shard,
    run_shard,
    run_shards,
    split,
)


def double(folder, items):
    for item in items:
        (folder / f"{item}-{os.getpid()}-{time.monotonic_ns()}").touch()
    return [{"value": item * 0.1} for item in items]


def kills_once(folder, items):
    rows = double(folder, items)
    if 4 in items and sum(path.name.startswith("4-") for path in folder.iterdir()) == 1:
        half = files._temporary(folder.parent / "shards/000002.jsonl")
        half.parent.mkdir(exist_ok=True)
        half.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return rows


def kills_always(folder, items):
    if 4 in items:
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGKILL)
    return double(folder, items)


@pytest.fixture
def noted(tmp_path):
    (tmp_path / "noted").mkdir()
    return tmp_path / "noted"


def run(tmp_path, work, *, fingerprint="model", kind="processes", workers=2, items=7):
    return list(
        run_shards(
            work,
            list(range(items)),
            [f"image {n}" for n in range(items)],
            tmp_path / "shards",
            fingerprint=fingerprint,
            parallel=Parallel(kind=kind, workers=workers, images=2),
            description="doubled",
        )
    )


ROWS = [{"value": n * 0.1} for n in range(7)]


def times(noted):
    return len(list(noted.iterdir()))


def test_rows_come_in_order_and_what_is_there_is_not_done_again(tmp_path, noted):
    work = functools.partial(double, noted)
    assert run(tmp_path, work) == ROWS
    assert times(noted) == 7
    files = sorted((tmp_path / "shards").iterdir())
    assert [path.name[:6] for path in files] == ["000000", "000001", "000002", "000003"]
    files[1].unlink()
    files[2].write_bytes(files[2].read_bytes()[:-3])
    assert run(tmp_path, work, workers=1) == ROWS
    assert times(noted) == 7 + 4


def test_shards_of_another_model_are_replaced(tmp_path, noted):
    work = functools.partial(double, noted)
    run(tmp_path, work, workers=1)
    before = {path.name for path in (tmp_path / "shards").iterdir()}
    assert run(tmp_path, work, workers=1, fingerprint="other") == ROWS
    assert times(noted) == 14
    assert not before & {path.name for path in (tmp_path / "shards").iterdir()}


def test_a_killed_worker_s_shard_is_tried_again(tmp_path, noted):
    assert run(tmp_path, functools.partial(kills_once, noted)) == ROWS
    assert sum(path.name.startswith("4-") for path in noted.iterdir()) >= 2
    assert len(list((tmp_path / "shards").iterdir())) == 4  # and nothing half written


def test_a_shard_that_kills_each_worker_is_named_and_the_others_stay(tmp_path, noted):
    with pytest.raises(DataError, match=r"000002-\w+\.jsonl.*: a worker process was killed"):
        run(tmp_path, functools.partial(kills_always, noted))
    assert run(tmp_path, functools.partial(double, noted)) == ROWS


def test_a_damaged_shard_is_named(tmp_path):
    shard = split([1, 2], ["a", "b"], tmp_path, "model", 2)[0]
    assert not is_complete(shard)
    assert run_shard(lambda items: [{"value": item} for item in items], shard) == 2
    assert is_complete(shard)
    assert read_shard(shard) == [{"value": 1}, {"value": 2}]
    shard.path.write_bytes(shard.path.read_bytes().replace(b"}", b"]"))
    with pytest.raises(DataError, match=r"000000-\w+\.jsonl: expected the rows of a shard"):
        read_shard(shard)
    shard.path.write_bytes(b"{}\n")
    with pytest.raises(DataError, match="expected 2 rows, got 0"):
        read_shard(shard)


@pytest.mark.parametrize(
    "settings",
    [{"workers": -1}, {"images": 0}, {"kind": "processes", "scheduler": "tcp://host:8786"}],
)
def test_settings_that_make_no_sense_are_refused(settings):
    with pytest.raises(ConfigError, match=r"^--(workers|shard|scheduler): expected"):
        Parallel(**settings)


def test_a_changed_file_has_another_key(tmp_path):
    path = tmp_path / "a.png"
    missing = file_key(path)
    path.write_bytes(b"a")
    there = file_key(path)
    path.write_bytes(b"ab")
    assert len({missing, there, file_key(path), file_key(path, "x")}) == 4
