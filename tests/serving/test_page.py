"""The page in a real browser."""

import json

import pytest

from detection.proposals.search import propose
from detection.report.palette import CLASSES, STAGES
from tests.serving import served
from tests.serving.browser import Browser, find_browser

EXECUTABLE = find_browser()
pytestmark = pytest.mark.skipif(EXECUTABLE is None, reason="no Chromium is installed")

DONE = "!document.getElementById('result').hidden"
COUNT = "document.querySelectorAll('#panel-{} .box').length"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    example = tmp_path_factory.mktemp("examples") / "an example.png"
    example.write_bytes(served.picture(3)[0])
    service = served.service("sppnet", "rcnn")
    with served.listening(service, [example], max_upload_bytes=2**20) as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    with Browser(EXECUTABLE) as browser:
        yield browser


@pytest.fixture
def page(browser, address):
    browser.events.clear()
    browser.open(address)
    browser.wait("settings !== null")
    return browser


def scores(picture_seed, method, threshold):
    """How many boxes the page has to show, by the detector itself."""
    _, image = served.picture(picture_seed)
    actual = served.detector(method).detect(image).scores.double()
    return int((actual >= threshold).sum())


def move_slider(page, value):
    page.run(
        f"(() => {{ const s = document.getElementById('threshold'); s.value = {value};"
        " s.dispatchEvent(new Event('input')); })()"
    )
    return float(page.run("Number(document.getElementById('threshold').value)"))


def test_an_upload_shows_the_boxes_of_both_methods_and_the_slider_chooses(page, address, tmp_path):
    path = tmp_path / "photograph.png"
    path.write_bytes(served.picture(1)[0])
    page.upload("#file", path)
    page.wait(DONE)
    low = float(page.run("Number(document.getElementById('threshold').min)"))
    high = float(page.run("Number(document.getElementById('threshold').max)"))
    counts = []
    for wanted in (low, (low + high) / 2, high):
        threshold = move_slider(page, wanted)
        shown = [page.run(COUNT.format(index)) for index in (0, 1)]
        assert shown == [scores(1, method, threshold) for method in ("sppnet", "rcnn")]
        counts.append(sum(shown))
    assert counts[0] > counts[1] > counts[2]
    assert page.run("document.querySelectorAll('#times .bar').length") == 2
    assert page.run("document.querySelectorAll('#stages tbody tr').length") >= 9
    assert page.problems() == []
    assert all(url.startswith((address, "blob:", "data:")) for url in page.requests())


def test_boxes_lie_where_the_detector_found_them(page, tmp_path):
    data, image = served.picture(2)
    (tmp_path / "a.png").write_bytes(data)
    page.upload("#file", tmp_path / "a.png")
    page.wait(DONE)
    move_slider(page, -1000)
    best = served.detector("sppnet").detect(image).boxes[0].tolist()
    shown = json.loads(
        page.run(
            """(() => {
              const stage = document.querySelector('#panel-0 .stage').getBoundingClientRect();
              const box = [...document.querySelectorAll('#panel-0 .box')].at(-1);
              const r = box.getBoundingClientRect();
              const x = 96 / stage.width, y = 64 / stage.height;
              return JSON.stringify([(r.left - stage.left) * x, (r.top - stage.top) * y,
                                     (r.right - stage.left) * x, (r.bottom - stage.top) * y]);
            })()"""
        )
    )
    assert shown == pytest.approx(best, abs=0.1)


def test_every_image_has_its_size_so_that_the_page_does_not_jump(page, tmp_path):
    data, image = served.picture(1)
    (tmp_path / "a.png").write_bytes(data)
    page.upload("#file", tmp_path / "a.png")
    page.wait(DONE)
    sizes = json.loads(
        page.run(
            "JSON.stringify([...document.images].map((i) =>"
            " [i.className, i.getAttribute('width'), i.getAttribute('height')]))"
        )
    )
    height, width = image.size
    assert sizes.count(["", str(width), str(height)]) == 2
    assert len(sizes) >= 3
    assert all(width and height for _, width, height in sizes)


