import unicodedata

import PIL.Image
import pytest

from detection.data.yolo import open_yolo
from detection.errors import DataError
from tests.data.folders import picture
from tests.data.label_trees import boxes_of, dataset_of, kinds_of, write_tree

DOG = "1 0.500000 0.500000 0.500000 0.250000\n"
CAT = "0 0.250000 0.750000 0.500000 0.500000\n"
DOG_BOX = ("dog", 15.0, 15.0, 45.0, 25.0)
CAT_BOX = ("cat", 0.0, 20.0, 30.0, 40.0)

ULTRALYTICS = """\
# Train/val/test sets
path: ../datasets/pets # dataset root dir
train: images/train # train images (relative to 'path')
val: images/val
test: # test images (optional)

# Classes
names:
  0: cat
  1: dog

# Download script/URL (optional)
download: |
  cat <<EOF
  EOF
"""

ROBOFLOW = """\
train: ../train/images
val: ../valid/images
test: ../test/images

nc: 2
names: ['cat', 'dog']

roboflow:
  workspace: pets
  project: pets
  version: 1
  license: CC BY 4.0
"""


@pytest.fixture
def ultralytics(tmp_path):
    files = {
        "data.yaml": ULTRALYTICS,
        "labels/train/a.txt": DOG + CAT,
        "labels/train/b.txt": "",
        "labels/val/a.txt": CAT,
    }
    images = ["images/train/a.jpg", "images/train/b.png", "images/train/c.jpg", "images/val/a.jpg"]
    return write_tree(tmp_path / "pets", files, images)


def test_a_folder_of_ultralytics_becomes_a_data_set(ultralytics):
    coco = open_yolo(ultralytics, "train")
    assert coco.path == ultralytics / "data.yaml"
    assert coco.categories == {0: "cat", 1: "dog"}
    assert [(i.image_id, i.file_name, i.size) for i in coco.images] == [
        ("a", "images/train/a.jpg", None),
        ("b", "images/train/b.png", None),
        ("c", "images/train/c.jpg", None),
    ]
    assert boxes_of(coco, "a") == [DOG_BOX, CAT_BOX]
    assert [issue.message for issue in coco.issues] == [
        "labels/train/c.txt: expected a label file, got none; read as an image without objects"
    ]
    dataset, terms = dataset_of(coco, ultralytics)
    assert dataset.class_names == ("cat", "dog")
    assert dataset.notes == {"no label file": 1}
    first, second, third = dataset.records
    assert first.truth.boxes.tolist() == [[15, 15, 45, 25], [0, 20, 30, 40]]
    assert first.truth.labels.tolist() == [1, 0]
    assert not first.truth.difficult.any()
    assert first.path == ultralytics / "images/train/a.jpg"
    assert len(second.truth.boxes) == len(third.truth.boxes) == 0
    assert terms.category_ids == (0, 1)
    row = {"image_id": "a", "iscrowd": 0}
    assert terms.annotations == (
        {**row, "id": 1, "category_id": 1, "bbox": [15.0, 15.0, 30.0, 10.0], "area": 300.0},
        {**row, "id": 2, "category_id": 0, "bbox": [0.0, 20.0, 30.0, 20.0], "area": 600.0},
    )


@pytest.mark.parametrize(("split", "count"), [("trainval", 3), ("test", 1), ("val", 1)])
def test_the_default_splits_are_found_under_the_usual_names(ultralytics, split, count):
    assert len(open_yolo(ultralytics, split).images) == count


def test_the_exact_name_comes_first(ultralytics):
    write_tree(ultralytics, {"labels/test/t.txt": DOG}, ["images/test/t.jpg"])
    assert [image.image_id for image in open_yolo(ultralytics, "test").images] == ["t"]


def test_a_split_that_is_not_there_is_named_with_the_places(ultralytics):
    with pytest.raises(
        DataError,
        match=r"data\.yaml: expected images of 'minival' in .*: an entry of a YAML file, or "
        r"images/minival, minival/images or minival\.txt, got none of them; correct",
    ):
        open_yolo(ultralytics, "minival")


def test_an_export_of_roboflow_is_read(tmp_path):
    files = {"data.yaml": ROBOFLOW, "train/labels/a_jpg.rf.1f.txt": DOG, "valid/labels/b.txt": CAT}
    root = write_tree(tmp_path, files, ["train/images/a_jpg.rf.1f.jpg", "valid/images/b.jpg"])
    coco = open_yolo(root, "train")
    assert [(i.image_id, i.file_name) for i in coco.images] == [
        ("a_jpg.rf.1f", "train/images/a_jpg.rf.1f.jpg")
    ]
    assert boxes_of(coco, "a_jpg.rf.1f") == [DOG_BOX]
    assert boxes_of(open_yolo(root, "val"), "b") == [CAT_BOX]
    assert boxes_of(open_yolo(root, "test"), "b") == [CAT_BOX]  # there is no test/images
    assert boxes_of(open_yolo(root, "valid"), "b") == [CAT_BOX]


