import contextlib
import functools
import http.server
import json
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from detection.cli.main import main
from detection.data.transfer import Patience
from detection.errors import DataError
from detection.inference.inputs import Camera, file_name, open_inputs
from detection.model_io import save_detector
from detection.runs.config_io import write_config
from detection.tiny import tiny_detector
from tests.cli.lines import fail

QUICK = Patience(attempts=1, pause=0.0, timeout=5.0, max_bytes=100_000, max_seconds=20.0)


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, and an image that comes in drips."""

    def log_message(self, *_):
        """Say nothing."""

    def do_GET(self):
        if self.path != "/slow.png":
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        with contextlib.suppress(OSError):
            for _ in range(100):
                self.wfile.write(b"x")
                self.wfile.flush()
                time.sleep(0.05)


@pytest.fixture
def address(tmp_path):
    folder = tmp_path / "served"
    folder.mkdir()
    cv2.imwrite(str(folder / "a cup.png"), np.full((64, 96, 3), 90, np.uint8))
    (folder / "letter.png").write_text("Dear Sir or Madam")
    (folder / "large.png").write_bytes(b"x" * (QUICK.max_bytes + 1))
    handler = functools.partial(Handler, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def run(tmp_path):
    (tmp_path / "run").mkdir()
    save_detector(tmp_path / "run/model.safetensors", tiny_detector())
    (tmp_path / "run/config.yaml").write_text(write_config(tiny_detector().config))
    return tmp_path / "run"


class FakeCapture:
    """A camera whose frames never end."""

    opened = True

    def __init__(self, index):
        self.index = index

    def isOpened(self):  # noqa: N802
        return self.opened

    def get(self, _):
        return 0.0

    def read(self):
        time.sleep(0.01)
        return True, np.full((48, 64, 3), 120, np.uint8)

    def release(self):
        """Nothing to close."""


@pytest.fixture
def camera(monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", FakeCapture)
    return FakeCapture


def test_an_address_is_fetched_for_as_long_as_it_is_needed(address):
    url = f"{address}/a%20cup.png?size=2#top"
    with open_inputs([url, "b.jpg", "c.mp4"], QUICK) as inputs:
        fetched, other = inputs.images
        assert fetched.read_bytes().startswith(b"\x89PNG")
        assert inputs.called == {fetched: url}
        assert other == Path("b.jpg")
        assert inputs.videos == (Path("c.mp4"),)
    assert not fetched.exists()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("gone.png", "HTTP 404"),
        ("large.png", "expected at most 100,000 bytes, got 100,001"),
    ],
)
def test_an_address_that_serves_nothing_of_use_is_named(address, name, reason):
    with (
        pytest.raises(DataError, match=rf"{name}: expected a file to download, got .*{reason}"),
        open_inputs([f"{address}/{name}"], QUICK),
    ):
        pass


def test_a_server_that_drips_is_left(address):
    patience = Patience(attempts=1, timeout=5.0, max_seconds=0.3)
    start = time.monotonic()
    with (
        pytest.raises(DataError, match=r"expected all within 0\.3 seconds, got \d+ bytes"),
        open_inputs([f"{address}/slow.png"], patience),
    ):
        pass
    assert time.monotonic() - start < 4


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://x.org/a/b.JPG?x=1", "b.jpg"),
        ("https://x.org/", "image"),
        ("https://x.org/..%2F..%2Fetc", "etc"),
        ("https://x.org/view", "view"),
        ("https://x.org/clip.mp4", "clip.mp4"),
    ],
)
def test_names_of_what_is_fetched_are_safe(url, name):
    assert file_name(url) == name


def test_a_number_is_a_camera_unless_a_file_has_that_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "1").write_bytes(b"")
    with open_inputs(["0", "camera:2", "1"]) as inputs:
        assert inputs.videos == (Camera(index=0), Camera(index=2))
        assert inputs.images == (Path("1"),)


def test_the_command_takes_addresses_and_calls_results_by_them(address, run, tmp_path, capsys):
    url = f"{address}/a%20cup.png"
    bad = f"{address}/letter.png"
    assert main(["detect", str(run), url, bad, "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert f"error: {bad}: expected an image" in said
    found = json.loads((tmp_path / "out/detections.json").read_text())
    assert list(found) == [url]
    assert (tmp_path / "out" / found[url]["drawing"]).exists()


def test_an_address_that_fails_ends_the_command_with_one_line(address, run, tmp_path, capsys):
    line = fail(capsys, "detect", run, f"{address}/gone.png", "--out", tmp_path / "out")
    assert "gone.png: expected a file to download, got none (HTTP 404" in line


def test_a_camera_is_seen_for_a_number_of_frames(camera, run, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["detect", str(run), "camera:1", "--frames", "3", "--no_drawings", "--out", str(out)]
    assert main(words) == 0
    assert "3 frames in " in capsys.readouterr().out
    rows = [json.loads(line) for line in (out / "camera-1.jsonl").read_text().splitlines()]
    assert [row["frame"] for row in rows] == [0, 1, 2]
    times = [row["time"] for row in rows]
    assert times == sorted(times)


def test_a_camera_that_is_not_there_is_named(camera, run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(camera, "opened", False)
    line = fail(capsys, "detect", run, "0", "--out", tmp_path / "out")
    assert "camera:0: expected a camera, got none that can be opened" in line


def test_ctrl_c_ends_a_camera_and_keeps_what_it_saw(camera, run, tmp_path, monkeypatch):
    import signal

    from detection.detector import Detector

    seen = []
    detect = Detector.detect

    def interrupted(self, *arguments, **options):
        seen.append(1)
        if len(seen) == 2:
            signal.raise_signal(signal.SIGINT)
        return detect(self, *arguments, **options)

    monkeypatch.setattr(Detector, "detect", interrupted)
    out = tmp_path / "out"
    assert main(["detect", str(run), "0", "--no_drawings", "--out", str(out)]) == 0
    assert len((out / "camera-0.jsonl").read_text().splitlines()) == 2


def test_an_old_frame_of_a_camera_gives_way_to_a_new_one(monkeypatch):
    from detection.inference import video

    class Counting(FakeCapture):
        def read(self):
            self.count = getattr(self, "count", -1) + 1
            time.sleep(0.002)
            return True, np.full((2, 2, 3), min(self.count, 255), np.uint8)

    monkeypatch.setattr(cv2, "VideoCapture", Counting)
    frames = video._frames(Camera(index=0))
    first = int(next(frames)[0, 0, 0])
    time.sleep(0.15)
    second = int(next(frames)[0, 0, 0])
    third = int(next(frames)[0, 0, 0])
    frames.close()
    assert second - first > 5
    assert third > second


def test_only_an_address_has_a_folder_to_be_fetched_into(address, tmp_path, monkeypatch):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    plain = str(tmp_path / "served/a cup.png")
    with open_inputs([plain, "0"], QUICK):
        assert list(temporary.iterdir()) == []
    urls = [f"{address}/a%20cup.png", f"{address}/a%20cup.png?again"]
    with open_inputs([plain, *urls], QUICK) as found:
        assert len(list(temporary.iterdir())) == 1
        assert len(set(found.called)) == 2
    assert list(temporary.iterdir()) == []
