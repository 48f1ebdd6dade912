import json

import numpy as np
import PIL.Image
import pytest
import torch
from pycocotools.coco import COCO

from detection.cli import main
from detection.data.image_like import to_image
from detection.data.images import read_image
from detection.errors import DataError
from detection.evaluation.results import read_coco_json
from detection.model_io import save_detector
from detection.structures import Detections, Image
from detection.tiny import tiny_detector


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


@pytest.fixture
def scene():
    pixels = np.full((120, 160, 3), 200, dtype=np.uint8)
    pixels[30:90, 40:110] = (30, 60, 200)
    pixels[60:100, 90:150] = (220, 40, 30)
    return pixels


@pytest.fixture(scope="module")
def detector():
    return tiny_detector()


def detections_of(count=2, **settings):
    boxes = torch.tensor([[10.0, 20, 30, 60], [0, 0, 5.5, 7]])[:count]
    values = {
        "image_id": "000012",
        "boxes": boxes,
        "scores": torch.tensor([0.75, -1.25])[:count],
        "labels": torch.tensor([1, 0])[:count],
        "class_names": ("cat", "dog"),
    }
    return Detections(**{**values, **settings})


def test_an_array_is_taken_as_it_is(pixels):
    image = to_image(pixels)
    assert np.array_equal(image.pixels.numpy(), pixels)
    assert (image.image_id, image.size) == ("image", (40, 60))
    image.pixels[:] = 0
    assert pixels.any()


def test_an_image_stays_the_same_object(pixels):
    image = Image(image_id="a", pixels=torch.from_numpy(pixels))
    assert to_image(image) is image


def test_a_turned_round_view_is_read_in_its_own_order(pixels):
    assert np.array_equal(to_image(pixels[..., ::-1]).pixels.numpy(), pixels[..., ::-1])
    assert np.array_equal(to_image(pixels[::-1, ::2]).pixels.numpy(), pixels[::-1, ::2])


@pytest.mark.parametrize("shape", [(40, 60), (40, 60, 1)])
def test_grey_becomes_three_equal_channels(pixels, shape):
    grey = pixels[..., 0].reshape(shape)
    expected = np.repeat(pixels[..., :1], 3, axis=2)
    assert np.array_equal(to_image(grey).pixels.numpy(), expected)


@pytest.mark.parametrize("channels", [2, 4])
def test_transparent_pixels_are_white(channels):
    values = np.zeros((3, 4, channels), dtype=np.uint8)
    values[0, 0, -1] = 255
    read = to_image(values).pixels
    assert read[0, 0].tolist() == [0, 0, 0]
    assert read[2, 3].tolist() == [255, 255, 255]


@pytest.mark.parametrize(
    ("value", "got"),
    [
        (np.zeros((4, 4, 3)), "float64"),
        (np.zeros((4, 4, 3), np.uint16), "uint16"),
        (np.zeros((4, 4), bool), "bool"),
        (np.zeros(4, np.uint8), r"\(4,\)"),
        (np.zeros((4, 4, 5), np.uint8), r"\(4, 4, 5\)"),
        (np.zeros((3, 4, 0), np.uint8), r"\(3, 4, 0\)"),
        (np.zeros((0, 4, 3), np.uint8), r"\(0, 4, 3\)"),
        (np.zeros((1, 3, 4, 4), np.uint8), r"\(1, 3, 4, 4\)"),
    ],
)
def test_other_arrays_are_refused(value, got):
    with pytest.raises(DataError, match=f"image: expected an array.*, got {got}"):
        to_image(value)


def test_what_is_no_image_is_refused_by_its_type():
    with pytest.raises(DataError, match="expected an array, a Pillow image or a path, got "):
        to_image.__wrapped__([1, 2])


def test_too_many_pixels_are_refused(pixels):
    with pytest.raises(DataError, match="expected at most 2,399 pixels, got 60 x 40"):
        to_image(pixels, max_pixels=2399)
    assert to_image(pixels, max_pixels=2400).size == (40, 60)


def test_a_path_and_its_open_picture_are_the_same_image(tmp_path, pixels):
    path = tmp_path / "photograph.jpg"
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    PIL.Image.fromarray(pixels).save(path, exif=exif)
    expected = read_image(path)
    assert expected.size == (60, 40)
    with PIL.Image.open(path) as picture:
        images = [to_image(str(path)), to_image(path), to_image(picture)]
    for image in images:
        assert image.image_id == "photograph"
        assert torch.equal(image.pixels, expected.pixels)


def test_a_truncated_picture_is_refused(tmp_path, pixels):
    path = tmp_path / "cut.png"
    PIL.Image.fromarray(pixels).save(path)
    path.write_bytes(path.read_bytes()[:-2000])
    with PIL.Image.open(path) as picture, pytest.raises(DataError, match="cut: expected a whole"):
        to_image(picture)


def test_a_palette_picture_without_a_file(pixels):
    picture = PIL.Image.fromarray(pixels).convert("P")
    image = to_image(picture)
    assert image.image_id == "image"
    assert np.array_equal(image.pixels.numpy(), np.array(picture.convert("RGB")))


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"gone.jpg: expected a readable file"):
        to_image(tmp_path / "gone.jpg")