def test_boxes_have_the_colours_of_drawings_and_stages_those_of_reports(page, tmp_path):
    (tmp_path / "a.png").write_bytes(served.picture(1)[0])
    page.upload("#file", tmp_path / "a.png")
    page.wait(DONE)
    assert json.loads(page.run("JSON.stringify(PALETTE.map(([shade]) => shade))")) == list(CLASSES)
    shades = json.loads(page.run("JSON.stringify(STAGES)"))
    assert {name: shade for name, (_, shade) in shades.items()} == STAGES
    move_slider(page, -1000)
    drawn = json.loads(
        page.run(
            "JSON.stringify([...document.querySelectorAll('.box')]"
            ".map((b) => b.style.getPropertyValue('--c')))"
        )
    )
    assert set(drawn) <= set(CLASSES)
    assert drawn


def test_proposals_and_classes_are_shown_and_hidden(page, tmp_path):
    data, image = served.picture(1)
    (tmp_path / "a.png").write_bytes(data)
    page.upload("#file", tmp_path / "a.png")
    page.wait(DONE)
    display = "getComputedStyle(document.querySelector('svg.proposals')).display"
    assert page.run(display) == "none"
    page.run("document.getElementById('show-proposals').click()")
    assert page.run(display) != "none"
    drawn = page.run("document.querySelector('svg.proposals path').getAttribute('d')")
    assert drawn.count("M") == len(propose(image, served.PROPOSALS).boxes)
    move_slider(page, -1000)
    before = page.run(COUNT.format(0))
    page.run("document.querySelector('#legend button').click()")
    assert 0 < page.run(COUNT.format(0)) < before


def test_a_text_file_is_answered_by_its_error(page, tmp_path):
    (tmp_path / "letter.txt").write_text("Dear Sir or Madam")
    page.upload("#file", tmp_path / "letter.txt")
    page.wait("!document.getElementById('error').hidden")
    text = page.run("document.getElementById('error').textContent")
    assert text.startswith("letter.txt: expected an image (JPEG, PNG")
    assert page.run(DONE) is False


def test_a_large_file_is_refused_before_it_is_sent(page, tmp_path):
    (tmp_path / "large.png").write_bytes(b"x" * 1_300_000)
    page.upload("#file", tmp_path / "large.png")
    page.wait("!document.getElementById('error').hidden")
    text = page.run("document.getElementById('error').textContent")
    assert text == "large.png: expected at most 1 MiB, got 1.2 MiB; make it smaller"
    assert not any(url.endswith("/v1/detect") for url in page.requests())


def test_a_name_with_markup_stays_text(page, tmp_path):
    path = tmp_path / "<img src=x onerror=alert(1)>.txt"
    path.write_text("x")
    page.upload("#file", path)
    page.wait("!document.getElementById('error').hidden")
    assert page.run("document.querySelectorAll('#error img').length") == 0
    assert "<img src=x onerror" in page.run("document.getElementById('error').textContent")


def test_an_example_is_one_click_away(page):
    page.wait("document.querySelectorAll('#examples img').length === 1")
    page.run("document.querySelector('#examples button').click()")
    page.wait(DONE)
    assert page.run("document.getElementById('status').textContent").startswith("an example.png")


def test_the_interface_page_is_whole_under_its_policy(browser, address):
    browser.events.clear()
    browser.open(f"{address}/api")
    assert browser.run("document.querySelector('h1').textContent") == "The JSON interface"
    assert browser.run("getComputedStyle(document.querySelector('main')).maxWidth") == "860px"
    assert browser.problems() == []


@pytest.mark.parametrize("width", [360, 1200])
def test_nothing_is_wider_than_the_screen(page, address, tmp_path, width):
    page.call(
        "Emulation.setDeviceMetricsOverride",
        width=width,
        height=740,
        deviceScaleFactor=1,
        mobile=width < 600,
    )
    page.open(address)
    page.wait("settings !== null")
    (tmp_path / "a.png").write_bytes(served.picture(1)[0])
    page.upload("#file", tmp_path / "a.png")
    page.wait(DONE)
    assert page.run("document.documentElement.scrollWidth") <= width
    unnamed = """[...document.querySelectorAll('input, button')].filter((e) =>
      !(e.labels && e.labels.length) && !e.textContent.trim() && !e.querySelector('img[alt]')
      && !e.getAttribute('aria-label')).length"""
    assert page.run(unnamed) == 0
