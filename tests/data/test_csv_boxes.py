import pytest

from detection.data.csv_boxes import open_csv
from detection.errors import DataError
from tests.data.label_trees import boxes_of, dataset_of, kinds_of, write_tree

RETINANET = """\
images/a.jpg,15,15,45,25,dog
images/a.jpg,0,20,30.5,40,cat
images/c.jpg,,,,,
images/b.jpg,1,2,3,4,cat
"""

TENSORFLOW = """\
filename,width,height,class,xmin,ymin,xmax,ymax
a.jpg,60,40,dog,15,15,45,25
b.jpg,60,40,cat,1,2,3,4
"""

HEADER = "filename,xmin,ymin,xmax,ymax,class\n"


def write(root, content, file="train.csv", images=("a.jpg", "b.jpg")):
    return write_tree(root, {file: content}, images)


def test_a_file_of_keras_retinanet_becomes_a_data_set(tmp_path):
    root = write(tmp_path, RETINANET, images=["images/a.jpg", "images/b.jpg", "images/c.jpg"])
    coco = open_csv(root, "train")
    assert coco.path == root / "train.csv"
    assert coco.categories == {1: "cat", 2: "dog"}
    assert [(i.image_id, i.file_name, i.size) for i in coco.images] == [
        ("images/a", "images/a.jpg", None),
        ("images/c", "images/c.jpg", None),
        ("images/b", "images/b.jpg", None),
    ]
    dataset, terms = dataset_of(coco, root)
    assert dataset.class_names == ("cat", "dog")
    assert dataset.notes == {}
    first, second, third = dataset.records
    assert first.truth.boxes.tolist() == [[15, 15, 45, 25], [0, 20, 30.5, 40]]
    assert first.truth.labels.tolist() == [1, 0]
    assert len(second.truth.boxes) == 0
    assert third.truth.boxes.tolist() == [[1, 2, 3, 4]]
    assert terms.category_ids == (1, 2)
    assert [(row["id"], row["bbox"], row["area"]) for row in terms.annotations] == [
        (1, [15, 15, 30, 10], 300),
        (2, [0, 20, 30.5, 20], 610),
        (3, [1, 2, 2, 2], 4),
    ]


@pytest.mark.parametrize(
    ("file", "folder"),
    [
        ("train.csv", ""),
        ("train_labels.csv", "images/"),
        ("train_labels.csv", "train/"),
        ("annotations_train.csv", "images/train/"),
        ("train/_annotations.csv", "train/"),
    ],
)
@pytest.mark.parametrize("split", ["train", "trainval"])
def test_files_and_images_are_found_where_tools_put_them(tmp_path, file, folder, split):
    root = write(tmp_path, TENSORFLOW, file, [f"{folder}a.jpg", f"{folder}b.jpg"])
    coco = open_csv(root, split)
    assert coco.path == root / file
    assert [(i.image_id, i.file_name, i.size) for i in coco.images] == [
        ("a", f"{folder}a.jpg", (40, 60)),
        ("b", f"{folder}b.jpg", (40, 60)),
    ]
    assert [r.path for r in dataset_of(coco, root)[0].records] == [
        root / f"{folder}a.jpg",
        root / f"{folder}b.jpg",
    ]


def test_test_is_found_under_other_names_and_the_exact_one_comes_first(tmp_path):
    write(tmp_path, TENSORFLOW, "valid.csv")
    assert open_csv(tmp_path, "test").path.name == "valid.csv"
    write(tmp_path, TENSORFLOW, "test_labels.csv")
    assert open_csv(tmp_path, "test").path.name == "test_labels.csv"
    assert open_csv(tmp_path, "valid.csv").path.name == "valid.csv"
    with pytest.raises(DataError, match=r"expected val\.csv, val_labels\.csv, .* got no such file"):
        open_csv(tmp_path, "val")


