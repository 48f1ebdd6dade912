"""The exports of annotation tools, file for file as these write them, and no option set."""

import json

import pytest

from detection.config import DataConfig
from detection.data.check import check_dataset
from detection.data.convert import convert
from detection.data.dataset import read_dataset
from detection.data.tables import kind_of
from tests.data.folders import annotation_xml, object_xml, picture, write_bytes_or_text

NAMES = [f"img {number}" for number in range(5)]
BOX = (6.0, 4.0, 36.0, 24.0)
LINE = f"1 {21 / 60} {14 / 40} {30 / 60} {20 / 40}\n"
HASH = "3f2a1b4"


def image(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(seed=seed).save(path)


def write(root, files):
    for path, text in files.items():
        write_bytes_or_text(root / path, text if isinstance(text, str) else json.dumps(text))


def coco(names):
    return {
        "images": [
            {"width": 60, "height": 40, "id": number, "file_name": name}
            for number, name in enumerate(names)
        ],
        "categories": [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}],
        "annotations": [
            {
                "id": number,
                "image_id": number,
                "category_id": 1,
                "segmentation": [],
                "bbox": [6.0, 4.0, 30.0, 20.0],
                "ignore": 0,
                "iscrowd": 0,
                "area": 600.0,
            }
            for number in range(len(names))
        ],
        "info": {"year": 2024, "version": "1.0", "contributor": "Label Studio"},
    }


def prefixed(number, name):
    return f"{HASH}{number}-{name}"


def label_studio_coco(root, file_name="images\\{}"):
    names = [prefixed(n, f"{name}.jpg") for n, name in enumerate(NAMES)]
    for seed, name in enumerate(names):
        image(root / "images" / name, seed)
    write(root, {"result.json": coco([file_name.format(name) for name in names])})


def label_studio_coco_without_images(root):
    """The export without images, beside the files that were uploaded."""
    for seed, name in enumerate(NAMES):
        image(root / "photos" / f"{name}.jpg", seed)
        image(root / "images" / f"{name}.jpg", seed)
    names = [f"/data/upload/1/{prefixed(n, name)}.jpg" for n, name in enumerate(NAMES)]
    write(root, {"result.json": coco(names)})


def label_studio_yolo(root, *, own_images=True):
    for seed, name in enumerate(NAMES):
        label = prefixed(seed, name)
        image(root / "images" / f"{label if own_images else name}.jpg", seed)
        write(root, {f"labels/{label}.txt": LINE})
    notes = {
        "categories": [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}],
        "info": {"year": 2024, "version": "1.0", "contributor": "Label Studio"},
    }
    write(root, {"classes.txt": "cat\ndog\n", "notes.json": notes})


def label_studio_voc(root, *, own_images=True):
    for seed, name in enumerate(NAMES):
        label = prefixed(seed, name)
        image(root / "images" / f"{label if own_images else name}.jpg", seed)
        text = annotation_xml(object_xml(corners=(7, 5, 36, 24)), filename=label)
        write(root, {f"Annotations/{label}.xml": text})


def cvat_coco(root, folder="images/default"):
    for seed, name in enumerate(NAMES):
        image(root / folder / f"{name}.jpg", seed)
    content = coco([f"{name}.jpg" for name in NAMES])
    content["licenses"] = [{"name": "", "id": 0, "url": ""}]
    write(root, {"annotations/instances_default.json": content})


def cvat_yolo(root):
    for seed, name in enumerate(NAMES):
        image(root / "obj_train_data" / f"{name}.jpg", seed)
        write(root, {f"obj_train_data/{name}.txt": LINE})
    lines = "".join(f"data/obj_train_data/{name}.jpg\n" for name in NAMES)
    data = "classes = 2\ntrain = data/train.txt\nnames = data/obj.names\nbackup = backup/\n"
    write(root, {"train.txt": lines, "obj.names": "cat\ndog\n", "obj.data": data})


def cvat_ultralytics(root):
    for seed, name in enumerate(NAMES):
        image(root / "images" / "train" / f"{name}.jpg", seed)
        write(root, {f"labels/train/{name}.txt": LINE})
    lines = "".join(f"data/images/train/{name}.jpg\n" for name in NAMES)
    data = "names:\n  0: cat\n  1: dog\npath: .\ntrain: train.txt\n"
    write(root, {"train.txt": lines, "data.yaml": data})


def cvat_voc(root):
    for seed, name in enumerate(NAMES):
        image(root / "JPEGImages" / f"{name}.jpg", seed)
        text = annotation_xml(object_xml(corners=(7, 5, 36, 24)), filename=f"{name}.jpg")
        write(root, {f"Annotations/{name}.xml": text})
    lists = "".join(f"{name}\n" for name in NAMES)
    write(
        root, {"ImageSets/Main/default.txt": lists, "labelmap.txt": "# label:color_rgb\ndog:::\n"}
    )
    write(root, {"ImageSets/Main/dog_default.txt": lists.replace("\n", "  1\n")})


def labelme(root, *, image_path="{}.jpg", shape=None):
    for seed, name in enumerate(NAMES):
        image(root / f"{name}.jpg", seed)
        content = {
            "version": "5.4.1",
            "flags": {},
            "shapes": [
                shape
                or {
                    "label": "dog",
                    "points": [[36.0, 4.0], [6.0, 24.0]],
                    "group_id": None,
                    "description": "",
                    "shape_type": "rectangle",
                    "flags": {},
                    "mask": None,
                }
            ],
            "imagePath": image_path.format(name),
            "imageData": None,
            "imageHeight": 40,
            "imageWidth": 60,
        }
        write(root, {f"{name}.json": content})


