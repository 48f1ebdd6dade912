import json
import re
import shutil
from html.parser import HTMLParser

import pytest

from detection.data.dataset import read_dataset
from detection.errors import DataError
from detection.proposals.store import ProposalStore
from detection.report.browse import browse
from detection.report.html import report_run
from detection.structures import Proposals
from tests.report.fake_runs import make_benchmark, make_coco, make_run

HOSTILE = (
    "<script>alert(1)</script>",
    'a"/onload="x',
    "line\nbreak",
    "猫 & {{ 7 * 7 }}",
    "x" * 300,
    "$\\frac$",
)
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Collects tags, addresses and text, and checks that tags close in order."""

    def __init__(self, content):
        super().__init__()
        self.open, self.tags, self.addresses, self.text, self.ids = [], [], [], [], []
        self.feed(content)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        for name, value in attributes:
            assert not name.startswith("on"), f"{tag} {name}"
            if name in {"src", "href", "srcset", "action", "data"}:
                self.addresses.append(value)
            if name == "id":
                self.ids.append(value)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())


def make_report(folders, output, **options):
    report_run(folders, output, **options)
    content = output.read_text(encoding="utf-8")
    return content, Page(content)


def assert_stands_alone(content, page):
    assert "http://" not in content
    assert "https://" not in content
    assert "url(" not in re.sub(r"url\(#\w+\)", "", content)
    assert "@import" not in content
    assert all(a.startswith(("data:image/", "#")) for a in page.addresses)
    assert not {"script", "link", "iframe", "object", "base"} & set(page.tags)


@pytest.fixture(scope="module")
def both(runs, tmp_path_factory):
    return make_report(runs, tmp_path_factory.mktemp("report") / "report.html")


def test_report_stands_alone(both):
    assert_stands_alone(*both)


def test_report_fits_phones_and_paper(both):
    content, _ = both
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in content
    assert "@media print" in content
    assert "prefers-color-scheme: dark" in content


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
    assert "the 95% interval is" in page.words


def test_report_has_every_section_that_these_runs_allow(both):
    _, page = both
    sections = "scores classes images curves errors sizes confusion speed spp making"
    assert set(sections.split()) <= set(page.ids)
    assert "is left out" not in page.words.replace("What the proposals cover is left out", "")


def test_missing_proposals_name_the_command_that_adds_them(both):
    _, page = both
    assert "What the proposals cover is left out: the proposals of these images" in page.words
    assert "detection propose adds it" in page.words


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


def test_stored_proposals_are_shown_with_what_they_cover(data, tmp_path):
    dataset = read_dataset(data, "test")
    config = make_run(tmp_path / "run", "rcnn", data=data, store=str(tmp_path / "store"))
    store = ProposalStore(tmp_path / "store", config.proposals)
    for record in dataset.records:
        every = Proposals(image_id=record.image_id, boxes=record.truth.boxes)
        store.save(record, every)
    _, page = make_report([tmp_path / "run"], tmp_path / "r.html", images_each=0)
    assert "What the proposals cover No detector finds" in page.words
    most = max(len(record.truth.boxes) for record in dataset.records)
    assert most < 100
    assert re.search(r"boxes per image IoU 0.5 IoU 0.7 all \(\d+\) 100.0 100.0", page.words)


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


def test_run_of_other_classes_is_left_out_of_the_comparison(runs, tmp_path):
    (tmp_path / "data").mkdir()
    other = make_coco(tmp_path / "data", ("dog", "cat", "bird"))
    make_run(tmp_path / "other", "rcnn", data=other)
    _, page = make_report([runs[0], tmp_path / "other"], tmp_path / "r.html", images_each=0)
    assert "R-CNN: expected the classes of objects, got others" in page.words


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


def test_run_on_other_images_is_left_out_of_the_comparison(runs, tmp_path):
    (tmp_path / "data").mkdir()
    other = make_coco(tmp_path / "data", ("cat", "dog", "bird"), num_images=12)
    make_run(tmp_path / "other", "rcnn", data=other)
    _, page = make_report([runs[0], tmp_path / "other"], tmp_path / "r.html", images_each=1)
    assert "Left out of the comparison: R-CNN" in page.words


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    return make_coco(folder, HOSTILE, file_name="<b>{}&amp;'\".png", num_images=10)


def test_names_are_escaped_in_the_report(hostile, tmp_path):
    folder = tmp_path / '<img src=x onerror="1">'
    make_run(folder, "rcnn", data=hostile)
    make_run(tmp_path / "b", "rcnn", data=hostile, seed=4)
    content, page = make_report([folder, tmp_path / "b"], tmp_path / "r.html")
    assert_stands_alone(content, page)
    assert "<script" not in content
    assert "onerror=" not in re.sub(r"&lt;.*?&gt;", "", content)
    assert "49" not in [word for word in page.words.split() if word == "猫"]
    assert "<script>alert(1)</script>" in page.words
    assert "{{ 7 * 7 }}" in page.words


def test_names_are_escaped_in_the_browser(hostile, tmp_path):
    browse(read_dataset(hostile, "test"), tmp_path / "b.html", num_images=4)
    content = (tmp_path / "b.html").read_text()
    page = Page(content)
    assert_stands_alone(content, page)
    assert page.tags.count("img") == 4 + 1
    assert "{{ 7 * 7 }}" in page.words
