import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from joblib.externals.loky import get_reusable_executor

from detection.cli import main
from detection.config import DataConfig
from detection.data.scenes import SCENE_CLASSES
from detection.data.synthetic import synthesize
from detection.inference import images as module
from detection.inference.shards import (
    detections_from_row,
    detections_to_row,
    loaded,
    make_recipe,
)
from detection.io import files
from detection.model_io import save_detector
from detection.runs.config_io import write_config
from detection.structures import Detections
from detection.tiny import tiny_detector

CLUSTERS = {"processes": "joblib", "dask": "distributed", "ray": "ray"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sharded")
    synthesize(folder / "data", train_images=2, test_images=5)
    detector = tiny_detector(sorted(SCENE_CLASSES))
    config = replace(
        detector.config,
        data=DataConfig(root=str(folder / "data"), class_names=detector.class_names),
        proposals=replace(detector.config.proposals, folder=str(folder / "store"), workers=1),
    )
    save_detector(folder / "run/model.safetensors", detector.with_config(config))
    (folder / "run/config.yaml").write_text(write_config(config))
    return folder / "run"


@pytest.fixture(scope="module")
def images(run):
    images = run.parent / "images"
    images.mkdir()
    for path in (run.parent / "data/JPEGImages").iterdir():
        (images / path.name).write_bytes(path.read_bytes())
    (images / "broken.jpg").write_bytes(b"no image")
    return images


pytestmark = pytest.mark.usefixtures("one_thread")


def detect(run, images, out, *options):
    words = ["detect", str(run), str(images), "--out", str(out), "--coco", str(out / "coco.json")]
    return main([*words, "--device", "cpu", "--threshold", "-1", *options])


def written(out):
    files = [path for path in out.rglob("*") if path.is_file()]
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in files
        if path.parent.name != "shards" and path.name not in {"log.txt", "command.txt"}
    }


def parallel(kind, size=2):
    return "--parallel", kind, "--workers", "2", "--shard", str(size)


@pytest.mark.slow
@pytest.mark.parametrize("kind", CLUSTERS)
def test_workers_write_the_bytes_of_one_process(run, images, tmp_path, capsys, kind):
    pytest.importorskip(CLUSTERS[kind])
    assert detect(run, images, tmp_path / "one") == 1
    assert detect(run, images, tmp_path / kind, *parallel(kind)) == 1
    assert "broken.jpg" in capsys.readouterr().err
    assert written(tmp_path / kind) == written(tmp_path / "one")
    assert any("png" in name for name in written(tmp_path / kind))
    assert main(["evaluate", str(run), "--out", str(tmp_path / "e1"), "--device", "cpu"]) == 0
    words = ["evaluate", str(run), "--out", str(tmp_path / "e2"), "--device", "cpu"]
    assert main([*words, *parallel(kind)]) == 0
    assert written(tmp_path / "e2") == written(tmp_path / "e1")
    assert len(list((tmp_path / "e2/shards").iterdir())) == 3


def test_only_missing_shards_are_done_and_another_model_has_its_own(run, images, tmp_path):
    out = tmp_path / "out"
    assert detect(run, images, out, *parallel("processes")) == 1
    before = {path: path.stat().st_mtime_ns for path in (out / "shards").iterdir()}
    first = min(before)
    first.unlink()
    (images / "broken.jpg").write_bytes(b"still no image")
    assert detect(run, images, out, *parallel("processes")) == 1
    after = {path: path.stat().st_mtime_ns for path in (out / "shards").iterdir()}
    assert len(after) == len(before) == 4
    kept = [path for path in before if after.get(path) == before[path]]
    assert len(kept) >= 2
    other = run.parent / "other"
    detector = tiny_detector(sorted(SCENE_CLASSES), seed=1)
    save_detector(other / "model.safetensors", detector)
    (other / "config.yaml").write_text((run / "config.yaml").read_text())
    assert detect(other, images, out, *parallel("processes")) == 1
    assert not set(after) & set((out / "shards").iterdir())
    assert detect(other, images, tmp_path / "fresh") == 1
    assert written(out) == written(tmp_path / "fresh")


def test_a_rate_is_that_of_what_was_not_there_before(run, images, tmp_path, capsys):
    out = tmp_path / "out"

    def last_line():
        assert detect(run, images, out, *parallel("processes")) == 1
        return capsys.readouterr().out.splitlines()[-1]

    assert last_line().startswith(f"{out}: 7 images in ")
    assert last_line().startswith(f"{out}: 7 images, all there already, peak memory ")
    min((out / "shards").iterdir()).unlink()
    assert last_line().startswith(f"{out}: 7 images, 5 there already, the others in ")


