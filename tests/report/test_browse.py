from html.parser import HTMLParser

from detection.data.dataset import read_dataset
from detection.report.browse import browse, choose, occupancy
from tests.evaluation.cases import truth

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


def test_browser_counts_objects_and_covers_every_class(data, tmp_path):
    dataset = read_dataset(data, "test")
    browse(dataset, tmp_path / "b.html", num_images=3)
    page = Page((tmp_path / "b.html").read_text())
    objects = sum(len(record.truth.labels) for record in dataset.records)
    assert f"{objects} objects" in page.words
    assert "1 images without objects" in page.words
    seen = {n for i in choose(dataset, 3) for n in dataset.records[i].truth.labels.tolist()}
    assert seen == {0, 1, 2}
    assert len(choose(dataset, 100)) == len(dataset.records)


def test_occupancy_counts_boxes_over_cells():
    counts = occupancy([truth("1", [[0, 0, 50, 100]], [0]), truth("2", [[0, 0, 100, 50]], [0])], 4)
    assert counts.tolist() == [[2, 2, 1, 1]] * 2 + [[1, 1, 0, 0]] * 2
