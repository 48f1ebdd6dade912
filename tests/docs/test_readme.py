"""The README is short, runs, and prints the numbers of the stored results."""

import json
import re

import numpy as np
from PIL import Image

from detection.model_io import save_detector
from detection.tiny import tiny_detector
from tests.docs.pages import DOCS, blocks

ROOT = DOCS.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
STAGES = ROOT / "scripts/benchmarks/results/stages"
MOST_LINES = 120


def rows(section):
    """The cells of the tables in a section, bold type removed."""
    text = README.split(f"## {section}\n")[1].split("\n## ")[0].replace("**", "")
    lines = [line for line in text.splitlines() if line.startswith("|") and "---" not in line]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


def metrics(name):
    return json.loads((DOCS / f"results/{name}.json").read_text())


def test_it_is_short():
    assert len(README.splitlines()) <= MOST_LINES
    assert max(len(line) for line in README.splitlines() if not line.startswith("|")) <= 105


def test_it_has_one_figure_and_two_tables_of_numbers():
    assert len(re.findall(r"!\[", README)) == 1
    assert len(rows("Accuracy")) == 6
    assert len(rows("Speed")) == 5


def test_the_python_example_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs/mine").mkdir(parents=True)
    save_detector(tmp_path / "runs/mine/model.safetensors", tiny_detector())
    pixels = np.random.default_rng(0).integers(0, 255, (90, 120, 3), dtype=np.uint8)
    Image.fromarray(pixels).save("image.jpg")
    (example,) = [block for block in blocks("../README.md") if block.language == "python"]
    assert len([line for line in example.text.splitlines() if line]) <= 5
    exec(compile(example.text, "README.md", "exec"), {})
    assert capsys.readouterr().out.startswith("tensor(")


def test_the_accuracies_are_those_of_the_stored_results():
    names = ["subset_rcnn_300", "subset_sppnet_300", "subset_sppnet", "subset_sppnet_voting"]
    names += ["subset_sppnet_lite0", "subset_sppnet_lite0_multiscale"]
    for name, (_, shown, interval) in zip(names, rows("Accuracy"), strict=True):
        stored = metrics(name)
        low, high = (f"{100 * value:.1f}" for value in stored["interval"])
        assert (shown, interval) == (f"{100 * stored['map']['voc07']:.1f}", f"{low} to {high}")


def test_the_comparison_on_one_trunk_has_the_numbers_of_the_stored_results():
    page = (DOCS / "results.md").read_text(encoding="utf-8").replace("**", "")
    names = {"o": "rcnn_2epochs", "p": "sppnet_5epochs", "q": "sppnet_2epochs"}
    names |= {"r": "faster_rcnn"}
    stored = {run: metrics(f"subset_lite0_{name}") for run, name in names.items()}
    for run, values in stored.items():
        lines = re.findall(rf"^\| {run} \| .*\d to \d.*$", page, re.MULTILINE)
        low, high = (f"{100 * value:.1f}" for value in values["interval"])
        shown = f"| {100 * values['map']['voc07']:.1f} | {low} to {high} |"
        assert lines
        assert all(shown in line for line in lines)
    lead = 100 * (stored["p"]["map"]["voc07"] - stored["o"]["map"]["voc07"])
    assert f"SPPnet leads by {lead:.1f} (0.1 to 10.5)" in README
    assert f"+{lead:.1f} (+0.1 to +10.5)" in page


def test_the_commands_make_the_runs_of_the_table():
    (commands,) = [b.text for b in blocks("../README.md") if "subset_rcnn" in b.text]
    runs = re.findall(r"--out runs/(\w)", commands)
    trained = re.findall(r"detection train .*--out runs/(\w)", commands)
    assert f"for run in {' '.join(trained)}; do" in commands
    assert len(runs) == len(rows("Accuracy"))
    page = (DOCS / "results.md").read_text(encoding="utf-8").replace("**", "")
    for name, (_, shown, interval) in zip(runs, rows("Accuracy"), strict=True):
        (line,) = re.findall(rf"^\| {name} \| .*\d to \d.*$", page, re.MULTILINE)
        assert f"| {shown} | {interval} |" in line


def test_the_times_are_those_of_the_table_of_forms():
    page = (DOCS / "speed.md").read_text(encoding="utf-8")
    table = page.split("<!-- zf5_forms: begin -->")[1].split("<!-- zf5_forms: end -->")[0]
    wanted = [
        ("", "conv"),
        ("exact", "network"),
        ("cascade, fc int8", "network"),
        ("exact", "image"),
        ("cascade, fc int8", "image"),
    ]
    for (form, step), (_, ours, theirs, ratio, bound, *_) in zip(
        wanted, rows("Speed"), strict=True
    ):
        assert f"| {form} | {step} | {ours} | {theirs} | **{ratio}** | {bound} |" in table


def test_the_ratios_of_flops_are_counted():
    stored = json.loads((STAGES / "zf5_1scale_cpu.json").read_text())
    flops = {name: value["conv"] for name, value in stored["flops"].items()}
    boxes, size = stored["median_boxes"], 4096
    fc = {"sppnet": 256 * 50, "rcnn": 256 * 36}
    both = {name: flops[name] + 2 * boxes * size * (fc[name] + size) for name in fc}
    assert float(rows("Speed")[0][4]) == round(flops["rcnn"] / flops["sppnet"])
    page = (DOCS / "speed.md").read_text(encoding="utf-8")
    assert f"this leaves a ratio of {both['rcnn'] / both['sppnet']:.1f}" in page


def test_selective_search_is_the_line_of_the_benchmark():
    stored = json.loads((STAGES.parent / "selective_search.json").read_text())
    (line,) = [
        line
        for line in stored["lines"]
        if line["ours"] == "native fast, 2 threads" and line["against"] == "cv2 fast"
    ]
    ours, theirs = (f"{1000 * line[f'{who}_s']:,.0f}" for who in ("ours", "against"))
    assert f"{ours} ms an image where OpenCV's takes {theirs}" in README