def test_arrays_have_the_names_and_types_of_supervision():
    arrays = detections_of().to_arrays()
    assert set(arrays) == {"xyxy", "confidence", "class_id", "data"}
    assert (arrays["xyxy"].dtype, arrays["xyxy"].shape) == (np.float32, (2, 4))
    assert arrays["xyxy"].tolist() == [[10, 20, 30, 60], [0, 0, 5.5, 7]]
    assert (arrays["confidence"].dtype, arrays["confidence"].tolist()) == (
        np.float32,
        [0.75, -1.25],
    )
    assert (arrays["class_id"].dtype, arrays["class_id"].tolist()) == (np.int64, [1, 0])
    assert arrays["data"]["class_name"].tolist() == ["dog", "cat"]


def test_arrays_without_names_hold_labels_as_text():
    assert detections_of(class_names=()).to_arrays()["data"]["class_name"].tolist() == ["1", "0"]


def test_arrays_of_nothing_keep_their_shapes():
    arrays = Detections.none("a").to_arrays()
    assert arrays["xyxy"].shape == (0, 4)
    assert arrays["confidence"].shape == arrays["class_id"].shape == (0,)
    assert arrays["data"]["class_name"].shape == (0,)
    assert Detections.none("a").to_coco() == []


def test_arrays_do_not_share_memory_with_the_detections():
    original = detections_of()
    original.to_arrays()["xyxy"][:] = 0
    assert original.boxes[0].tolist() == [10, 20, 30, 60]


def test_coco_rows_are_x_y_width_height():
    assert detections_of().to_coco(image_id=7, category_ids=[3, 18]) == [
        {"image_id": 7, "category_id": 18, "bbox": [10, 20, 30 - 10, 60 - 20], "score": 0.75},
        {"image_id": 7, "category_id": 3, "bbox": [0, 0, 5.5, 7], "score": -1.25},
    ]


@pytest.mark.parametrize(("name", "expected"), [("12", 12), ("000012", "000012"), ("a", "a")])
def test_an_image_id_is_a_number_where_it_is_written_as_one(name, expected):
    assert {row["image_id"] for row in detections_of(image_id=name).to_coco()} == {expected}


def test_pycocotools_reads_the_rows(capsys):
    truth = COCO()
    truth.dataset = {
        "images": [{"id": 7, "width": 100, "height": 100}],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        "annotations": [],
    }
    truth.createIndex()
    results = truth.loadRes(detections_of().to_coco(image_id=7))
    assert [a["area"] for a in results.loadAnns(results.getAnnIds(imgIds=[7]))] == [800, 38.5]


def test_above_keeps_scores_that_are_equal():
    assert detections_of().above(0.75).scores.tolist() == [0.75]
    assert detections_of().above(0.75).class_names == ("cat", "dog")
    assert len(detections_of().above(0.76).boxes) == 0


@pytest.mark.parametrize("method", ["sppnet", "rcnn"])
def test_every_kind_of_image_gives_the_same_detections(tmp_path, scene, method):
    detector = tiny_detector(method=method)
    path = tmp_path / "scene.png"
    PIL.Image.fromarray(scene).save(path)
    with PIL.Image.open(path) as picture:
        kinds = [scene, path, str(path), picture, read_image(path)]
        results = list(detector.detect_each(kinds))
    assert len(results[0].scores) > 0
    for result in results:
        assert torch.equal(result.boxes, results[0].boxes)
        assert torch.equal(result.scores, results[0].scores)
        assert result.class_names == ("cat", "dog")
    assert [result.image_id for result in results] == ["image", *["scene"] * 4]


def test_images_are_read_one_at_a_time(detector, scene):
    taken = []

    def images():
        for number in range(3):
            taken.append(number)
            yield scene

    results = detector.detect_each(images())
    next(results)
    assert taken == [0]


def test_a_refused_image_names_what_is_wrong(detector):
    with pytest.raises(DataError, match="expected an array of uint8, got float32"):
        detector.detect(np.zeros((4, 4, 3), np.float32))


def test_the_command_writes_coco_results_above_the_threshold(tmp_path, detector, scene, capsys):
    run = tmp_path / "run"
    save_detector(run / "model.safetensors", detector)
    (run / "config.yaml").write_text("{}\n")
    path = tmp_path / "139.png"
    PIL.Image.fromarray(scene).save(path)
    out = tmp_path / "out"
    options = ["--out", str(out), "--coco", str(tmp_path / "coco.json"), "--device", "cpu"]
    options += ["--proposals.workers", "1", "--proposals.max_boxes", "20", "--no_drawings"]
    assert main(["detect", str(run), str(path), *options, "--threshold", "-1"]) == 0
    shown = json.loads((out / "detections.json").read_text())[str(path)]["detections"]
    assert shown
    results = read_coco_json(tmp_path / "coco.json")["139"]
    assert [row["score"] for row in shown] == pytest.approx(results.scores.tolist())
    assert [("cat", "dog").index(row["class"]) for row in shown] == results.labels.tolist()
    assert json.loads((tmp_path / "coco.json").read_text())[0]["image_id"] == 139
