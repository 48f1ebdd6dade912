import importlib.util
import json
from dataclasses import replace
from pathlib import Path

from detection.cli import main
from detection.config import DataConfig
from detection.data.scenes import SCENE_CLASSES
from detection.data.synthetic import synthesize
from detection.inference.dataset import tracked_numbers
from detection.model_io import save_detector
from detection.runs.config_io import write_config
from detection.tiny import tiny_detector

WITH_TRACKERS = all(map(importlib.util.find_spec, ("accelerate", "tensorboard")))
TRACKED = ("--tracker", "tensorboard") if WITH_TRACKERS else ()


def test_the_scores_of_several_runs_together_name_all_their_methods(tmp_path, capsys):
    synthesize(tmp_path / "data", train_images=4, test_images=2)
    store = str(tmp_path / "store")
    for method in ("sppnet", "rcnn"):
        detector = tiny_detector(sorted(SCENE_CLASSES), method=method)
        config = replace(
            detector.config,
            data=DataConfig(root=str(tmp_path / "data"), class_names=detector.class_names),
            proposals=replace(detector.config.proposals, folder=store, workers=1),
        )
        (tmp_path / method).mkdir()
        save_detector(tmp_path / method / "model.safetensors", detector.with_config(config))
        (tmp_path / method / "config.yaml").write_text(write_config(config))
    runs = [str(tmp_path / method) for method in ("sppnet", "rcnn")]
    both = str(tmp_path / "both")
    unknown = ("--evaluation.similar_classes", "[[wombat, cow]]")
    assert main(["evaluate", *runs, "--out", both, *unknown]) == 2
    assert "expected classes of the data, got 'wombat'" in capsys.readouterr().err
    assert not Path(store).exists()  # said before the images are read
    assert main(["evaluate", *runs, "--out", both]) == 0
    diagnosis = json.loads((tmp_path / "both" / "metrics.json").read_text())["diagnosis"]
    assert set(diagnosis["top_detections"]) == set(SCENE_CLASSES)
    assert main(["evaluate", runs[1], *TRACKED]) == 0
    assert main(["report", both, runs[1], "--out", str(tmp_path / "report.html")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("sppnet + rcnn on test: 2 images") for line in lines)
    table = lines[[line.startswith("mean AP, %") for line in lines].index(True) :]
    start = table[0].index("method")
    assert [table[row][start:].split("  ")[0] for row in (1, 2)] == ["sppnet + rcnn", "rcnn"]
    assert "2 images" in table[1]
    assert bool(TRACKED) == any((tmp_path / "rcnn/trackers/detection").glob("events.out.*"))


def test_trackers_get_what_plots_and_nothing_that_is_unknown():
    values = {
        "interval": None,
        "map": {"voc07": 0.5, "coco": None},
        "per_class": {"cup": {"voc07": 0.25}, "spoon": {"voc07": None}},
        "calibration": {"ece": 0.01},
    }
    numbers = {"map_voc07": 0.5, "ap_cup": 0.25, "calibration_error": 0.01}
    assert tracked_numbers(values) == numbers
    assert tracked_numbers({**values, "interval": [0.4, 0.6]}) == {
        **numbers,
        "map_voc07_low": 0.4,
        "map_voc07_high": 0.6,
    }
