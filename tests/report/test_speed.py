from html.parser import HTMLParser

import pytest

from detection.report.html import report_run

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


@pytest.fixture(scope="module")
def both(runs, tmp_path_factory):
    return make_report(runs, tmp_path_factory.mktemp("report") / "report.html")


def test_speed_stands_beside_the_papers(both):
    _, page = both
    assert "27,100" in page.words
    assert "143x 270x" in page.words
    assert "SPPnet, ZF-5, 1 scale 0.053 0.089 0.142" in page.words
    assert "R-CNN, ZF-5: 14.5 s" in page.words
    assert "SPPnet, ZF-5, 1 scale: 142 ms" in page.words
