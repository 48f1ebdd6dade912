"""The pass that trains SVMs and regressors goes on from its checkpoints as if nothing had been."""

import json
import logging
import os
import signal
from dataclasses import replace

import pytest
import torch

from detection.config import BBoxConfig, SvmConfig
from detection.errors import DataError
from detection.heads.layer import identity
from detection.training import mining_checkpoint
from detection.training.mining_checkpoint import MiningCheckpoints
from detection.training.svm_training import SvmTraining
from detection.training.svms import train_heads
from tests.training import tiny

SVM = SvmConfig(norm_images=4, norm_boxes=20, retrain_after=12, random_negatives=4)
BBOX = BBoxConfig(max_examples=20)


class StopError(Exception):
    """What a test interrupts a training with."""


@pytest.fixture
def images(tmp_path):
    return tiny.training_images(tiny.config(), tiny.records(tmp_path, 8))


@pytest.fixture
def checkpoints(tmp_path):
    return lambda identity=0, **kind: MiningCheckpoints(
        tmp_path / "mining", {"seed": identity}, **{"resume": True} | kind
    )


def interrupt_at(monkeypatch, image, action):
    """Do something in front of an image of the pass, once."""
    add, seen = SvmTraining.add, []

    def counted(self, example):
        seen.append(example)
        if len(seen) == image:
            action()
        add(self, example)

    monkeypatch.setattr(SvmTraining, "add", counted)
    return seen


def fail():
    raise StopError


def equal(a, b):
    parts = [(heads.scorer.svms.weight, heads.scorer.svms.bias) for heads in (a, b)]
    if a.regressors is not None:
        boxes = [(heads.regressors.weight, heads.regressors.bias) for heads in (a, b)]
        parts = [(*p, *q) for p, q in zip(parts, boxes, strict=True)]
    return all(torch.equal(x, y) for x, y in zip(*parts, strict=True))


@pytest.mark.parametrize("image", range(1, 9))
@pytest.mark.parametrize("random_negatives", [0, 4])
def test_a_pass_that_is_cut_short_ends_with_the_same_bits(
    images, checkpoints, monkeypatch, image, random_negatives
):
    config = replace(SVM, random_negatives=random_negatives)
    expected = train_heads(images, identity, config, BBOX)
    with monkeypatch.context() as patch:
        interrupt_at(patch, image, fail)
        with pytest.raises(StopError):
            train_heads(images, identity, config, BBOX, checkpoints=checkpoints())
    with monkeypatch.context() as patch:
        seen = interrupt_at(patch, 0, fail)
        resumed = train_heads(images, identity, config, BBOX, checkpoints=checkpoints())
    assert equal(resumed, expected)
    assert len(seen) >= 9 - image
    assert (len(seen) < 8) == (image > 1)


def test_without_regressors_and_with_a_fixed_scorer_it_goes_on_too(
    images, checkpoints, monkeypatch
):
    monkeypatch.setattr(mining_checkpoint, "_SECONDS", -1.0)  # after every image
    expected = train_heads(images, identity, SVM, BBOX)
    pool = images.source.pool5
    with monkeypatch.context() as patch:
        patch.setattr(images.source, "pool5", lambda *a: _cut(pool(*a), 5))
        with pytest.raises(StopError):
            train_heads(images, identity, SVM, BBOX, expected.scorer, checkpoints())
    heads = train_heads(images, identity, SVM, BBOX, expected.scorer, checkpoints())
    assert heads.scorer is expected.scorer
    assert torch.equal(heads.regressors.weight, expected.regressors.weight)


def _cut(features, number):
    for index, one in enumerate(features):
        if index == number:
            raise StopError
        yield one


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_the_state_and_ends_the_process(
    images, checkpoints, monkeypatch, number, code, caplog
):
    expected = train_heads(images, identity, SVM, BBOX)
    with monkeypatch.context() as patch:
        interrupt_at(patch, 6, lambda: os.kill(os.getpid(), number))
        with pytest.raises(SystemExit) as ended:
            train_heads(images, identity, SVM, BBOX, checkpoints=checkpoints(every=1000))
    assert ended.value.code == code
    assert "after image 6; state saved" in caplog.text
    seen = interrupt_at(monkeypatch, 0, fail)
    assert equal(train_heads(images, identity, SVM, BBOX, checkpoints=checkpoints()), expected)
    assert len(seen) == 2


@pytest.mark.parametrize("change", ["identity", "resume", "bit", "manifest"])
def test_a_checkpoint_that_does_not_belong_here_is_not_used(
    images, checkpoints, monkeypatch, change, caplog
):
    expected = train_heads(images, identity, SVM, BBOX)
    train_heads(images, identity, SVM, BBOX, checkpoints=checkpoints())
    folder = checkpoints().folder
    if change == "bit":
        path = next(folder.glob("state-*.safetensors"))
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
    elif change == "manifest":
        (folder / "manifest.json").write_text('{"images": ')
    store = checkpoints(1) if change == "identity" else checkpoints(resume=change != "resume")
    seen = interrupt_at(monkeypatch, 0, fail)
    assert equal(train_heads(images, identity, SVM, BBOX, checkpoints=store), expected)
    assert len(seen) == 8
    assert ("starts anew" in caplog.text) == (change != "resume")


def test_a_folder_holds_the_files_of_one_checkpoint(images, checkpoints, monkeypatch):
    monkeypatch.setattr(mining_checkpoint, "_FILE_BYTES", 3000)
    train_heads(images, identity, SVM, BBOX, checkpoints=checkpoints())
    folder = checkpoints().folder
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["images"] == 8
    assert len(manifest["state"]["files"]) > 1
    named = {
        *manifest["started"]["files"],
        *manifest["state"]["files"],
        *(name for names in manifest["examples"] for name in names),
    }
    assert {path.name for path in folder.iterdir()} == {"manifest.json", *named}
    expected = train_heads(images, identity, SVM, BBOX)
    assert equal(train_heads(images, identity, SVM, BBOX, checkpoints=checkpoints()), expected)
    checkpoints().remove()
    assert not folder.exists()


def test_a_full_disk_keeps_the_checkpoint_before(images, checkpoints, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    expected = train_heads(images, identity, SVM, BBOX)
    write, written = mining_checkpoint.save_tensors, []

    def full(path, tensors, metadata):
        written.append(path)
        if len(written) == 5:
            raise DataError(f"{path}: no space")
        write(path, tensors, metadata)

    with monkeypatch.context() as patch:
        patch.setattr(mining_checkpoint, "save_tensors", full)
        with pytest.raises(DataError, match="no space"):
            train_heads(images, identity, SVM, BBOX, checkpoints=checkpoints())
    heads = train_heads(images, identity, SVM, BBOX, checkpoints=checkpoints())
    assert equal(heads, expected)
    assert "mining resumed after image" in caplog.text