def csv_of_boxes(root):
    rows = [f"{name}.jpg,60,40,dog,6,4,36,24" for name in NAMES]
    for seed, name in enumerate(NAMES):
        image(root / "images" / f"{name}.jpg", seed)
    head = "filename,width,height,class,xmin,ymin,xmax,ymax"
    write(root, {"labels.csv": "\n".join([head, *rows])})


TOOLS = {
    "Label Studio COCO": (label_studio_coco, "coco"),
    "Label Studio COCO, upload": (
        lambda root: label_studio_coco(root, "../../label_studio/data/media/upload/4/{}"),
        "coco",
    ),
    "Label Studio COCO, absolute": (lambda r: label_studio_coco(r, "/data/upload/4/{}"), "coco"),
    "Label Studio COCO, Windows": (lambda r: label_studio_coco(r, "C:\\data\\{}"), "coco"),
    "Label Studio COCO, address": (
        lambda root: label_studio_coco(root, "https://host:8080/data/upload/4/{}?token=1"),
        "coco",
    ),
    "Label Studio COCO, storage": (
        lambda root: label_studio_coco(root, "/data/local-files/?d=set/{}"),
        "coco",
    ),
    "Label Studio COCO, bucket": (lambda r: label_studio_coco(r, "s3://bucket/a/{}"), "coco"),
    "Label Studio COCO without images": (label_studio_coco_without_images, "coco"),
    "Label Studio YOLO": (label_studio_yolo, "yolo"),
    "Label Studio YOLO without images": (
        lambda root: label_studio_yolo(root, own_images=False),
        "yolo",
    ),
    "Label Studio VOC": (label_studio_voc, "voc"),
    "Label Studio VOC without images": (
        lambda root: label_studio_voc(root, own_images=False),
        "voc",
    ),
    "CVAT COCO": (cvat_coco, "coco"),
    "CVAT COCO, older": (lambda root: cvat_coco(root, "images"), "coco"),
    "CVAT YOLO": (cvat_yolo, "yolo"),
    "CVAT YOLO Ultralytics": (cvat_ultralytics, "yolo"),
    "CVAT VOC": (cvat_voc, "voc"),
    "LabelMe": (labelme, "labelme"),
    "LabelMe, images elsewhere": (
        lambda root: labelme(root, image_path="..\\photos\\{}.jpg"),
        "labelme",
    ),
    "a table": (csv_of_boxes, "csv"),
}


@pytest.mark.parametrize("tool", TOOLS)
def test_an_export_is_read_as_it_is(tmp_path, tool):
    export, kind = TOOLS[tool]
    export(tmp_path / "set")
    config = DataConfig(root=str(tmp_path / "set"))
    assert kind_of(config) == kind
    train, test = (read_dataset(config, split) for split in ("train", "test"))
    assert (len(train.records), len(test.records)) == (4, 1)
    found = {r.path.stem.removeprefix(HASH).split("-")[-1] for r in (*train.records, *test.records)}
    assert found == set(NAMES)
    assert train.class_names == ("dog",)
    for record in (*train.records, *test.records):
        assert record.truth.boxes.tolist() == [pytest.approx(BOX, abs=1e-4)]
        assert record.path.is_file()
    report = check_dataset(config)
    assert report.clean, report.format()


@pytest.mark.parametrize("tool", TOOLS)
def test_an_export_becomes_a_voc_folder(tmp_path, tool):
    export, _ = TOOLS[tool]
    export(tmp_path / "set")
    made = convert(DataConfig(root=str(tmp_path / "set")), "voc", tmp_path / "voc")
    assert (made.images, made.objects) == (5, 5)
    assert made.lists == {"trainval": 4, "test": 1}
    config = DataConfig(root=str(tmp_path / "voc"))
    for record in read_dataset(config, "train").records:
        assert record.truth.boxes.tolist() == [pytest.approx(BOX, abs=1e-4)]


def test_many_labelme_files_are_no_coco_file(tmp_path):
    labelme(tmp_path)
    for number in range(60):
        text = (tmp_path / "img 0.json").read_text().replace("img 0", f"x{number}")
        (tmp_path / f"x{number}.json").write_text(text)
        image(tmp_path / f"x{number}.jpg", number + 10)
    assert kind_of(DataConfig(root=str(tmp_path))) == "labelme"


def test_subsets_of_cvat_are_its_lists(tmp_path):
    for part, names in (("train", NAMES[:3]), ("valid", NAMES[3:])):
        for seed, name in enumerate(names):
            image(tmp_path / f"obj_{part}_data" / f"{name}.jpg", seed + len(names))
            write(tmp_path, {f"obj_{part}_data/{name}.txt": LINE})
        lines = "".join(f"data/obj_{part}_data/{name}.jpg\n" for name in names)
        write(tmp_path, {f"{part}.txt": lines})
    write(tmp_path, {"obj.names": "cat\ndog\n", "obj.data": "classes = 2\n"})
    config = DataConfig(root=str(tmp_path))
    sizes = [len(read_dataset(config, split).records) for split in ("train", "test")]
    assert sizes == [3, 2]
