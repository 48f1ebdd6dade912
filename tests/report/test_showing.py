import json
import sys
import types

import numpy as np
import pytest
import torch
from PIL import Image as PilImage

from detection.errors import ConfigError, DataError
from detection.structures import Detection, Detections
from detection.tiny import tiny_detector

PIXELS = np.full((60, 80, 3), 200, dtype=np.uint8)


def detections_of(**settings):
    values = {
        "image_id": "000012",
        "boxes": torch.tensor([[10.0, 20, 30, 50], [0, 0, 5.5, 7]]),
        "scores": torch.tensor([0.75, 0.5]),
        "labels": torch.tensor([1, 0]),
        "class_names": ("cat", "<dog>"),
    }
    return Detections(**{**values, **settings})


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    PilImage.fromarray(PIXELS).save(path)
    return path


def test_a_plot_is_the_image_with_boxes(photo):
    for image in (PIXELS, str(photo), PilImage.fromarray(PIXELS)):
        picture = detections_of().plot(image)
        assert picture.size == (80, 60)
        assert (np.asarray(picture) != PIXELS).any()
    assert detections_of(source=photo).plot(max_side=40).size == (40, 30)


def test_a_plot_without_an_image_is_refused():
    with pytest.raises(DataError, match=r"000012: expected an image to draw on.*plot\(image\)"):
        detections_of().plot()


def test_what_is_detected_in_a_file_can_be_drawn(photo):
    detector = tiny_detector()
    assert detector.detect(photo).source == photo
    assert detector.detect(str(photo)).above(-9.0).plot().size == (80, 60)
    assert detector.detect(PIXELS).source is None


@pytest.mark.parametrize("name", ["a.png", "b.JPG", "c.jpeg"])
def test_saving_a_drawing(name, tmp_path):
    detections_of().save(tmp_path / name, PIXELS)
    with PilImage.open(tmp_path / name) as picture:
        assert picture.size == (80, 60)


def test_saving_tables(tmp_path):
    detections_of().save(tmp_path / "a.json")
    first = {"class": "<dog>", "score": 0.75, "x1": 10.0, "y1": 20.0, "x2": 30.0, "y2": 50.0}
    assert json.loads((tmp_path / "a.json").read_text())[0] == first
    detections_of().save(str(tmp_path / "a.csv"))
    assert (tmp_path / "a.csv").read_text() == (
        "class,score,x1,y1,x2,y2\n<dog>,0.75,10.0,20.0,30.0,50.0\ncat,0.5,0.0,0.0,5.5,7.0\n"
    )


def test_other_endings_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"a.txt: expected a name that ends in .png, .*got .txt"):
        detections_of().save(tmp_path / "a.txt", PIXELS)


def test_a_notebook_shows_a_table_under_the_drawing(photo):
    text = detections_of(source=photo)._repr_html_()
    assert "000012: 2 detections: &lt;dog&gt; 1, cat 1" in text
    assert "<td>&lt;dog&gt;</td><td>0.750</td><td>10, 20, 30, 50</td>" in text
    assert 'src="data:image/jpeg;base64,' in text
    assert detections_of(source=photo)._repr_png_().startswith(b"\x89PNG")


def test_a_notebook_without_the_file_shows_the_table_alone(photo):
    for detections in (detections_of(), detections_of(source=photo.with_name("gone.png"))):
        assert "<img" not in detections._repr_html_()
        assert detections._repr_png_() is None
    assert "<table" not in Detections.none("a")._repr_html_()
    many = detections_of()[[0] * 25]
    assert many._repr_html_().count("<tr><td>") == 20
    assert "and 5 more" in many._repr_html_()


@pytest.mark.parametrize("library", ["pandas", "supervision"])
def test_a_library_that_is_not_installed_is_named(library, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ConfigError, match=f"^{library}: .*pip install {library}$"):
        getattr(detections_of(), f"to_{library}")()


def test_tables_of_other_libraries_get_the_rows(monkeypatch):
    def frame(rows, columns):
        return columns, [list(row.values()) for row in rows]

    monkeypatch.setitem(sys.modules, "pandas", types.SimpleNamespace(DataFrame=frame))
    columns, rows = detections_of().to_pandas()
    assert columns == ["class", "score", "x1", "y1", "x2", "y2"]
    assert rows == [["<dog>", 0.75, 10, 20, 30, 50], ["cat", 0.5, 0, 0, 5.5, 7]]
    monkeypatch.setitem(sys.modules, "supervision", types.SimpleNamespace(Detections=dict))
    assert detections_of().to_supervision()["class_id"].tolist() == [1, 0]


def test_one_detection_says_all_of_it():
    assert detections_of()[0] == Detection(
        box=(10.0, 20.0, 30.0, 50.0), score=0.75, label=1, class_name="<dog>"
    )
