import json
import re

from tests.report.fake_runs import make_coco, make_run
from tests.report.pages import make_report


def test_report_shows_both_methods_side_by_side(both, runs):
    _, page = both
    for folder, name in zip(runs, ("SPPnet", "R-CNN"), strict=True):
        metrics = json.loads((folder / "metrics.json").read_text())
        assert name in page.words
        assert f"{100 * metrics['map']['voc07']:.1f} mAP, 11 points" in page.words
    assert re.search(r"SPPnet : \d of \d found, \d wrong", page.words)
    assert re.search(r"R-CNN : \d of \d found, \d wrong", page.words)


def test_report_names_rule_split_and_counts(both, runs):
    metrics = json.loads((runs[0] / "metrics.json").read_text())
    _, page = both
    assert (
        f"objects: {metrics['num_images']} images, {metrics['num_objects']} objects" in page.words
    )
    assert metrics["rule"]["voc07"] in page.words
    assert "95% interval over images" in page.words
    assert "is the 95% interval, images resampled for both at once" in page.words


def test_run_of_other_classes_is_left_out_of_the_comparison(runs, tmp_path):
    (tmp_path / "data").mkdir()
    other = make_coco(tmp_path / "data", ("dog", "cat", "bird"))
    make_run(tmp_path / "other", "rcnn", data=other)
    _, page = make_report([runs[0], tmp_path / "other"], tmp_path / "r.html", images_each=0)
    assert "R-CNN: expected the classes of objects, got others" in page.words


def test_run_on_other_images_is_left_out_of_the_comparison(runs, tmp_path):
    (tmp_path / "data").mkdir()
    other = make_coco(tmp_path / "data", ("cat", "dog", "bird"), num_images=12)
    make_run(tmp_path / "other", "rcnn", data=other)
    _, page = make_report([runs[0], tmp_path / "other"], tmp_path / "r.html", images_each=1)
    assert "Left out of the comparison: R-CNN" in page.words
