import json
import shutil

import pytest

from detection.cli import main
from tests.docs.blood import CLASSES, draw_blood
from tests.docs.pages import blocks, commands


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Data as the page describes it, in a folder of its own."""
    draw_blood(tmp_path / "data/blood")
    (tmp_path / "images").mkdir()
    for number in (18, 19):
        name = f"BloodImage_{number:05d}.jpg"
        shutil.copy(tmp_path / "data/blood/JPEGImages" / name, tmp_path / "images")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_the_page_does_what_it_says(folder, capsys):
    outputs, verbs = [], []
    for block in blocks("own_data.md"):
        if block.language == "yaml":
            (folder / block.title).write_text(block.text)
        elif block.language == "bash":
            for arguments, code in commands(block):
                assert main(arguments) == code, arguments
                outputs.append(capsys.readouterr().out)
                verbs.append(arguments[0])
        elif block.language == "text" and outputs:
            for line in block.text.splitlines():
                assert line in outputs[-1].splitlines()
        elif block.language == "python":
            exec(compile(block.text, "own_data.md", "exec"), {})
    assert capsys.readouterr().out.count("BloodImage_") >= 2
    assert {"check", "propose", "train", "evaluate", "detect", "report"} <= set(verbs)
    metrics = json.loads((folder / "runs/blood/metrics.json").read_text())
    assert metrics["class_names"] == sorted(CLASSES)
    assert metrics["num_objects"] == 34
    assert metrics["map"]["voc07"] > 0.5
    assert len(list((folder / "runs/blood/pictures").glob("*.png"))) == 1
    actual = json.loads((folder / "runs/found/detections.json").read_text())
    assert len(actual) == 2
    rows = json.loads((folder / "runs/found/coco.json").read_text())
    assert len(rows) == sum(len(entry["detections"]) for entry in actual.values())


def test_the_files_of_both_formats_hold_the_same(folder, capsys):
    for block in blocks("own_data.md"):
        if block.language == "yaml":
            (folder / block.title).write_text(block.text)
    tables = []
    for files in (["blood.yaml"], ["blood.yaml", "blood_coco.yaml"]):
        assert main(["check", *(word for name in files for word in ("--config", name))]) == 1
        tables.append(capsys.readouterr().out)
    for text in tables:
        assert text.count("16 images, 87 objects, 3 classes") == 1
        assert text.count("6 images, 34 objects, 3 classes") == 1
        assert "degenerate box: 2" in text
        assert "2 problems" in text
