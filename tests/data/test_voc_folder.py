import logging
import zlib

import pytest

from detection.config import DataConfig
from detection.data.check import check_dataset
from detection.data.dataset import read_dataset
from detection.data.voc import open_voc_folder, read_voc
from detection.errors import DataError
from tests.data.folders import VocTree, annotation_xml, object_xml, picture, write_bytes_or_text


def write_pair(image, xml, name="dog"):
    image.parent.mkdir(parents=True, exist_ok=True)
    picture(seed=zlib.crc32(str(image).encode())).save(image)
    write_bytes_or_text(xml, annotation_xml(object_xml(name), filename=image.name))


LAYOUTS = {
    "beside the images": ("{i}.jpg", "{i}.xml"),
    "in two folders": ("images/{i}.jpg", "annotations/{i}.xml"),
    "VOC without lists": ("JPEGImages/{i}.jpg", "Annotations/{i}.xml"),
    "in subfolders": ("cam{h}/{i}.jpg", "cam{h}/xml/{i}.xml"),
    "names that repeat": ("cam{h}/jpg/{s}.jpg", "cam{h}/xml/{s}.xml"),
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_images_with_an_xml_file_each_are_a_data_set(tmp_path, layout, caplog):
    for i in range(20):
        values = {"i": i, "h": i % 2, "s": i // 2}
        image, xml = (tmp_path / "set" / part.format(**values) for part in layout)
        write_pair(image, xml, "dog" if i % 3 else "cat")
    config = DataConfig(root=str(tmp_path / "set"))
    with caplog.at_level(logging.INFO):
        train, test = (read_dataset(config, split) for split in ("train", "test"))
    assert (len(train.records), len(test.records)) == (16, 4)
    assert train.class_names == test.class_names == ("cat", "dog")
    paths = {record.path for dataset in (train, test) for record in dataset.records}
    assert len(paths) == 20
    assert all(path.is_file() for path in paths)
    assert caplog.text.count("read as 20 images with an XML file each, a fifth drawn") == 1
    assert check_dataset(config).clean


def test_folders_of_the_parts_are_its_lists(tmp_path):
    for part, count in (("train", 3), ("valid", 2), ("test", 1)):
        for i in range(count):
            write_pair(tmp_path / part / f"{part}{i}.jpg", tmp_path / part / f"{part}{i}.xml")
    sizes = {
        name: len(read_voc(tmp_path, name).records) for name in ("trainval", "train", "val", "test")
    }
    assert sizes == {"trainval": 5, "train": 3, "val": 2, "test": 1}
    with pytest.raises(DataError, match=r"expected one of the lists .*test, train, .*got 'all'"):
        read_voc(tmp_path, "all")


def test_images_that_are_not_annotated_are_left_out_and_counted(tmp_path, caplog):
    write_pair(tmp_path / "a.jpg", tmp_path / "a.xml")
    write_pair(tmp_path / "b.jpg", tmp_path / "b.xml")
    picture().save(tmp_path / "c.jpg")
    (tmp_path / "._a.xml").write_bytes(b"x")
    assert set(open_voc_folder(tmp_path).images) == {"a", "b"}
    assert "1 image without an XML file is left out" in caplog.text


def test_two_images_of_one_annotation_are_left_to_its_filename(tmp_path):
    write_pair(tmp_path / "a.png", tmp_path / "a.xml")
    write_pair(tmp_path / "b.jpg", tmp_path / "b.xml")
    picture().save(tmp_path / "a.jpg")
    folder = open_voc_folder(tmp_path)
    assert folder.twins == {"a": ("a.jpg", "a.png")}
    records = {
        r.image_id: r for name in ("trainval", "test") for r in read_voc(tmp_path, name).records
    }
    assert records["a"].path.name == "a.png"


def test_a_folder_without_pairs_says_what_was_looked_for(tmp_path):
    picture().save(tmp_path / "a.jpg")
    with pytest.raises(DataError, match=r"or images with an XML file of the same name, got none"):
        open_voc_folder(tmp_path)


def test_lists_may_name_images_in_subfolders(tmp_path):
    tree = VocTree(tmp_path / "set")
    for folder in ("JPEGImages", "Annotations"):
        (tree.root / folder / "cam1").mkdir()
    picture().save(tree.root / "JPEGImages" / "cam1" / "p01.jpg")
    tree.annotation("cam1/p01", annotation_xml(object_xml(), filename="cam1/p01.jpg"))
    tree.split("train", "cam1/p01\n000001\n")
    dataset = read_voc(tree.root, "train", strict=True)
    assert [record.image_id for record in dataset.records] == ["cam1/p01", "000001"]
    assert dataset.notes == {}


@pytest.mark.parametrize("line", ["../p01", "cam1//p01", "/p01", "cam1/..", "c:p01", "cam1/./p"])
def test_lists_name_nothing_outside_of_the_folder(tmp_path, line):
    tree = VocTree(tmp_path / "set")
    tree.split("train", f"{line}\n")
    with pytest.raises(DataError, match=r"expected a plain identifier"):
        read_voc(tree.root, "train")
