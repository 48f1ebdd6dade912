import json
import re
import shutil

import pytest

from detection.report.loading import load_run, load_runs
from tests.report.fake_runs import make_run


def test_two_runs_of_one_method_keep_apart_by_their_folders(runs, data, tmp_path):
    make_run(tmp_path / "other", "sppnet", data=data, seed=9)
    names = [run.name for run in load_runs([runs[0], tmp_path / "other"])]
    assert names == ["SPPnet (spp)", "SPPnet (other)"]


@pytest.mark.parametrize("part", ["metrics.json", "benchmark.json", "detections/coco.json"])
@pytest.mark.parametrize("content", ["", "{", "null", '{"map": 3}', '{"methods": 1}'])
def test_damaged_part_is_named_and_leaves_the_rest(runs, tmp_path, part, content):
    shutil.copytree(runs[0], tmp_path / "run")
    (tmp_path / "run" / part).write_text(content)
    run = load_run(tmp_path / "run")
    assert any(part in problem for problem in run.problems)
    parts = {"metrics.json": run.metrics, "benchmark.json": run.benchmark}
    parts["detections/coco.json"] = run.detections
    assert [name for name, value in parts.items() if value is None] == [part]


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("metrics.json", "map", 3),
        ("metrics.json", "map", {"voc07": "high"}),
        ("metrics.json", "interval", "wide"),
        ("metrics.json", "per_class", {}),
        ("metrics.json", "per_class", {"cat": 1, "dog": 2, "bird": 3}),
        ("benchmark.json", "methods", {"sppnet": 1}),
        ("benchmark.json", "methods", {"sppnet": {"stages": {"conv": 0.1}}}),
        ("benchmark.json", "ratios", []),
    ],
)
def test_part_of_another_form_is_named(runs, tmp_path, part, key, value):
    shutil.copytree(runs[0], tmp_path / "run")
    path = tmp_path / "run" / part
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    (problem,) = load_run(tmp_path / "run").problems
    assert re.search(rf"{part}: .*expected", problem)
