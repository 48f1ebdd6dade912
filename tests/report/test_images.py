import json
import shutil

from detection.config import FeatureConfig
from detection.report.images import has_windows
from tests.report.fake_runs import make_coco, make_run
from tests.report.pages import make_report


def test_boxes_that_are_sampled_have_no_windows_to_show():
    kinds = [("sppnet", "max"), ("sppnet", "align"), ("rcnn", "max")]
    shown = [has_windows(FeatureConfig(method=method, pooling=how)) for method, how in kinds]
    assert shown == [True, False, False]


def test_network_that_cannot_be_read_leaves_out_its_picture(data, tmp_path):
    folder = tmp_path / "run"
    make_run(folder, "sppnet", data=data)
    (folder / "model.safetensors").write_bytes(b"broken")
    _, page = make_report([folder], tmp_path / "r.html", images_each=0)
    assert "How SPPnet sees a box is left out: the network cannot be read" in page.words


def test_photograph_that_cannot_be_read_is_left_out(tmp_path):
    (tmp_path / "data").mkdir()
    data = make_coco(tmp_path / "data", ("cat", "dog", "bird"), num_images=3)
    make_run(tmp_path / "run", "rcnn", data=data)
    for path in (tmp_path / "data").glob("*.png"):
        path.write_bytes(path.read_bytes()[:-40])
    _, page = make_report([tmp_path / "run"], tmp_path / "r.html")
    assert "mAP, 11 points" in page.words
    assert "img" not in page.tags


def test_missing_images_leave_the_scores(data, tmp_path, runs):
    shutil.copytree(runs[0], tmp_path / "run")
    values = json.loads((tmp_path / "run" / "metrics.json").read_text())
    values["config"]["data"]["root"] = str(tmp_path / "gone")
    values["config"]["data"]["test_split"] = str(tmp_path / "gone" / "objects.json")
    (tmp_path / "run" / "metrics.json").write_text(json.dumps(values))
    _, page = make_report([tmp_path / "run"], tmp_path / "r.html")
    assert "mAP, 11 points" in page.words
    assert "On the images is left out" in page.words
    assert "gone" in page.words