@pytest.mark.parametrize(
    "header",
    [
        "filename,xmin,ymin,xmax,ymax,class",
        "File,X1,Y1,X2,Y2,Label",
        "image,left,top,right,bottom,name",
        "path,x_min,y_min,x_max,y_max,class_name",
        "image_path, xmin, ymin, xmax, ymax, category",
        '"image_id","xmin","ymin","xmax","ymax","class"',
    ],
)
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_columns_are_found_by_name(tmp_path, header, delimiter):
    content = f"{header}\na.jpg,15,15,45,25,dog\n".replace(",", delimiter)
    root = write(tmp_path, f"\ufeff{content}".replace("\n", "\r\n"))
    coco = open_csv(root, "train")
    assert boxes_of(coco, "a") == [("dog", 15.0, 15.0, 45.0, 25.0)]
    assert coco.issues == ()


def test_columns_that_are_not_asked_for_are_passed_over(tmp_path):
    content = ",ymax,xmax,ymin,xmin,class,filename,score\n0,25,45,15,15,dog,a.jpg,0.5\n"
    assert boxes_of(open_csv(write(tmp_path, content), "train"), "a") == [
        ("dog", 15.0, 15.0, 45.0, 25.0)
    ]


def test_a_header_without_a_column_is_named(tmp_path):
    write(tmp_path, "image_id,width,height,bbox,class\na,60,40,1 2 3 4,dog\n")
    with pytest.raises(
        DataError,
        match=r"train\.csv: line 1: expected a column xmin and one ymin and one xmax and one ymax, "
        r"got \['image_id'.*rename a column, xmin is one of xmin, x1, left, x_min",
    ):
        open_csv(tmp_path, "train")


def test_classes_called_like_columns_make_no_header(tmp_path):
    coco = open_csv(write(tmp_path, "a.jpg,1,2,3,4,left\nb.jpg,1,2,3,4,right\n"), "train")
    assert coco.categories == {1: "left", 2: "right"}
    assert len(coco.annotations) == 2


def test_difficult_objects_are_difficult(tmp_path):
    rows = "a.jpg,1,2,3,4,dog,1\na.jpg,5,6,7,8,dog,0\na.jpg,9,9,20,20,dog,\n"
    root = write(tmp_path, "filename,xmin,ymin,xmax,ymax,class,difficult\n" + rows)
    dataset, _ = dataset_of(open_csv(root, "train"), root)
    assert dataset.records[0].truth.difficult.tolist() == [True, False, False]
    write(tmp_path, f"filename,xmin,ymin,xmax,ymax,class,difficult\n{rows}a.jpg,1,1,9,9,dog,maybe")
    issue = open_csv(root, "train").issues[0]
    assert issue.message.startswith("train.csv: line 5: expected difficult as 0 or 1, got 'maybe'")


def test_a_decimal_comma_stands_between_semicolons_only(tmp_path):
    root = write(tmp_path, "filename;xmin;ymin;xmax;ymax;class\na.jpg;1,5;2;3,25;4;dog\n")
    assert boxes_of(open_csv(root, "train"), "a") == [("dog", 1.5, 2.0, 3.25, 4.0)]
    write(tmp_path, f'{HEADER}a.jpg,"1,5",2,3,4,dog\n')
    assert kinds_of(open_csv(root, "train")) == {("bad row", "stop"): 1}


def test_another_stated_size_is_an_issue_of_the_image(tmp_path):
    root = write(tmp_path, TENSORFLOW.replace("60,40", "40,60"))
    with pytest.raises(DataError, match=r"expected the image's width 60 and height 40, got 40 and"):
        dataset_of(open_csv(root, "train"), root)


def test_names_without_an_extension_are_looked_for(tmp_path):
    root = write(
        tmp_path, f"{HEADER}a,1,2,3,4,dog\nv1.5,1,2,3,4,dog\n", images=["a.png", "v1.5.jpg"]
    )
    coco = open_csv(root, "train")
    assert [(i.image_id, i.file_name) for i in coco.images] == [
        ("a", "a.png"),
        ("v1.5", "v1.5.jpg"),
    ]