def test_a_drawing_that_was_removed_is_made_again(run, images, tmp_path):
    out = tmp_path / "out"
    assert detect(run, images, out, *parallel("processes")) == 1
    before = written(out)
    times = {path: path.stat().st_mtime_ns for path in (out / "shards").iterdir()}
    min(out.glob("*.png")).unlink()
    assert detect(run, images, out, *parallel("processes")) == 1
    assert written(out) == before
    assert sum(path.stat().st_mtime_ns != times[path] for path in times) == 1


def die_once(*arguments):
    """Kill the worker at its first shard, in the middle of a drawing."""
    mark = Path(os.environ["DETECTION_TEST_DEATH"])
    if not mark.exists():
        mark.touch()
        arguments[1].mkdir(parents=True, exist_ok=True)
        files._temporary(arguments[1] / "half.png").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return module.detect_shard(*arguments)


@pytest.mark.slow
def test_a_worker_killed_in_a_drawing_leaves_nothing(run, images, tmp_path, monkeypatch):
    assert detect(run, images, tmp_path / "one") == 1
    monkeypatch.setenv("DETECTION_TEST_DEATH", str(tmp_path / "died"))
    get_reusable_executor().shutdown()  # workers of an earlier test would not know it
    monkeypatch.setattr(module, "detect_shard", die_once)
    assert detect(run, images, tmp_path / "two", *parallel("processes")) == 1
    assert (tmp_path / "died").exists()
    assert written(tmp_path / "two") == written(tmp_path / "one")


@pytest.mark.slow
@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_ends_the_work_and_keeps_what_is_done(run, images, tmp_path):
    many = tmp_path / "many"
    many.mkdir()
    for path in images.glob("0*.jpg"):
        for copy in range(12):  # so many that the end is far away when the first ones are done
            os.link(path, many / f"{copy}_{path.name}")
    words = ["detect", str(run), str(many), "--out", str(tmp_path), "--device", "cpu"]
    words += ["--proposals.mode", "quality", *parallel("processes", 1)]
    work = subprocess.Popen(
        [sys.executable, "-m", "detection", *words], stderr=subprocess.PIPE, text=True
    )
    until = time.monotonic() + 200
    while not any((tmp_path / "shards").glob("0*.jsonl")) and time.monotonic() < until:
        time.sleep(0.05)
    os.kill(work.pid, signal.SIGINT)
    _, said = work.communicate(timeout=60)
    assert (work.returncode, said.splitlines()[-1:]) == (130, ["error: interrupted"])
    shards = list((tmp_path / "shards").glob("0*.jsonl"))
    assert 0 < len(shards) < len(list(many.iterdir()))
    assert all(json.loads(path.read_text().splitlines()[0])["rows"] == 1 for path in shards)


def test_rows_lose_no_bit():
    detections = Detections(
        image_id="a",
        boxes=torch.tensor([[0.1, -0.0, 1 / 3, 1e-40]]),
        scores=torch.tensor([torch.pi]),
        labels=torch.tensor([1]),
        num_unusable=3,
        probabilities=torch.tensor([0.7]),
    )
    row = json.loads(json.dumps(detections_to_row(detections)))
    again = detections_from_row(row, ("cat", "dog"))
    for name in ("boxes", "scores", "labels", "probabilities"):
        assert getattr(again, name).numpy().tobytes() == getattr(detections, name).numpy().tobytes()
    assert (again.image_id, again.num_unusable, again.class_names) == ("a", 3, ("cat", "dog"))
    nothing = detections_to_row(Detections.none("b"))
    assert detections_from_row(nothing).boxes.shape == (0, 4)


def test_a_worker_keeps_its_detector_for_the_next_shard(run):
    config = tiny_detector().config
    recipe = make_recipe([run], config)
    with loaded(recipe) as first:
        pass
    with loaded(make_recipe([run], config)) as second:
        assert second is first
    changed = replace(config, postprocess=replace(config.postprocess, nms_iou=0.4))
    assert make_recipe([run], changed).fingerprint != recipe.fingerprint
    with loaded(make_recipe([run], changed)) as third:
        assert third.config.postprocess.nms_iou == 0.4
    others = replace(config, proposals=replace(config.proposals, workers=7))
    assert make_recipe([run], others).fingerprint == recipe.fingerprint


@pytest.mark.parametrize(
    ("section", "change"),
    [
        ("cascade", {"recall": 0.9}),
        ("features", {"dtype": "bfloat16"}),
        ("postprocess", {"flip": True}),
        ("proposals", {"max_boxes": 7}),
        ("backbone", {"output_stride": 32}),
    ],
)
def test_rows_of_other_settings_are_not_taken_for_these(run, section, change):
    config = tiny_detector().config
    changed = replace(config, **{section: replace(getattr(config, section), **change)})
    assert make_recipe([run], changed).fingerprint != make_recipe([run], config).fingerprint