def test_darknets_lists_and_names_are_read(tmp_path):
    files = {
        "obj.names": "cat\ndog\n",
        "obj.data": "classes = 2\ntrain = data/train.txt\nnames = data/obj.names\n",
        "train.txt": "data/obj_train_data/b.jpg\ndata/obj_train_data/a.jpg\n",
        "obj_train_data/a.txt": DOG,
        "obj_train_data/b.txt": CAT,
    }
    root = write_tree(tmp_path, files, ["obj_train_data/a.jpg", "obj_train_data/b.jpg"])
    coco = open_yolo(root, "train")
    assert coco.path == root / "obj.names"
    assert [i.image_id for i in coco.images] == ["obj_train_data/b", "obj_train_data/a"]
    assert boxes_of(coco, "obj_train_data/a") == [DOG_BOX]
    assert dataset_of(coco, root)[0].class_names == ("cat", "dog")


@pytest.mark.parametrize("file", ["classes.txt", "labels/classes.txt"])
def test_a_folder_of_images_with_labels_beside_or_in_labels_needs_no_yaml(tmp_path, file):
    files = {file: "cat\r\ndog\r\n\r\n", "labels/a.txt": DOG, "flat/b.txt": CAT}
    root = write_tree(tmp_path, files, ["images/a.jpg", "flat/b.jpg"])
    assert boxes_of(open_yolo(root, "images"), "a") == [DOG_BOX]
    assert boxes_of(open_yolo(root, "flat"), "b") == [CAT_BOX]


@pytest.mark.parametrize(
    "line",
    [
        "images/train/a.jpg",
        "./images/train/a.jpg",
        "images\\train\\a.jpg",
        "../pets/images/train/a.jpg",
        "/content/datasets/pets/images/train/a.jpg",
        "C:\\sets\\pets\\images\\train\\a.jpg",
    ],
)
def test_lists_of_other_machines_are_read(ultralytics, line):
    yaml = "train: lists/train.txt\nnames: [cat, dog]\n"
    write_tree(ultralytics, {"data.yaml": yaml, "lists/train.txt": f"{line}\n\n{line}\n"})
    coco = open_yolo(ultralytics, "train")
    assert [i.file_name for i in coco.images] == ["images/train/a.jpg"]
    assert boxes_of(coco, "images/train/a") == [DOG_BOX, CAT_BOX]
    assert [(i.kind, i.location) for i in coco.issues] == [
        ("duplicate in the list", "lists/train.txt: line 3")
    ]


def test_a_listed_image_that_is_not_there_is_left_to_the_reader(ultralytics):
    yaml = "train: train.txt\nnames: [cat, dog]\n"
    lines = "images/train/a.jpg\nimages/train/z.jpg\n/elsewhere/z.jpg\n"
    write_tree(ultralytics, {"data.yaml": yaml, "train.txt": lines, "labels/train/z.txt": DOG})
    coco = open_yolo(ultralytics, "train")
    assert [i.file_name for i in coco.images] == ["images/train/a.jpg", "images/train/z.jpg"]
    assert [(i.kind, i.location, i.action) for i in coco.issues] == [
        ("bad image", "train.txt: line 3", "stop")
    ]
    write_tree(ultralytics, {"train.txt": lines.rpartition("/elsewhere")[0]})
    dataset, _ = dataset_of(open_yolo(ultralytics, "train"), ultralytics, strict=False)
    assert [r.image_id for r in dataset.records] == ["images/train/a"]
    assert dataset.notes == {"unreadable image": 1}


def test_an_entry_may_be_a_list_of_folders(ultralytics):
    yaml = "train: [images/train, images/val]\nnames: [cat, dog]\n"
    write_tree(ultralytics, {"data.yaml": yaml})
    coco = open_yolo(ultralytics, "train")
    assert [i.image_id for i in coco.images] == [  # two are called a in their folders
        "images/train/a",
        "images/train/b",
        "images/train/c",
        "images/val/a",
    ]
    write_tree(ultralytics, {"data.yaml": yaml.replace("images/val", "images/more")})
    with pytest.raises(DataError, match=r"train: expected images in .*, got no 'images/more'"):
        open_yolo(ultralytics, "train")


def test_two_images_of_one_stem_have_their_extensions(ultralytics):
    picture(seed=9).save(ultralytics / "images/train/a.png")
    coco = open_yolo(ultralytics, "train")
    assert [i.image_id for i in coco.images][:2] == ["images/train/a.jpg", "images/train/a.png"]
    assert boxes_of(coco, "images/train/a.png") == [DOG_BOX, CAT_BOX]


