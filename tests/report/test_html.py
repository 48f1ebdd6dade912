import re
import shutil

import pytest

from detection.errors import DataError
from detection.report.html import report_run
from tests.report.fake_runs import make_benchmark
from tests.report.pages import assert_stands_alone, make_report


def test_report_has_every_section_that_these_runs_allow(both):
    _, page = both
    sections = (
        "scores classes images curves errors false sizes sensitivity confusion speed spp making"
    )
    assert set(sections.split()) <= set(page.ids)
    words = page.words
    for absent in ("What the proposals cover", "What a probability is worth"):
        words = words.replace(f"{absent} is left out", "")
    assert "is left out" not in words


def test_ids_are_unique_outside_charts(both):
    content, _ = both
    plain = re.sub(r"<svg.*?</svg>", "", content, flags=re.DOTALL)
    ids = re.findall(r'\sid="([^"]+)"', plain)
    assert len(ids) == len(set(ids))


def test_report_of_one_run_shows_annotations_beside_it(runs, tmp_path):
    _, page = make_report(runs[1:], tmp_path / "r.html", images_each=1)
    assert "annotated" in page.words
    assert "no speed was measured" in page.words
    assert "How SPPnet sees a box is left out: no run of SPPnet is among these" in page.words


@pytest.mark.parametrize(
    ("part", "section", "command"),
    [
        ("metrics.json", "Scores is left out: no run was evaluated", "detection evaluate RUN"),
        ("detections", "Precision against recall is left out", "detection evaluate adds it"),
        ("benchmark.json", "Speed is left out", "detection benchmark adds it"),
    ],
)
def test_missing_part_leaves_out_its_section(runs, tmp_path, part, section, command):
    shutil.copytree(runs[0], tmp_path / "run")
    path = tmp_path / "run" / part
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    content, page = make_report([tmp_path / "run"], tmp_path / "r.html", images_each=1)
    assert section in page.words
    assert command in page.words
    assert_stands_alone(content, page)


def test_report_on_damaged_parts_names_them(runs, tmp_path):
    shutil.copytree(runs[0], tmp_path / "run")
    (tmp_path / "run" / "metrics.json").write_text("{")
    _, page = make_report([tmp_path / "run"], tmp_path / "r.html", images_each=0)
    assert "metrics.json: cannot be read" in page.words


def test_benchmark_folder_may_stand_beside_the_runs(runs, tmp_path):
    make_benchmark(tmp_path / "bench")
    _, page = make_report([runs[1], tmp_path / "bench"], tmp_path / "r.html", images_each=0)
    assert "Speed is left out" not in page.words
    _, alone = make_report([tmp_path / "bench"], tmp_path / "s.html")
    assert "27,100" in alone.words


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_folder_with_nothing_to_report_is_refused_by_name(tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=rf"{name}: expected config\.yaml, metrics\.json or"):
        report_run([tmp_path / name], tmp_path / "r.html")


def test_no_run_is_refused(tmp_path):
    with pytest.raises(DataError, match="one run folder or more"):
        report_run([], tmp_path / "r.html")
