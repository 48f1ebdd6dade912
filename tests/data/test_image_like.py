import numpy as np
import PIL.Image
import pytest
import torch

from detection.data.image_like import to_image
from detection.data.images import read_image
from detection.errors import DataError
from detection.structures import Image
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
