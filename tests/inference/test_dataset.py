from dataclasses import replace

from detection.cli import main
from detection.config import DataConfig
from detection.data.scenes import SCENE_CLASSES
from detection.data.synthetic import synthesize
from detection.model_io import save_detector
from detection.runs.config_io import write_config
from detection.tiny import tiny_detector


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
    assert main(["evaluate", *runs, "--out", both]) == 0
    assert main(["evaluate", runs[1]]) == 0
    assert main(["report", both, runs[1], "--out", str(tmp_path / "report.html")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("sppnet + rcnn on test: 2 images") for line in lines)
    table = lines[[line.startswith("mean AP, %") for line in lines].index(True) :]
    start = table[0].index("method")
    assert [table[row][start:].split("  ")[0] for row in (1, 2)] == ["sppnet + rcnn", "rcnn"]
    assert "2 images" in table[1]
