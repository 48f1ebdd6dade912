"""Reports and what their pages hold."""

import re
from html.parser import HTMLParser

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


def assert_stands_alone(content, page):
    assert "http://" not in content
    assert "https://" not in content
    assert "url(" not in re.sub(r"url\(#\w+\)", "", content)
    assert "@import" not in content
    assert all(a.startswith(("data:image/", "#")) for a in page.addresses)
    assert not {"script", "link", "iframe", "object", "base"} & set(page.tags)
