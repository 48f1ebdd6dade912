"""The page of a trained detector's units, from the command line on."""

from dataclasses import replace

import pytest

from detection.cli.main import main
from detection.config import DataConfig
from detection.data.scenes import SCENE_CLASSES
from detection.data.synthetic import synthesize
from detection.inference.explore import show_units
from detection.model_io import save_detector
from detection.runs.config_io import write_config
from detection.runs.folder import read_run_config
from detection.tiny import tiny_detector
from tests.report.pages import Page, assert_stands_alone


def run_folder(folder, method):
    synthesize(folder / "data", train_images=3, test_images=2)
    detector = tiny_detector(sorted(SCENE_CLASSES), method=method)
    config = replace(
        detector.config,
        data=DataConfig(root=str(folder / "data"), class_names=detector.class_names),
        proposals=replace(
            detector.config.proposals, folder=str(folder / "store"), workers=1, max_boxes=0
        ),
    )
    (folder / "run").mkdir()
    save_detector(folder / "run/model.safetensors", detector.with_config(config))
    (folder / "run/config.yaml").write_text(write_config(config))
    return folder / "run"


@pytest.mark.parametrize("method", ["sppnet", "rcnn"])
def test_a_page_is_written_for_either_method(method, tmp_path):
    run, out = run_folder(tmp_path, method), tmp_path / "page.html"
    assert main(["explore", "pool5", str(run), "--channels", "3", "40", "--out", str(out)]) == 0
    content = out.read_text(encoding="utf-8")
    page = Page(content)
    assert_stands_alone(content, page)
    assert "Channel 3" in page.words
    assert "Channel 40" in page.words
    assert "What fires pool5 of squeezenet" in page.words
    bins = "row 0, column 0 of 1 x 1" if method == "sppnet" else "row 2, column 2 of 6 x 6"
    facts = f"{method}, data test: 2 images and all their proposals; the bin in {bins}."
    assert facts in page.words


def test_the_images_are_those_of_the_list_that_is_named(tmp_path):
    run = run_folder(tmp_path, "sppnet")
    config = read_run_config(run)
    for split, count in (("train", 3), ("test", 2)):
        show_units(run, config, tmp_path / "page.html", split=split, channels=(3,))
        words = Page((tmp_path / "page.html").read_text(encoding="utf-8")).words
        assert f": {count} images and all their proposals" in words
    few = replace(config, proposals=replace(config.proposals, max_boxes=7))
    show_units(run, few, tmp_path / "page.html", split="test", channels=(3,))
    words = Page((tmp_path / "page.html").read_text(encoding="utf-8")).words
    assert ": 2 images and their first 7 proposals" in words
