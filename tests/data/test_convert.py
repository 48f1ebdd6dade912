"""There and back again: a data set in another format is the same data set."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from detection.cli.main import main
from detection.config import DataConfig
from detection.data.annotations import CheckedObject
from detection.data.check import check_dataset
from detection.data.convert import convert
from detection.data.dataset import read_dataset
from detection.data.tables import kind_of
from detection.errors import DataError
from detection.inference.as_labels import read_labels
from tests.cli.lines import fail
from tests.data.folders import VocTree, annotation_xml, object_xml, picture
from tests.inference.test_as_labels import run_folder

WIDTH, HEIGHT = 97, 61
NAMES = ("ant", "Bälle", "c d")

number = st.one_of(
    st.integers(0, 30).map(float),
    st.integers(0, 300).map(lambda n: n / 10),
    st.floats(0.03125, 30, width=32),
)


@st.composite
def boxes(draw):
    """Boxes that lie in the image, wider and higher than the pixel that VOC needs."""
    x, y, width, height = (draw(number) for _ in range(4))
    right, bottom = (
        draw(st.sampled_from([start + side + 1.5, end]))
        for start, side, end in ((x, width, float(WIDTH)), (y, min(height, 29), float(HEIGHT)))
    )
    return x, y, right, bottom


objects = st.tuples(st.sampled_from(NAMES), boxes(), st.booleans())
one_image = st.lists(objects, max_size=4, unique_by=lambda item: item[:2])
sets = st.lists(one_image, min_size=2, max_size=4).filter(
    lambda images: all(any(images[k::2]) for k in (0, 1))
)


def opened(root):
    classes = {"class_names": NAMES, "drop_empty_classes": True}
    return DataConfig(root=str(root), train_difficult=True, **classes)


def write_source(root, images):
    """Write a VOC folder of the images, the even ones to train on."""
    tree = VocTree(root)
    for number, found in enumerate(images):
        xml = "".join(
            object_xml(
                name,
                (box[0] + 1, box[1] + 1, box[2], box[3]),
                f"<difficult>{int(hard)}</difficult>",
            )
            for name, box, hard in found
        )
        name = f"i{number}"
        tree.image(name, picture=lambda n=number: picture(WIDTH, HEIGHT, seed=n))
        text = annotation_xml(xml, size=(WIDTH, HEIGHT), filename=f"{name}.jpg")
        tree.annotation(name, text)
    for split, start in (("trainval", 0), ("test", 1)):
        tree.split(split, "".join(f"i{n}\n" for n in range(start, len(images), 2)))
    return opened(root)


def records(config):
    """Return list -> image -> its objects, sorted, and the bytes of its file."""
    found = {}
    for split in ("train", "test"):
        name = getattr(config, f"{split}_split")
        dataset = read_dataset(replace(config, train_split=name), "train")
        for record in dataset.records:
            truth = record.truth
            rows = zip(
                [dataset.class_names[label] for label in truth.labels],
                truth.boxes.tolist(),
                truth.difficult.tolist(),
                strict=True,
            )
            own = sorted((name, tuple(box), hard) for name, box, hard in rows)
            found[split, record.path.stem] = (own, record.path.read_bytes())
    return found


def plain(found):
    return {
        key: ([(name, box, False) for name, box, _ in own], data)
        for key, (own, data) in found.items()
    }


@settings(
    max_examples=20,
    phases=(Phase.explicit, Phase.generate),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(images=sets, to=st.sampled_from(["voc", "coco", "yolo"]))
def test_there_and_back_again_each_image_has_the_same_objects(tmp_path_factory, images, to):
    folder = tmp_path_factory.mktemp("convert")
    source = write_source(folder / "source", images)
    there = convert(source, to, folder / "there")
    middle = opened(folder / "there")
    assert kind_of(middle) == to
    back = convert(middle, "voc", folder / "back")
    end = opened(folder / "back")
    before, between, after = (records(config) for config in (source, middle, end))
    keep = plain if to == "yolo" else dict
    assert keep(before) == between == after
    hard = sum(hard for own, _ in before.values() for _, _, hard in own)
    said = {"yolo": "difficult flags", "coco": "difficult flags, which become crowds"}.get(to)
    assert there.lost == ({said: hard} if said and hard else {})
    assert there.images == back.images == len(images)
    assert there.objects == back.objects == sum(map(len, images))


def test_a_list_that_is_not_there_is_said_and_passed_over(tmp_path, capsys):
    VocTree(tmp_path / "set").split("trainval", "000001\n")
    arguments = ["convert", tmp_path / "set", "--to", "yolo", "--out", tmp_path / "out"]
    assert main(list(map(str, arguments))) == 0
    out = capsys.readouterr().out
    assert "only one list: " in out
    assert "1 image, 1 object (trainval 1)\nlost: nothing" in out
    assert (tmp_path / "out/labels/train/000001.txt").read_text().startswith("0 ")
    assert (tmp_path / "out/data.yaml").read_text().startswith("path: .\ntrain: images/train\n")


def test_images_of_one_name_in_two_roots_get_names_of_their_own(tmp_path):
    for seed, name in enumerate("ab"):
        tree = VocTree(tmp_path / name)
        tree.image("000001", picture=lambda seed=seed: picture(seed=seed))
        tree.split("trainval", "000001\n")
    config = DataConfig(root=(str(tmp_path / "a"), str(tmp_path / "b")))
    assert convert(config, "coco", tmp_path / "out").images == 2
    for name in "ab":
        written = next((tmp_path / "out" / "images" / name).rglob("000001.jpg")).read_bytes()
        assert written == (tmp_path / name / "JPEGImages/000001.jpg").read_bytes()
    assert len(read_dataset(DataConfig(root=str(tmp_path / "out")), "train").records) == 2


@pytest.mark.parametrize("link", [False, True])
def test_images_are_copied_or_linked(tmp_path, link):
    VocTree(tmp_path / "set").split("trainval", "000001\n")
    convert(DataConfig(root=str(tmp_path / "set")), "voc", tmp_path / "out", link=link)
    first, second = (tmp_path / name / "JPEGImages/000001.jpg" for name in ("set", "out"))
    assert first.samefile(second) is link
    assert check_dataset(DataConfig(root=str(tmp_path / "out")), ("train",)).clean


def test_nothing_is_written_into_a_folder_with_files_or_of_a_broken_set(tmp_path, capsys):
    tree = VocTree(tmp_path / "set")
    tree.split("trainval", "000001\n")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").touch()
    words = ["convert", tree.root, "--to", "voc", "--out"]
    assert "expected a new folder" in fail(capsys, *words, tmp_path / "full")
    tree.annotation("000001", "<annotation>")
    assert "expected XML" in fail(capsys, *words, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(DataError, match="expected one VOC<year> folder"):
        convert(DataConfig(root=str(tmp_path / "full")), "voc", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "set"]


def detections_json(folder, images):
    rows = {
        str(path): {
            "image_id": path.stem,
            "size": [40, 60],
            "detections": [
                {"class": "dog", "score": score, "box": [1.25, 2.5, 30.0, 20.0]}
                for score in (0.9, 0.3)
            ],
        }
        for path in images
    }
    (folder / "detections.json").write_text(json.dumps(rows))
    return folder / "detections.json"


@pytest.mark.parametrize("to", ["voc", "coco", "yolo"])
def test_detections_in_images_alone_become_labels(tmp_path, to):
    (tmp_path / "photos").mkdir()
    paths = [tmp_path / "photos" / f"{name}.jpg" for name in "ab"]
    for seed, path in enumerate(paths):
        picture(seed=seed).save(path)
    file = detections_json(tmp_path, paths)
    words = ["convert", tmp_path / "photos", "--to", to, "--out", tmp_path / "out"]
    words += ["--detections", file, "--threshold", "0.5"]
    assert main(list(map(str, words))) == 0
    dataset = read_dataset(DataConfig(root=str(tmp_path / "out")), "train")
    assert [r.path.name for r in dataset.records] == ["a.jpg", "b.jpg"]
    assert [r.truth.boxes.tolist() for r in dataset.records] == [[[1.25, 2.5, 30, 20]]] * 2
    assert dataset.class_names == ("dog",)


def test_detections_of_a_run_become_labels_of_its_images(tmp_path):
    tree = VocTree(tmp_path / "set")
    tree.more("000002")
    tree.split("test", "000001\n000002\n")
    rows = [
        {"image_id": "000002", "category_id": 90, "bbox": [1, 2, 20, 10], "score": score}
        for score in (0.2, -0.5)
    ]
    labels = read_labels(run_folder(tmp_path / "run", rows))
    assert {key: len(found) for key, found in labels.items()} == {"000002": 1}
    made = convert(DataConfig(root=str(tree.root)), "voc", tmp_path / "out", labels=labels)
    assert (made.images, made.objects, made.lists) == (1, 1, {"test": 1})
    config = DataConfig(root=str(tmp_path / "out"), train_split="test")
    dataset = read_dataset(config, "train")
    assert dataset.class_names == ("dog",)
    assert dataset.records[0].truth.boxes.tolist() == [[1, 2, 21, 12]]


def test_detections_of_other_images_are_refused(tmp_path):
    tree = VocTree(tmp_path / "set")
    tree.split("trainval", "000001\n")
    box = CheckedObject(location="", class_name="dog", box=(1, 2, 9, 9), difficult=False)
    with pytest.raises(DataError, match=r"expected the images that were searched, got no 'other'"):
        convert(DataConfig(root=str(tree.root)), "voc", tmp_path / "out", labels={"other": [box]})


def test_what_a_box_cannot_hold_is_counted(tmp_path):
    VocTree(tmp_path / "set").split("trainval", "000001\n")
    for to in ("coco", "yolo"):
        convert(DataConfig(root=str(tmp_path / "set")), to, tmp_path / to)
    (table,) = (tmp_path / "coco").rglob("*.json")
    content = json.loads(table.read_text())
    content["annotations"][0] |= {"segmentation": [[1, 1, 9, 1, 9, 9]], "keypoints": []}
    table.write_text(json.dumps(content))
    (label,) = (tmp_path / "yolo").rglob("000001.txt")
    label.write_text("0 0.1 0.1 0.9 0.1 0.9 0.9\n")
    for source, words in (
        ("coco", "masks"),
        ("yolo", "polygons, of which the bounding boxes are kept"),
    ):
        config = DataConfig(root=str(tmp_path / source))
        assert convert(config, "voc", tmp_path / f"{source}_back").lost.get(words) == 1


def test_an_image_that_goes_meanwhile_ends_in_one_line(tmp_path, monkeypatch):
    VocTree(tmp_path / "set").split("trainval", "000001\n")

    def vanish(source, target):
        Path(source).unlink()
        return Path(source).open()

    monkeypatch.setattr("detection.data.convert.shutil.copyfile", vanish)
    with pytest.raises(DataError, match="out"):
        convert(DataConfig(root=str(tmp_path / "set")), "voc", tmp_path / "out")
    assert not (tmp_path / "out").exists()
