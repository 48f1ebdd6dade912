"""The image reader against its neighbours, and against anything at all."""

import io

import cv2
import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection.data.images import FORMATS, decode_image, read_image, read_size
from detection.errors import DataError
from tests.data.folders import picture
from tests.data.real import REAL_SUBSET, needs_real_subset

SEEDS = []
for kind in ("JPEG", "PNG", "BMP", "WEBP", "GIF", "TIFF", "PPM"):
    for mode in ("RGB", "L", "P", "RGBA"):
        buffer = io.BytesIO()
        try:
            picture(17, 11).convert(mode).save(buffer, kind)
        except OSError:
            continue
        SEEDS.append(buffer.getvalue())


@pytest.mark.data
@needs_real_subset
def test_real_photographs_decode_as_opencv_decodes_them():
    for path in sorted((REAL_SUBSET / "VOC2012" / "JPEGImages").iterdir())[:25]:
        image = read_image(path)
        assert image.image_id == path.stem
        assert read_size(path) == image.size
        expected = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
        assert (image.pixels.numpy() == expected[:, :, ::-1]).all()


def test_the_pixels_can_be_written_to_and_belong_to_nobody_else():
    image = decode_image(SEEDS[0], "it")
    image.pixels[:] = 0
    assert image.pixels.is_contiguous()
    assert decode_image(SEEDS[0], "it").pixels.sum() > 0


def test_an_identifier_may_be_given(tmp_path):
    path = tmp_path / "a.png"
    picture().save(path)
    assert read_image(path).image_id == "a"
    assert read_image(path, "other").image_id == "other"


def test_every_format_has_its_plugin():
    PIL.Image.init()
    assert set(FORMATS) <= set(PIL.Image.OPEN)


def decodes_or_is_refused(data):
    try:
        pixels = decode_image(data, "it", max_pixels=10_000).pixels
    except DataError as error:
        message = str(error)
    else:
        message = "it: decoded"
        assert pixels.ndim == 3
        assert pixels.shape[2] == 3
    assert message.startswith("it: ")


@given(st.binary(max_size=400))
def test_any_bytes_decode_or_are_refused(data):
    decodes_or_is_refused(data)


@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=8),
    st.integers(0, 2000),
)
def test_any_damage_to_an_image_decodes_or_is_refused(seed, changes, cut):
    data = bytearray(seed)
    for location, value in changes:
        data[location % len(data)] = value
    decodes_or_is_refused(bytes(data[: max(len(data) - cut, 1)]))


@given(st.sampled_from(SEEDS), st.integers(0, 300), st.integers(0, 255))
def test_the_header_alone_gives_the_size_or_is_refused(tmp_path_factory, seed, location, value):
    data = bytearray(seed)
    data[location % len(data)] = value
    path = tmp_path_factory.mktemp("image") / "it"
    path.write_bytes(data)
    try:
        size = read_size(path)
    except DataError as error:
        message = str(error)
    else:
        message = str(path)
        assert min(size) > 0
    assert message.startswith(str(path))