def test_two_images_of_one_stem_have_their_extensions(tmp_path):
    rows = "a.jpg,1,2,3,4,dog\na.png,1,2,3,4,dog\n"
    coco = open_csv(write(tmp_path, rows, images=["a.jpg", "a.png"]), "train")
    assert [i.image_id for i in coco.images] == ["a.jpg", "a.png"]


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ("a.jpg,1,2,wide,4,dog", "expected a number as xmax, got 'wide'; correct the row"),
        ("a.jpg,1,2,,4,dog", "expected a number as xmax, got ''"),
        ("a.jpg,1,2,nan,4,dog", "expected a number as xmax, got 'nan'"),
        ("a.jpg,,,,,dog", "expected a number as xmin, got ''"),
        ("a.jpg,1,2,3,4,", "expected a class, got nothing; name it, or remove the box too"),
        (",1,2,3,4,dog", "expected the file of an image, got nothing; correct the row"),
        ("a.jpg,1,2,3,4", "got 5 columns; correct the row"),
    ],
)
@pytest.mark.parametrize("header", [HEADER, "b.jpg,1,2,3,4,cat\n"])
def test_a_bad_row_is_an_issue_and_no_object(tmp_path, row, what, header):
    root = write(tmp_path, f"{header}a.jpg,5,6,7,8,dog\n\n{row}\n")
    coco = open_csv(root, "train")
    assert boxes_of(coco, "a") == [("dog", 5.0, 6.0, 7.0, 8.0)]
    assert [(i.kind, i.action) for i in coco.issues] == [("bad row", "stop")]
    assert coco.issues[0].message.startswith("train.csv: line 4: expected ")
    assert what in coco.issues[0].what


@pytest.mark.parametrize("file", ["/data/imgs/a.jpg", "../a.jpg", "C:\\imgs\\a.jpg"])
def test_an_image_outside_the_root_is_named_once(tmp_path, file):
    root = write(tmp_path, f"{HEADER}{file},1,2,3,4,dog\n{file},5,6,7,8,dog\nb.jpg,1,2,3,4,dog\n")
    coco = open_csv(root, "train")
    assert [(i.kind, i.location, i.action) for i in coco.issues] == [
        ("bad image", "train.csv: line 2", "stop")
    ]
    assert "write 'a.jpg'" in coco.issues[0].what
    assert [i.file_name for i in coco.images] == ["b.jpg"]


def test_backslashes_and_dots_name_the_same_file(tmp_path):
    rows = "images\\a.jpg,1,2,3,4,dog\nimages/a.jpg,5,6,7,8,dog\n./images/a.jpg,1,1,9,9,dog\n"
    coco = open_csv(write(tmp_path, rows, images=["images/a.jpg"]), "train")
    assert [i.file_name for i in coco.images] == ["images/a.jpg"]
    assert len(coco.objects["images/a"]) == 3


def test_a_quote_that_is_never_closed_swallows_nothing(tmp_path):
    write(tmp_path, f'{HEADER}"a.jpg,1,2,3,4,dog\nb.jpg,1,2,3,4,dog\n')
    with pytest.raises(DataError, match=r"train\.csv: line 3: expected CSV, got an error: "):
        open_csv(tmp_path, "train")


def test_names_may_hold_delimiters_in_quotes(tmp_path):
    root = write(tmp_path, '"a,1.jpg",1,2,3,4,"dog, small"\n', images=["a,1.jpg"])
    assert boxes_of(open_csv(root, "train"), "a,1") == [("dog, small", 1.0, 2.0, 3.0, 4.0)]


@pytest.mark.parametrize("content", ["", HEADER, "\n,,,,,\n"])
def test_a_file_without_rows_stops_a_reader(tmp_path, content):
    assert kinds_of(open_csv(write(tmp_path, content), "train")) == {("empty list", "stop"): 1}


def test_degenerate_boxes_are_left_to_the_rules(tmp_path):
    root = write(tmp_path, f"{RETINANET.replace('images/', '')}b.jpg,9,9,9,9,dog\n")
    coco = open_csv(root, "train")
    assert coco.issues == ()
    with pytest.raises(DataError, match=r"train\.csv: line 5: expected xmin < xmax <= 60"):
        dataset_of(coco, write_tree(root, {}, ["c.jpg"]))
