import errno
import io
import json
import sys
import threading
from dataclasses import replace

import cv2
import numpy as np
import pytest

from detection.cli.main import main
from detection.errors import DataError
from detection.inference import video
from detection.inference.inputs import is_video
from detection.inference.video import detect_video
from detection.model_io import save_detector
from detection.runs.config_io import write_config
from detection.tiny import tiny_detector
from tests.cli.lines import fail

FRAMES = 7


@pytest.fixture
def clip(tmp_path):
    """A video of a rectangle that moves, 10 frames a second."""
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (96, 64))
    assert writer.isOpened()
    for index in range(FRAMES):
        pixels = np.full((64, 96, 3), 200, np.uint8)
        pixels[16:48, 8 * index : 8 * index + 32] = (200, 60, 30)
        writer.write(pixels)
    writer.release()
    return path


@pytest.fixture
def run(tmp_path):
    (tmp_path / "run").mkdir()
    save_detector(tmp_path / "run/model.safetensors", tiny_detector())
    (tmp_path / "run/config.yaml").write_text(write_config(tiny_detector().config))
    return tmp_path / "run"


def test_every_frame_is_a_line_and_a_drawing(clip, tmp_path):
    summary = detect_video(tiny_detector(), clip, tmp_path / "out", threshold=-9.0)
    rows = [json.loads(line) for line in (tmp_path / "out/clip.jsonl").read_text().splitlines()]
    assert [row["frame"] for row in rows] == list(range(FRAMES))
    assert [row["time"] for row in rows] == pytest.approx([n / 10 for n in range(FRAMES)])
    assert all(row["size"] == [64, 96] for row in rows)
    assert sum(len(row["detections"]) for row in rows) > 0
    assert summary.frames == FRAMES
    drawn = cv2.VideoCapture(str(tmp_path / "out/clip.mp4"))
    assert drawn.get(cv2.CAP_PROP_FRAME_COUNT) == FRAMES
    assert drawn.get(cv2.CAP_PROP_FPS) == 10


def test_frames_have_the_colours_of_the_video(clip):
    frames = list(video._frames(clip))
    assert len(frames) == FRAMES
    assert np.abs(frames[0][32, 16].astype(int) - (30, 60, 200)).max() < 25  # RGB


def test_frames_wait_in_bounded_number(clip, monkeypatch):
    monkeypatch.setattr(video, "AHEAD", 2)
    decoded = []
    opened = video._open

    class Counted:
        def __init__(self, path):
            self._video = opened(path)

        def read(self):
            decoded.append(1)
            return self._video.read()

        def release(self):
            self._video.release()

    monkeypatch.setattr(video, "_open", Counted)
    frames = video._frames(clip)
    for taken in range(1, FRAMES + 1):
        next(frames)
        assert len(decoded) <= taken + 3  # two wait, one is in the thread's hands
    frames.close()
    assert not any(thread.name.endswith("(_read)") for thread in threading.enumerate())


def test_the_command_takes_videos_beside_images(clip, run, tmp_path, capsys):
    cv2.imwrite(str(tmp_path / "a.png"), np.full((64, 96, 3), 90, np.uint8))
    out = tmp_path / "out"
    words = ["detect", str(run), str(clip), str(tmp_path / "a.png"), "--out", str(out)]
    assert main([*words, "--no_drawings"]) == 0
    text = capsys.readouterr().out
    assert f"{FRAMES} frames in " in text
    assert "1 image in " in text
    assert sorted(path.name for path in out.iterdir()) == ["clip.jsonl", "detections.json"]
    assert main(["detect", str(run), str(clip), "--out", str(out)]) == 0
    assert (out / "clip.mp4").exists()


def test_what_is_no_video_is_refused_in_one_line(run, tmp_path, capsys):
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"not a video")
    line = fail(capsys, "detect", run, bad, "--out", tmp_path / "out")
    assert f"{bad}: expected a video, got one that cannot be decoded" in line
    gone = tmp_path / "gone.mp4"
    assert f"{gone}: expected a video, got no such file" in fail(
        capsys, "detect", run, gone, "--out", tmp_path / "out"
    )


def test_a_video_is_not_written_over_itself(clip, tmp_path):
    video_file = clip.rename(clip.with_suffix(".mp4"))
    detector = tiny_detector()
    with pytest.raises(DataError, match="expected another folder than that of"):
        detect_video(detector, video_file, tmp_path)
    quiet = replace(detector, class_names=detector.class_names)
    assert detect_video(quiet, video_file, tmp_path, draw=False).frames == FRAMES


def test_the_ending_says_what_is_a_video(tmp_path):
    assert is_video(tmp_path / "A.MP4")
    assert not is_video(tmp_path / "a.png")


def test_a_video_can_be_cut_short(clip, tmp_path):
    summary = detect_video(tiny_detector(), clip, tmp_path / "out", draw=False, max_frames=3)
    assert summary.frames == 3


def test_a_drawn_video_is_whole_or_named(clip, tmp_path, monkeypatch):
    detect_video(tiny_detector(), clip, tmp_path / "out")
    whole = (tmp_path / "out/clip.mp4").read_bytes()
    assert video.is_whole(tmp_path / "out/clip.mp4")
    cut = tmp_path / "cut.mp4"
    for length in (0, 4, 20, 40, len(whole) // 2, len(whole) - 1):
        cut.write_bytes(whole[:length])
        assert not video.is_whole(cut)
    release = video._Writer.__exit__

    def on_a_full_disk(writer, *_):
        release(writer)
        writer._path.write_bytes(whole[:1000])

    monkeypatch.setattr(video._Writer, "__exit__", on_a_full_disk)
    with pytest.raises(DataError, match=r"clip\.mp4: expected a whole video, got one .* cut off"):
        detect_video(tiny_detector(), clip, tmp_path / "out")
    detect_video(tiny_detector(), clip, tmp_path / "out", draw=False)


def test_a_line_is_written_whole_or_refused(tmp_path):
    class Slow(io.FileIO):
        """Takes a few bytes at a time, and ten in all."""

        written = b""

        def write(self, data):
            if len(self.written) >= 10:
                raise OSError(errno.ENOSPC, "No space left on device")
            self.written += bytes(data[:5])
            return min(5, len(data))

    with Slow(tmp_path / "a.jsonl", "w") as file:
        video._append(file, tmp_path / "a.jsonl", {"a": 1})
        assert file.written == b'{"a": 1}\n'
        with pytest.raises(DataError, match=r"a\.jsonl: no space: need 9 bytes"):
            video._append(file, tmp_path / "a.jsonl", {"a": 1})


class _Closed:
    """A writer of OpenCV that could not be opened."""

    fourcc = staticmethod(cv2.VideoWriter.fourcc)

    def __init__(self, *_):
        pass

    def isOpened(self):  # noqa: N802
        return False

    def release(self):
        pass


@pytest.mark.skipif(sys.platform != "linux", reason="a full device is Linux's")
def test_a_disk_without_room_for_the_beginning_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(cv2, "VideoWriter", _Closed)
    pixels = np.zeros((8, 8, 3), np.uint8)
    (tmp_path / "full.mp4").symlink_to("/dev/full")
    with pytest.raises(DataError, match=r"full\.mp4: no space: need 4,096"):
        video._Writer(tmp_path / "full.mp4", 5).write(pixels)
    with pytest.raises(DataError, match="an OpenCV that can write a video, got neither"):
        video._Writer(tmp_path / "a.mp4", 5).write(pixels)
    assert not (tmp_path / "a.mp4").exists()
