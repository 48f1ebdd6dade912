import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from detection.classification.batches import with_lists_of
from detection.classification.classifier import Classifier
from detection.classification.model_io import load_classifier
from detection.classification.pooled_cache import PooledCache
from detection.classification.pretrain import pretrain
from detection.classification.training import ClassifierTraining
from detection.config import BackboneConfig, DataConfig
from detection.data.synthetic import synthesize
from detection.errors import CheckpointError, ConfigError, DataError
from detection.io.tensors import load_tensors
from detection.pretrain_config import PretrainConfig
from detection.training.log import read_rows
from tests.classification.tiny_classifier import (
    tiny_config,
    write_picture,
)

pytestmark = pytest.mark.usefixtures("tiny_network")


def weights_of(run):
    return load_tensors(run / "model.safetensors")[0]


def fail_at(monkeypatch, number: int, error: BaseException | None = None) -> None:
    """Stop the training before a step: by SIGTERM, or as hard as an error stops it."""
    step = ClassifierTraining.step

    def stopping(self, index):
        if index == number:
            if error is not None:
                raise error
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, index)

    monkeypatch.setattr(ClassifierTraining, "step", stopping)


def test_it_learns_the_classes_of_a_folder(root, tmp_path):
    run = pretrain(tiny_config(root, epochs=8, learning_rate=0.05, dropout=0.0), tmp_path / "run")
    rows = read_rows(run / "checkpoints")
    assert rows[-1]["loss"] < 0.5 * rows[0]["loss"]
    assert rows[-1]["test_top1"] == 1.0
    assert load_classifier(run).class_names == ("blue", "green", "red")
    assert (run / "checkpoints" / "training.csv").is_file()


def test_multi_size_training_alternates_by_epoch(root, tmp_path):
    run = pretrain(tiny_config(root, sizes=(32, 24), epochs=3), tmp_path / "run")
    assert [row["side"] for row in read_rows(run / "checkpoints")] == [32, 24, 32]


def test_it_learns_the_objects_of_a_voc_folder(tmp_path):
    synthesize(tmp_path / "voc", train_images=6, test_images=3, max_size=(250, 330))
    config = tiny_config(tmp_path, source="objects", epochs=1, head="no_spp", sizes=(32,))
    config = replace(config, data=DataConfig(root=str(tmp_path / "voc")))
    run = pretrain(config, tmp_path / "run")
    assert load_classifier(run).class_names == ("box", "cross", "disc", "triangle")


def test_lists_that_were_drawn_are_kept_in_the_run(tmp_path):
    synthesize(tmp_path / "voc", train_images=8, test_images=2, max_size=(250, 330))
    shutil.rmtree(tmp_path / "voc" / "ImageSets")
    config = tiny_config(tmp_path, source="objects", epochs=1, head="no_spp", sizes=(32,))
    config = replace(config, data=DataConfig(root=str(tmp_path / "voc")))
    run = pretrain(config, tmp_path / "run")
    assert with_lists_of(run, config).data.lists == str(run / "split.json")
    folders = replace(config, pretrain=replace(config.pretrain, source="folder"))
    assert with_lists_of(run, folders) == folders


@pytest.mark.parametrize("stop", [None, RuntimeError("power cut")], ids=["sigterm", "killed"])
def test_a_resumed_training_gives_the_same_weights(root, tmp_path, monkeypatch, stop):
    config = tiny_config(root, sizes=(32, 24), dropout=0.5)
    whole = weights_of(pretrain(config, tmp_path / "whole"))
    with monkeypatch.context() as patch:
        fail_at(patch, 7, stop)
        with pytest.raises((SystemExit, RuntimeError)) as raised:
            pretrain(config, tmp_path / "run")
    if stop is None:
        assert raised.value.code == 143
    assert not (tmp_path / "run" / "model.safetensors").exists()
    resumed = weights_of(pretrain(config, tmp_path / "run", resume=True))
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_reading_in_other_processes_changes_nothing(root, tmp_path, monkeypatch):
    """Nor is it warned of, however few the cores: their number was asked for."""
    monkeypatch.setattr(torch._utils, "cpu_count", lambda: 1)
    alone = weights_of(pretrain(tiny_config(root, epochs=2), tmp_path / "alone"))
    helped = weights_of(pretrain(tiny_config(root, epochs=2, workers=2), tmp_path / "helped"))
    assert all(torch.equal(alone[name], helped[name]) for name in alone)


