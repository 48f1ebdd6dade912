"""Class and file names of any letters, through the whole command line."""

from __future__ import annotations

import html
import json
import xml.sax.saxutils
from pathlib import Path

import pytest

from detection.classification.dataset import read_image_folder
from detection.config import DataConfig
from detection.data.dataset import read_dataset
from detection.errors import ConfigError, DataError, is_line
from tests.data.folders import VocTree, annotation_xml, object_xml
from tests.faults.conftest import Trained
from tests.faults.small import HEIGHT, SETTINGS, WIDTH, run, scene, where

NAMES = ("<script>alert(1)</script>/..", '猫 & "x" line' + "y" * 300)


@pytest.fixture
def hostile(tmp_path: Path) -> VocTree:
    """A data set whose two classes have hostile names, and one image a name with markup."""
    tree = VocTree(tmp_path / "data")
    ids = ["<b>&amp;", "日本", "x" * 120, "a b"]
    for seed, image_id in enumerate(ids):
        picture, xml = scene(seed)
        picture.save(tree.root / "JPEGImages" / f"{image_id}.jpg")
        for plain, name in zip(("blue", "red"), NAMES, strict=True):
            xml = xml.replace(f">{plain}<", f">{xml_text(name)}<")
        tree.annotation(image_id, xml)
    for split in ("trainval", "test"):
        tree.split(split, "".join(f"{image_id}\n" for image_id in ids))
    return tree


def xml_text(name: str) -> str:
    """Escape a name for XML."""
    return xml.sax.saxutils.escape(name)


def test_f55_names_of_any_letters_pass_through_training_scores_and_pages(
    hostile: VocTree, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    boxes, out = tmp_path / "boxes", tmp_path / "run"
    assert run("train", *SETTINGS, *where(hostile, boxes), "--out", out) == 0
    assert run("evaluate", out) == 0
    captured = capsys.readouterr()
    lines = (captured.out + captured.err).replace(str(tmp_path), "").splitlines()
    assert not any("y" * 50 in line or line.startswith("line") for line in lines)
    names = json.loads((out / "metrics.json").read_text())["class_names"]
    assert sorted(names) == sorted(NAMES)
    for path in (out / "detections").iterdir():
        assert path.parent == out / "detections"
        assert len(path.name.encode()) < 200
        assert not set(path.name) & set('<>/\\"&\n ')
    assert len(list((out / "detections").glob("comp4_det_*.txt"))) == 2
    assert run("report", out, "--out", tmp_path / "report.html") == 0
    assert run("browse", *where(hostile, boxes)[:2], "--out", tmp_path / "browse.html") == 0
    for page in ("report.html", "browse.html"):
        content = (tmp_path / page).read_text()
        assert "<script" not in content
        assert html.escape("<script>alert(1)</script>") in content
        assert "猫" in content


def test_f55_drawings_have_safe_names_of_their_own(hostile: VocTree, tmp_path: Path) -> None:
    out, drawn = tmp_path / "run", tmp_path / "found"
    assert run("train", *SETTINGS, *where(hostile, tmp_path / "boxes"), "--out", out) == 0
    images = hostile.root / "JPEGImages"
    assert run("detect", out, images, "--out", drawn) == 0
    drawings = [path.name for path in drawn.glob("*.png")]
    assert len(drawings) == 5
    assert not set("".join(drawings)) & set('<>/\\"&\n ')
    results = json.loads((drawn / "detections.json").read_text())
    assert sorted(results) == sorted(map(str, images.iterdir()))


def test_images_of_one_name_have_identifiers_and_drawings_of_their_own(
    trained: Trained, tmp_path: Path
) -> None:
    source = trained.tree.root / "JPEGImages"
    paths = [tmp_path / name for name in ("a/img.jpg", "a/img.png", "b/img.jpg")]
    for number, path in enumerate(paths, start=1):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes((source / f"00000{number}.jpg").read_bytes())
    out = tmp_path / "out"
    options = ("--out", out, "--coco", out / "coco.json", "--threshold", "-9")
    assert run("detect", trained.run, tmp_path / "a", tmp_path / "b", *options) == 0
    described = json.loads((out / "detections.json").read_text())
    assert list(described) == [str(path) for path in paths]
    by_id = {row["image_id"]: row for row in described.values()}
    assert len(by_id) == 3
    rows = json.loads((out / "coco.json").read_text())
    assert {row["image_id"] for row in rows} == set(by_id)
    for image_id, entry in by_id.items():
        scores = [row["score"] for row in rows if row["image_id"] == image_id]
        assert scores == [drawn.get("probability", drawn["score"]) for drawn in entry["detections"]]
        assert (out / entry["drawing"]).is_file()
    assert len({entry["drawing"] for entry in by_id.values()}) == 3


ODD_NAMES = ("cat\ndog", "cat\r", "a\tb", "a\x1b[2J", "a\x7f", "a\x85b", "a\u2028b", "a\u202eb")


@pytest.mark.parametrize("name", ODD_NAMES)
def test_names_that_are_no_line_are_refused_in_configurations(name: str) -> None:
    with pytest.raises(ConfigError, match=r"data.class_names: expected names without control"):
        DataConfig(class_names=(f"{name}x", "dog"))


@pytest.mark.parametrize("form", ["voc", "coco", "folder"])
def test_names_that_are_no_line_are_refused_in_data_sets(tmp_path: Path, form: str) -> None:
    name = "cat\ndog"
    picture, _ = scene(0)
    if form == "folder":
        (tmp_path / name).mkdir()
        picture.save(tmp_path / name / "1.jpg")
        with pytest.raises(DataError, match="expected names of classes in one line"):
            read_image_folder(tmp_path)
        return
    if form == "voc":
        tree = VocTree(tmp_path)
        picture.save(tree.root / "JPEGImages" / "1.jpg")
        tree.annotation("1", annotation_xml(object_xml(name), size=(WIDTH, HEIGHT)))
        tree.split("train", "1\n")
        root, split, where_ = tree.root, "train", "1.xml: object 1"
    else:
        picture.save(tmp_path / "1.jpg")
        table = {
            "images": [{"id": 1, "file_name": "1.jpg", "width": WIDTH, "height": HEIGHT}],
            "categories": [{"id": 1, "name": name}],
            "annotations": [
                {"id": 7, "image_id": 1, "category_id": 1, "bbox": [1, 1, 9, 9], "area": 81}
            ],
        }
        (tmp_path / "a.json").write_text(json.dumps(table))
        root, split, where_ = tmp_path, "a.json", "a.json: annotation"
    config = DataConfig(root=str(root), format=form, train_split=split)
    with pytest.raises(DataError, match=r"expected a name in one line, got 'cat.n") as caught:
        read_dataset(config, "train")
    assert where_ in str(caught.value)


@pytest.mark.parametrize("name", ["café", "猫", "🐈\u200d⬛", "a b", "<b>", "क्षि", "L'été «1»"])
def test_names_in_any_script_are_taken(name: str) -> None:
    assert DataConfig(class_names=(name,)).class_names == (name,)
    assert is_line(name)
