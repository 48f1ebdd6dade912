"""Parts of a check, shared out to workers: the report of one process, only what is missing done."""

import json

import pytest

from detection.config import DataConfig
from detection.data import check_parts
from detection.data.check import check_dataset
from detection.data.folder import list_images
from detection.io.shards import Parallel
from tests.data.folders import (
    VocTree,
    annotation_xml,
    coco_content,
    object_xml,
    write_bytes_or_text,
)

CLUSTERS = {"processes": "joblib", "dask": "distributed", "ray": "ray"}


@pytest.fixture
def tree(tmp_path):
    """Nine images in two lists: a damaged one, boxes outside, an unknown class, a twin."""
    tree = VocTree(tmp_path / "set")
    outside = object_xml(corners=(5, 6, 90, 35))
    for number in range(2, 10):
        name = f"{number:06d}"
        objects = [outside] * (number % 3) + [object_xml(name="dig" if number == 9 else "dog")]
        tree.more(name, annotation_xml(*objects, filename=f"{name}.jpg"))
    damaged = tree.root / "JPEGImages/000005.jpg"
    damaged.write_bytes(damaged.read_bytes()[:-200])
    twin = tree.root / "JPEGImages/000008.jpg"
    twin.write_bytes((tree.root / "JPEGImages/000009.jpg").read_bytes())
    tree.split("train", "".join(f"{number:06d}\n" for number in range(1, 8)))
    tree.split("test", "000007\n000008\n000009\n")
    return tree


def check(root, **options):
    config = DataConfig(root=str(root), train_split="train", test_split="test")
    return check_dataset(config, **options)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", CLUSTERS)
def test_workers_report_what_one_process_does(tree, tmp_path, monkeypatch, kind):
    pytest.importorskip(CLUSTERS[kind])
    monkeypatch.chdir(tmp_path)
    parallel = Parallel(kind=kind, workers=2, images=2)
    expected = check("set", workers=1)
    assert not expected.clean
    assert {"clipped box", "damaged image", "same image twice", "unknown class"} <= {
        finding.kind for finding in expected.findings
    }
    assert check("set", parallel=parallel, out=tmp_path / "out") == expected
    assert len(list((tmp_path / "out/shards").rglob("*.jsonl"))) == 4 + 2
    monkeypatch.chdir(tmp_path / "set")
    assert check(".", parallel=parallel, out=tmp_path / "out") == check(".", workers=1)


def test_only_parts_with_changed_files_are_checked_again(tree, tmp_path, monkeypatch):
    parallel, out = Parallel(kind="processes", workers=1, images=2), tmp_path / "out"
    before = check(tree.root, parallel=parallel, out=out)
    looked = []
    check_part = check_parts.check_part
    monkeypatch.setattr(
        check_parts, "check_part", lambda part: (looked.append(part.items), check_part(part))[1]
    )
    assert check(tree.root, parallel=parallel, out=out) == before
    assert looked == []
    tree.annotation("000004", annotation_xml(object_xml(), size=None))
    after = check(tree.root, parallel=parallel, out=out)
    assert [list(part) for part in looked] == [["000003", "000004"]]
    assert after == check(tree.root, workers=1) != before
    looked.clear()
    check(tree.root, parallel=parallel, out=out, decode=False)
    assert len(looked) == 6


def test_a_coco_file_is_shared_out_too(tree, tmp_path):
    images = sorted(path.name for path in list_images([tree.root / "JPEGImages"]))
    content = coco_content()
    first = content["images"][0]
    content["images"] = [
        {**first, "id": number, "file_name": name} for number, name in enumerate(images, start=1)
    ]
    content["annotations"] = [
        {**content["annotations"][0], "id": number, "image_id": number}
        for number in range(1, len(images) + 1)
    ]
    root = tmp_path / "coco"
    write_bytes_or_text(root / "train.json", json.dumps(content))
    (root / "images").symlink_to(tree.root / "JPEGImages")
    config = DataConfig(root=str(root), train_split="train")
    expected = check_dataset(config, ("train",), workers=1)
    assert "damaged image" in {finding.kind for finding in expected.findings}
    parallel = Parallel(kind="processes", workers=1, images=2)
    assert check_dataset(config, ("train",), parallel=parallel, out=tmp_path / "out") == expected
    assert len(list((tmp_path / "out/shards").rglob("*.jsonl"))) == 5
