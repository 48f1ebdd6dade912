import io

import numpy as np
import pytest
import torch
from PIL import Image as PilImage

from detection.report.drawing import (
    Mark,
    data_uri,
    draw_detections,
    draw_marks,
    draw_truth,
    embed,
)
from detection.report.palette import TRUTH, class_colour
from detection.structures import Image
from tests.evaluation.cases import detections_of, truth

GREY = 128


def photograph(height=100, width=200):
    return Image(image_id="a", pixels=torch.full((height, width, 3), GREY, dtype=torch.uint8))


def colours_in(picture, box=None):
    pixels = np.asarray(picture.crop(box) if box else picture).reshape(-1, 3)
    return {"#{:02x}{:02x}{:02x}".format(*pixel) for pixel in pixels.tolist()}


def test_picture_has_the_photographs_size_and_the_boxs_colour_on_its_edges():
    picture = draw_marks(photograph(), [Mark(box=(40, 30, 160, 90), colour="#e69f00")])
    assert picture.size == (200, 100)
    for x, y in [(40, 60), (160, 60), (100, 30), (100, 90)]:
        assert picture.getpixel((x, y)) == (0xE6, 0x9F, 0x00)
    assert picture.getpixel((100, 60)) == (GREY, GREY, GREY)


@pytest.mark.parametrize("line", ["dashed", "dotted"])
def test_broken_line_leaves_gaps(line):
    mark = Mark(box=(20, 20, 180, 80), colour="#e69f00", line=line)
    edge = colours_in(draw_marks(photograph(), [mark]), (21, 20, 180, 21))
    assert {"#e69f00", "#808080"} <= edge


def test_detections_below_the_threshold_are_not_drawn():
    boxes = [[20, 20, 60, 60], [100, 20, 150, 60]]
    detections = detections_of("a", boxes, [0.9, 0.1], [0, 1])
    picture = draw_detections(photograph(), detections, ["cat", "dog"], threshold=0.5)
    assert class_colour(0) in colours_in(picture)
    assert class_colour(1) not in colours_in(picture)


def test_photograph_without_detections_is_unchanged():
    picture = draw_detections(photograph(), detections_of("a", [], [], []), [])
    assert colours_in(picture) == {"#808080"}


def test_every_object_is_labelled_in_its_class_colour():
    objects = truth("a", [[20, 30, 60, 60], [100, 30, 150, 60]], [0, 4], [False, True])
    picture = draw_truth(photograph(), objects, ["a", "b", "c", "d", "e"])
    assert {class_colour(0), class_colour(4)} <= colours_in(picture)


def test_objects_of_all_classes_can_share_one_colour():
    objects = truth("a", [[20, 30, 60, 60], [100, 30, 150, 60]], [0, 4])
    picture = draw_truth(photograph(), objects, ["a", "b", "c", "d", "e"], colour=TRUTH)
    assert TRUTH in colours_in(picture)
    assert not {class_colour(0), class_colour(4)} & colours_in(picture)


def test_dots_are_shorter_than_dashes():
    def run_lengths(line):
        mark = Mark(box=(20, 20, 180, 80), colour="#e69f00", line=line)
        row = np.asarray(draw_marks(photograph(), [mark]))[20, 30:170, 2] == 0
        return np.diff(np.flatnonzero(np.diff(row.astype(int)))).max()

    assert run_lengths("dotted") < run_lengths("dashed")


def test_embedded_picture_knows_its_size():
    image = embed(draw_marks(photograph(), []), "PNG")
    assert (image.width, image.height) == (200, 100)
    assert image.src.startswith("data:image/png;base64,")


def test_larger_photograph_is_shrunk_with_its_boxes():
    mark = Mark(box=(40, 40, 360, 160), colour="#e69f00")
    picture = draw_marks(photograph(200, 400), [mark], max_side=200)
    assert picture.size == (200, 100)
    assert picture.getpixel((20, 50)) == (0xE6, 0x9F, 0x00)


@pytest.mark.parametrize(
    "box",
    [(-50, -50, 500, 500), (300, 300, 400, 400), (50, 50, 50, 50), (90, 90, 10, 10)],
)
def test_boxes_beyond_the_image_or_without_area_can_be_drawn(box):
    marks = [Mark(box=box, text="cat 0.5"), Mark(box=box, text="dog", line="dashed")]
    assert draw_marks(photograph(), marks).size == (200, 100)


@pytest.mark.parametrize("text", ["<script>", "a\nb", "猫", "x" * 300, "$x^$", "\u0000"])
def test_any_label_can_be_drawn(text):
    assert draw_marks(photograph(), [Mark(box=(10, 10, 90, 90), text=text)]).size == (200, 100)


def test_labels_of_boxes_at_one_place_do_not_cover_each_other():
    marks = [Mark(box=(40, 40, 160, 95), text="cat", colour=c) for c in ("#e69f00", "#009e73")]
    picture = np.asarray(draw_marks(photograph(), marks)).astype(int)
    areas = [(abs(picture - rgb).sum(axis=2) == 0).sum() for rgb in ([230, 159, 0], [0, 158, 115])]
    assert min(areas) > 100


def test_one_pixel_image_can_be_drawn():
    assert draw_marks(photograph(1, 1), [Mark(box=(0, 0, 1, 1), text="cat")]).size == (1, 1)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_data_uri_holds_the_picture(kind):
    import base64

    head, content = data_uri(draw_marks(photograph(), []), kind).split(",")
    assert head == f"data:image/{kind.lower()};base64"
    assert PilImage.open(io.BytesIO(base64.b64decode(content))).size == (200, 100)
