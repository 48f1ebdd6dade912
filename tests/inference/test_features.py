import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from joblib.externals.loky import get_reusable_executor

from detection.config import BackboneConfig, Config, FeatureConfig
from detection.data.folder import list_images
from detection.data.images import read_image
from detection.data.synthetic import synthesize
from detection.errors import CheckpointError, ConfigError, DataError
from detection.inference import features as module
from detection.inference.features import extract_features
from detection.io import files
from detection.io.shards import Parallel
from detection.io.tensors import load_tensors
from detection.model_io import load_detector, save_detector
from detection.proposals.search import propose
from detection.tiny import tiny_detector

CLUSTERS = {"processes": "joblib", "dask": "distributed", "ray": "ray"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    save_detector(folder / "model.safetensors", tiny_detector())
    return folder


@pytest.fixture
def config():
    return tiny_detector().config


@pytest.fixture
def images(tmp_path):
    synthesize(tmp_path / "data", train_images=2, test_images=3)
    folder = tmp_path / "data/JPEGImages"
    (folder / "broken.jpg").write_bytes(b"no image")
    return folder


pytestmark = pytest.mark.usefixtures("one_thread")


def written(out):
    return {path.name: path.read_bytes() for path in sorted(out.iterdir())}


def times(out):
    return {path.name: path.stat().st_mtime_ns for path in out.glob("*.safetensors")}


def test_a_file_holds_the_vectors_of_the_boxes_that_the_search_finds(run, config, images, tmp_path):
    summary = extract_features(config, [images], tmp_path / "out", run=run)
    assert (summary.images, list(summary.failed)) == (5, [str(images / "broken.jpg")])
    detector = load_detector(run, device="cpu")
    for path in list_images([images]):
        if path.name == "broken.jpg":
            assert not (tmp_path / "out/broken.safetensors").exists()
            continue
        tensors, header = load_tensors(tmp_path / f"out/{path.stem}.safetensors")
        image = read_image(path, path.stem)
        boxes = propose(image, config.proposals).boxes
        expected = detector.extractor.extract(image, boxes)
        assert torch.equal(tensors["boxes"], boxes)
        assert torch.equal(tensors["values"][tensors["rows"]], expected.expand())
        assert header["image_id"] == path.stem
        assert header["size"] == list(image.size)


@pytest.mark.slow
@pytest.mark.parametrize("kind", CLUSTERS)
def test_workers_write_the_bytes_of_one_process(run, config, images, tmp_path, kind):
    pytest.importorskip(CLUSTERS[kind])
    one = extract_features(config, [images], tmp_path / "one", run=run)
    parallel = Parallel(kind=kind, workers=2, images=2)
    other = extract_features(config, [images], tmp_path / kind, run=run, parallel=parallel)
    assert written(tmp_path / kind) == written(tmp_path / "one")
    assert len(written(tmp_path / kind)) == 6
    assert other.failed == one.failed


def test_only_what_is_missing_or_different_is_done_again(run, config, images, tmp_path):
    out = tmp_path / "out"
    extract_features(config, [images], out, run=run)
    first, whole = times(out), written(out)
    (out / "000001.safetensors").unlink()
    half = out / "000002.safetensors"
    half.write_bytes(half.read_bytes()[:-10])
    (images / "000003.jpg").write_bytes((images / "000004.jpg").read_bytes())
    summary = extract_features(config, [images], out, run=run)
    assert (summary.images, summary.kept) == (5, 2)
    again = times(out)
    assert {name for name in again if again[name] != first[name]} == {
        f"00000{number}.safetensors" for number in (1, 2, 3)
    }
    different = {name for name, data in written(out).items() if data != whole[name]}
    assert different == {"000003.safetensors"}
    fewer = replace(config, proposals=replace(config.proposals, max_boxes=5))
    assert extract_features(fewer, [images], out, run=run).kept == 0
    assert all(len(load_tensors(p)[0]["boxes"]) <= 5 for p in out.glob("*.safetensors"))
    summary = extract_features(fewer, [images], out, run=run)
    assert summary.kept == 5
    assert summary.format().startswith("5 images, all there already, peak memory ")


def test_what_is_there_needs_no_network(run, config, images, tmp_path, monkeypatch):
    out = tmp_path / "out"
    (images / "broken.jpg").unlink()
    extract_features(config, [images], out, run=run)
    recipe = module._recipe(config, run, Parallel())
    monkeypatch.setattr(module, "load_network", None)
    targets = module.targets_of([images], {}, ".safetensors")
    rows = list(module.extract_each(recipe, out, targets))
    assert rows == [(target, "", True) for target in targets]
    assert len(rows) == 5


def test_a_network_of_settings_gives_the_vectors_of_its_weights(images, tmp_path):
    config = Config(
        backbone=BackboneConfig(name="squeezenet", seed=3),
        features=FeatureConfig(layer="pool5", scales=(96,), levels=(1,), device="cpu"),
    )
    extract_features(config, [images], tmp_path / "a")
    other = replace(config, backbone=replace(config.backbone, seed=4))
    before = written(tmp_path / "a")
    extract_features(other, [images], tmp_path / "a")
    after = written(tmp_path / "a")
    assert after.keys() == before.keys()
    assert [name for name in after if after[name] == before[name]] == ["features.json"]


def test_a_layer_that_the_weights_do_not_bring_is_refused(images, tmp_path):
    config = Config(backbone=BackboneConfig(name="squeezenet"))
    with pytest.raises(ConfigError, match=r"features\.layer: expected pool5"):
        extract_features(config, [images], tmp_path / "a")


def test_a_missing_model_and_images_that_are_none_are_named(run, config, images, tmp_path):
    with pytest.raises(CheckpointError, match="gone"):
        extract_features(config, [images], tmp_path / "a", run=tmp_path / "gone")
    with pytest.raises(DataError, match=r"broken\.jpg"):
        extract_features(config, [images / "broken.jpg"], tmp_path / "a", run=run)


def die_once(*arguments):
    """Kill the worker at its first shard, in the middle of its second file."""
    mark = Path(os.environ["DETECTION_TEST_DEATH"])
    if not mark.exists():
        mark.touch()
        recipe, out, targets = arguments
        module.extract_shard(recipe, out, targets[:1])
        files._temporary(out / "half.safetensors").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return module.extract_shard(*arguments)


@pytest.mark.slow
def test_a_killed_worker_changes_nothing(run, config, images, tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTION_TEST_DEATH", str(tmp_path / "died"))
    get_reusable_executor().shutdown()  # workers of an earlier test would not know it
    extract_features(config, [images], tmp_path / "one", run=run)
    parallel = Parallel(kind="processes", workers=2, images=2)
    recipe = module._recipe(config, run, parallel)
    targets = module.targets_of([images], {}, ".safetensors")
    monkeypatch.setattr(module, "extract_shard", die_once)
    failed, kept = module._extract(recipe, config, targets, tmp_path / "two", parallel)
    assert (tmp_path / "died").exists()
    assert list(failed) == [str(images / "broken.jpg")]
    assert kept == 0  # what the worker had written was not there before
    one = written(tmp_path / "one")
    one.pop("features.json")
    assert written(tmp_path / "two") == one
