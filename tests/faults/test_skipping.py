"""What the command leaves out, it lists; what an evaluation may not leave out, stops it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.data.folders import annotation_xml, object_xml
from tests.faults.conftest import Trained
from tests.faults.small import HEIGHT, SETTINGS, WIDTH, fail, read_skipped, run, where, write_tree


def damage(path: Path) -> None:
    """Cut an image off behind its header, which stays readable."""
    path.write_bytes(path.read_bytes()[:-900])


def test_f22_f23_training_lists_what_it_leaves_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = write_tree(tmp_path / "data")
    images = tree.root / "JPEGImages"
    (images / "000001.jpg").write_bytes(b"")
    damage(images / "000002.jpg")
    flat = object_xml("red", (5, 6, 5, 9))
    good = [object_xml("blue", (5, 6, 30, 35)), object_xml("red", (50, 6, 80, 35))]
    tree.annotation("000003", annotation_xml(*good, flat, size=(WIDTH, HEIGHT)))
    options = (*SETTINGS, *where(tree, tmp_path / "boxes"), "--out", tmp_path / "run")
    message = fail(capsys, "train", *options)
    assert "expected at most 1.0% unreadable images, got 1 of 6" in message
    assert "000001.jpg" in message
    message = fail(capsys, "train", "--overwrite", "--data.max_skipped", "0.2", *options)
    assert "000002.jpg" in message
    assert run("train", "--overwrite", "--data.max_skipped", "0.4", *options) == 0
    entries = read_skipped(tmp_path / "run")
    assert {e["split"] for e in entries} == {"trainval"}
    assert sorted((Path(e["file"]).name, e["kind"]) for e in entries) == [
        ("000001.jpg", "unreadable image"),
        ("000002.jpg", "unreadable image"),
        ("000003.xml", "degenerate box"),
    ]
    assert "unreadable image: 2" in capsys.readouterr().err
    assert json.loads((tmp_path / "run" / "data.json").read_text())["num_images"] == 4


def test_f22_a_last_readable_image_of_a_class_is_missed_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = write_tree(tmp_path / "data", train=2)
    tree.annotation("000001", annotation_xml(object_xml("blue"), size=(WIDTH, HEIGHT)))
    tree.annotation("000002", annotation_xml(object_xml("red"), size=(WIDTH, HEIGHT)))
    damage(tree.root / "JPEGImages" / "000002.jpg")
    options = (*SETTINGS, *where(tree, tmp_path / "boxes"), "--out", tmp_path / "run")
    message = fail(capsys, "train", "--data.max_skipped", "1", *options)
    assert "expected objects of every class to train on, got none of 'red'" in message


def test_f22_proposing_lists_what_it_leaves_out_of_training_images_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = write_tree(tmp_path / "data")
    damage(tree.root / "JPEGImages" / "000001.jpg")
    options = (*where(tree, tmp_path / "boxes"), "--proposals.workers", "1")
    assert run("propose", *options, "--splits", "train", "--data.max_skipped", "0.5") == 0
    (folder,) = (tmp_path / "boxes").iterdir()
    (entry,) = read_skipped(folder)
    assert (entry["split"], Path(entry["file"]).name) == ("trainval", "000001.jpg")
    damage(tree.root / "JPEGImages" / "000007.jpg")
    message = fail(capsys, "propose", *options, "--splits", "test", "--data.max_skipped", "1")
    assert "000007.jpg" in message
    assert len(list(folder.glob("*.safetensors"))) == 5 + 2


def test_f22_evaluation_never_drops_an_image(
    trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(trained.tree.root / "JPEGImages" / "000008.jpg")
    assert "000008.jpg" in fail(capsys, "evaluate", trained.run)
    assert not (trained.run / "metrics.json").exists()
    assert run("evaluate", trained.run, "--evaluation.allow_missing", "true") == 0
    metrics = json.loads((trained.run / "metrics.json").read_text())
    assert (metrics["num_images"], metrics["num_objects"]) == (3, 6)
    skipped = [e for e in read_skipped(trained.run) if e["split"] == "test"]
    assert [Path(e["file"]).name for e in skipped] == ["000008.jpg"]
    rows = json.loads((trained.run / "detections" / "coco.json").read_text())
    assert {int(row["image_id"]) for row in rows} == {7, 9}


def test_f27_an_image_over_the_limit_stops_whatever_may_be_skipped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = write_tree(tmp_path / "data")
    options = (*SETTINGS, *where(tree, tmp_path / "boxes"), "--out", tmp_path / "run")
    limits = ("--data.max_pixels", "1000", "--data.max_skipped", "1")
    message = fail(capsys, "train", *limits, *options)
    assert "data.max_pixels" in message
    assert ".jpg" in message


def test_f22_photographs_that_cannot_be_read_do_not_stop_the_others(
    trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.jpg").write_bytes(b"")
    (tmp_path / "b.jpg").write_bytes(b"text")
    good = trained.tree.root / "JPEGImages" / "000001.jpg"
    options = ("--out", tmp_path / "found", "--no_drawings")
    assert run("detect", trained.run, tmp_path / "a.jpg", good, *options) == 1
    captured = capsys.readouterr()
    assert "a.jpg" in captured.err
    assert list(json.loads((tmp_path / "found" / "detections.json").read_text())) == [str(good)]
    message = fail(capsys, "detect", trained.run, tmp_path / "a.jpg", tmp_path / "b.jpg", *options)
    assert "a.jpg" in message
    assert message.endswith("(1 more cannot be read either)")