def test_folders_below_and_hidden_files(ultralytics):
    write_tree(ultralytics, {"labels/train/x/d.txt": DOG}, ["images/train/x/d.JPG"])
    (ultralytics / "images/train/._a.jpg").write_bytes(b"\0\5\x16\7")
    coco = open_yolo(ultralytics, "train")
    assert [i.image_id for i in coco.images] == ["a", "b", "c", "x/d"]
    assert boxes_of(coco, "x/d") == [DOG_BOX]


@pytest.mark.parametrize("yaml", ["train: ../other", "path: ../other\ntrain: imgs"])
def test_images_outside_the_root_are_refused(ultralytics, yaml):
    write_tree(ultralytics.parent / "other", {}, ["imgs/a.jpg"])
    write_tree(ultralytics, {"data.yaml": f"{yaml}\nnames: [cat, dog]\n"})
    with pytest.raises(
        DataError, match=r"data\.yaml: expected images in .*, got .* outside it; mo"
    ):
        open_yolo(ultralytics, "train")


@pytest.mark.parametrize("name", ["a" * 5000, "a\0b"])
def test_a_name_that_no_file_can_have_is_not_there(ultralytics, name):
    write_tree(ultralytics, {"lists.txt": f"{name}.jpg\nimages/train/a.jpg\n"})
    coco = open_yolo(ultralytics, "lists")
    assert len(coco.images) + len(coco.issues) >= 2
    assert boxes_of(coco, "images/train/a") == [DOG_BOX, CAT_BOX]


def test_boxes_are_in_pixels_of_the_upright_image(ultralytics):
    tags = PIL.Image.Exif()
    tags[0x0112] = 6
    picture(width=60, height=40).save(ultralytics / "images/train/a.jpg", exif=tags)
    assert boxes_of(open_yolo(ultralytics, "train"), "a")[0] == ("dog", 10.0, 22.5, 30.0, 37.5)


def test_boxes_of_an_unreadable_image_are_left_out(ultralytics):
    (ultralytics / "images/train/a.jpg").write_bytes(b"no image")
    coco = open_yolo(ultralytics, "train")
    assert coco.annotations == ()
    assert len(coco.images) == 3
    assert kinds_of(coco) == {("no label file", "note"): 1}


def test_bad_lines_name_the_file_from_the_root(ultralytics):
    write_tree(ultralytics, {"labels/train/a.txt": f"{DOG}{CAT}9 0.5 0.5 0.5 0.5\n"})
    coco = open_yolo(ultralytics, "train")
    assert len(coco.objects["a"]) == 2
    with pytest.raises(DataError, match=r"^labels/train/a\.txt: line 3: expected a class index"):
        dataset_of(coco, ultralytics)
    write_tree(ultralytics, {"labels/train/a.txt": b"\xff\xfe1\0"})
    issue = open_yolo(ultralytics, "train").issues[0]
    assert issue.message.startswith("labels/train/a.txt: expected UTF-8 text, got byte 0 that")


def test_poses_have_boxes(ultralytics):
    yaml = "train: images/train\nkpt_shape: [2, 2]\nnames: [cat, dog]\n"
    files = {"data.yaml": yaml, "labels/train/a.txt": f"{DOG[:-1]} 0.1 0.1 0.9 0.9\n"}
    coco = open_yolo(write_tree(ultralytics, files), "train")
    assert boxes_of(coco, "a") == [DOG_BOX]
    assert kinds_of(coco)["keypoints", "note"] == 1


def test_names_and_files_are_the_same_however_they_are_composed(tmp_path):
    name = unicodedata.normalize("NFD", "Bär")
    files = {"data.yaml": f"names: ['{name}']\n", f"labels/train/{name}.txt": "0 0.5 0.5 0.5 0.5\n"}
    root = write_tree(tmp_path, files, ["images/train/Bär.jpg"])
    coco = open_yolo(root, "train")
    assert coco.categories == {0: "Bär"}
    assert boxes_of(coco, "Bär") == [("Bär", 15.0, 10.0, 45.0, 30.0)]


def test_an_entry_that_is_no_path_is_shown_cut_off(tmp_path):
    lines = ["names: [cat]", "a0: &a0 [lol]"]
    lines += [f"a{n}: &a{n} [{f'*a{n - 1},' * 9}]" for n in range(1, 30)]
    write_tree(tmp_path, {"data.yaml": "\n".join([*lines, "train: [*a29, {b: *a29}]"])})
    with pytest.raises(
        DataError, match=r"expected images of 'train'.* that is not there"
    ) as caught:
        open_yolo(tmp_path, "train")
    assert len(str(caught.value)) < 700


def test_a_split_without_images_stops_a_reader(ultralytics):
    (ultralytics / "images/empty").mkdir()
    assert kinds_of(open_yolo(ultralytics, "empty")) == {("empty list", "stop"): 1}


def test_reading_writes_nothing(ultralytics):
    before = sorted(ultralytics.rglob("*"))
    open_yolo(ultralytics, "train")
    assert sorted(ultralytics.rglob("*")) == before