def test_the_seed_decides_everything_and_the_global_generators_nothing(root, tmp_path):
    torch.manual_seed(1)
    first = weights_of(pretrain(tiny_config(root, epochs=1), tmp_path / "a"))
    torch.manual_seed(2)
    second = weights_of(pretrain(tiny_config(root, epochs=1), tmp_path / "b"))
    other = weights_of(pretrain(tiny_config(root, epochs=1, seed=1), tmp_path / "c"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["trunk.0.weight"], other["trunk.0.weight"])


def test_a_finished_training_is_not_repeated(root, tmp_path, monkeypatch):
    config = tiny_config(root, epochs=1)
    pretrain(config, tmp_path / "run")
    fail_at(monkeypatch, 0, RuntimeError("it trains again"))
    assert pretrain(config, tmp_path / "run", resume=True) == tmp_path / "run"


def test_changed_settings_stop_a_resumption(root, tmp_path):
    pretrain(tiny_config(root, epochs=1), tmp_path / "run")
    with pytest.raises(ConfigError, match=r"pretrain\.batch_size: 6 -> 7"):
        pretrain(tiny_config(root, epochs=1, batch_size=7), tmp_path / "run", resume=True)


def test_changed_classes_stop_a_resumption(root, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        fail_at(patch, 6, RuntimeError("power cut"))
        with pytest.raises(RuntimeError, match="power cut"):
            pretrain(tiny_config(root), tmp_path / "run")
    for split in ("train", "val"):
        (root / split / "green").rename(root / split / "yellow")
    with pytest.raises(DataError, match=r"class_names: .*'green'.* -> .*'yellow'"):
        pretrain(tiny_config(root), tmp_path / "run", resume=True)
    with pytest.raises(CheckpointError, match=r"expected the classes .*yellow"):
        pretrain(tiny_config(root), tmp_path / "run", resume=True, override=True)


def test_a_replaced_picture_stops_a_resumption(root, tmp_path):
    pretrain(tiny_config(root, epochs=1), tmp_path / "run")
    (tmp_path / "run" / "model.safetensors").unlink()
    picture = next((root / "train" / "red").iterdir())
    picture.write_bytes(picture.read_bytes() + b"more")
    with pytest.raises(DataError, match="sha256"):
        pretrain(tiny_config(root, epochs=1), tmp_path / "run", resume=True)


def test_a_loss_that_is_not_finite_stops_and_names_step_rate_and_pictures(root, tmp_path):
    config = tiny_config(root, learning_rate=1e20, batch_size=4)
    message = r"step \d+: expected a finite loss, got .*1e\+20, images (red|green|blue)/\d.png"
    with pytest.raises(DataError, match=message):
        pretrain(config, tmp_path / "run")


def test_a_picture_that_cannot_be_read_is_named(root, tmp_path):
    (root / "train" / "red" / "3.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"red/3\.png: expected an image"):
        pretrain(tiny_config(root), tmp_path / "run")


def test_other_errors_of_a_training_stay_what_they_are(root, tmp_path, monkeypatch):
    fail_at(monkeypatch, 0, RuntimeError("shape mismatch"))
    with pytest.raises(RuntimeError, match="shape mismatch"):
        pretrain(tiny_config(root, epochs=1), tmp_path / "run")


def test_a_split_without_a_class_of_the_training_is_refused(root, tmp_path):
    write_picture(root / "val" / "pink" / "0.png", (250, 180, 190), 1)
    with pytest.raises(DataError, match="expected a known class, got 'pink'"):
        pretrain(tiny_config(root), tmp_path / "run")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_processes_learn_what_one_learns_from_the_same_batches(root, tmp_path):
    pytest.importorskip("accelerate")
    # 7 images a step: one process takes 4 of them, the other 3, and of the last batch 2 and 1.
    words = ["-m", "detection", "pretrain", "--pretrain.root", str(root), "--features.device=cpu"]
    words += ["--backbone.name=squeezenet", "--pretrain.sizes=32", "--pretrain.short_side=36"]
    words += ["--pretrain.batch_size=7", "--pretrain.epochs=1", "--pretrain.fc_size=8"]
    words += ["--pretrain.init=kaiming", "--pretrain.dropout=0", "--pretrain.levels=1,2"]
    words += ["--pretrain.learning_rate=0.01"]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1"}
    for name, start in (("one", []), ("two", launcher)):
        command = [sys.executable, *start, *words, "--out", str(tmp_path / name)]
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, timeout=400, check=False
        )
        assert done.returncode == 0, done.stderr
    one, two = weights_of(tmp_path / "one"), weights_of(tmp_path / "two")
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-3, atol=1e-5)
    rows = [read_rows(tmp_path / name / "checkpoints") for name in ("one", "two")]
    for first, second in zip(*rows, strict=True):
        assert first["loss"] == pytest.approx(second["loss"], rel=1e-4)
        assert first["test_top1"] == second["test_top1"]


def frozen(root, tmp_path, **changes):
    """Settings of a training on the frozen conv layers of a network that was trained before."""
    first = pretrain(tiny_config(root, epochs=1), tmp_path / "first")
    backbone = BackboneConfig(name="tiny", weights=str(first / "model.safetensors"))
    settings = {"open_layers": 0, "colour": 0.0, "sizes": (32, 24), "epochs": 3, **changes}
    return replace(tiny_config(root, **settings), backbone=backbone)


def count_passes(monkeypatch) -> list[int]:
    """Return a list that grows by the number of images of each pass through the conv layers."""
    passes: list[int] = []
    conv = Classifier.conv

    def counting(self, pixels):
        passes.append(len(pixels))
        return conv(self, pixels)

    monkeypatch.setattr(Classifier, "conv", counting)
    return passes


def test_kept_vectors_change_nothing(root, tmp_path):
    config = frozen(root, tmp_path)
    kept = replace(config, pretrain=replace(config.pretrain, pooled_gib=0.01))
    plain = weights_of(pretrain(config, tmp_path / "plain"))
    cached = weights_of(pretrain(kept, tmp_path / "cached"))
    assert plain.keys() == cached.keys()
    for name, weight in plain.items():
        torch.testing.assert_close(cached[name], weight, rtol=1e-4, atol=1e-6)


def test_trainings_that_share_kept_vectors_run_no_conv_layer_twice(root, tmp_path, monkeypatch):
    config = frozen(root, tmp_path, pooled_gib=0.01)
    passes = count_passes(monkeypatch)
    cache = PooledCache(10**7)
    first = weights_of(pretrain(config, tmp_path / "a", cache=cache))
    assert set(passes) == {1}
    assert len(passes) == len(cache)
    passes.clear()
    again = weights_of(pretrain(config, tmp_path / "b", cache=cache))
    assert passes == []
    assert all(torch.equal(again[name], weight) for name, weight in first.items())


def test_a_training_with_kept_vectors_resumes_to_the_same_weights(root, tmp_path, monkeypatch):
    config = frozen(root, tmp_path, pooled_gib=0.01)
    whole = weights_of(pretrain(config, tmp_path / "whole"))
    with monkeypatch.context() as patch:
        fail_at(patch, 7)
        with pytest.raises(SystemExit):
            pretrain(config, tmp_path / "run")
    resumed = weights_of(pretrain(config, tmp_path / "run", resume=True))
    assert all(torch.equal(resumed[name], weight) for name, weight in whole.items())


@pytest.mark.parametrize(
    "wrong",
    [{"open_layers": 1}, {"colour": 0.1}, {"crops": "random"}, {"size_rule": "uniform"}],
)
def test_vectors_are_kept_only_of_crops_that_come_again(wrong):
    right = {"open_layers": 0, "colour": 0.0, "pooled_gib": 1.0}
    PretrainConfig(**right)
    with pytest.raises(ConfigError, match=r"pretrain\.pooled_gib: expected 0 unless"):
        PretrainConfig(**{**right, **wrong})
