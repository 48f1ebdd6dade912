"""A trained detector on a video: JSON lines, and the video with its detections drawn.

Frames are decoded by a thread a few ahead of the network, never more: a long video takes no more
memory than a short one.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import queue
import struct
import threading
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from detection.detector import Detector
from detection.ensemble import Ensemble
from detection.errors import DataError
from detection.inference.images import detections_to_json
from detection.inference.inputs import Camera
from detection.io.files import explain
from detection.io.progress import track
from detection.report.drawing import draw_detections
from detection.structures import Image
from detection.training.loop import GracefulStop
from detection.words import counted

AHEAD = 4
"""Frames that wait decoded."""

_PLAIN_RATE = 25.0

_SMALL = 4096
"""Bytes that the beginning of a video takes on a disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoSummary:
    """What a video took.

    Attributes:
        frames: how many were read.
        seconds: from the first to the last.
        written: the JSON lines, and the drawn video where there is one.
    """

    frames: int
    seconds: float
    written: tuple[Path, ...]

    def format(self) -> str:
        """Return a summary line."""
        rate = self.frames / self.seconds if self.seconds else 0.0
        names = ", ".join(map(str, self.written))
        frames = counted(self.frames, "frame")
        return f"{frames} in {self.seconds:.1f} s ({rate:.2f} a second): {names}"


def detect_video(
    detector: Detector | Ensemble,
    path: Path | Camera,
    out: Path,
    *,
    threshold: float | None = None,
    draw: bool = True,
    max_frames: int | None = None,
) -> VideoSummary:
    """Detect on every frame; write ``<name>.jsonl``, a line a frame, and ``<name>.mp4``.

    Both grow while the work goes on: what an interrupt leaves can be read. A camera goes on until
    Ctrl-C, which is how it ends and no error; of its frames the newest is taken, and those that
    came while the detector was at work are passed over.

    Args:
        detector: trained; its configuration determines how boxes are proposed.
        path: of the video; or a camera.
        out: folder to write.
        threshold: detections below it are left out; None takes ``decision_threshold``.
        draw: write the video too.
        max_frames: stop after as many; None goes on to the end.

    Raises:
        DataError: if the file is no video, there is no such camera, or the results cannot be
            written.
    """
    lowest = detector.decision_threshold if threshold is None else threshold
    out.mkdir(parents=True, exist_ok=True)
    lines, picture = out / f"{path.stem}.jsonl", out / f"{path.stem}.mp4"
    live = isinstance(path, Camera)
    if draw and isinstance(path, Path) and picture.exists() and picture.samefile(path):
        message = f"--out: expected another folder than that of {path}, got {out}"
        raise DataError(message)
    rate, total = _rate_and_length(path)
    start, count = time.perf_counter(), 0
    writer = _Writer(picture, rate)
    with (
        GracefulStop() if live else contextlib.nullcontext() as stop,
        lines.open("wb", buffering=0) as file,
        writer,
        contextlib.closing(_frames(path)) as frames,
    ):
        shown = itertools.islice(frames, max_frames)
        for pixels in track(shown, _fewer(total, max_frames), f"detect {path.stem}"):
            image = Image(image_id=f"{path.stem}-{count}", pixels=torch.from_numpy(pixels))
            found = detector.detect(image)
            row = detections_to_json(found, image, detector.class_names, lowest)
            seconds = time.perf_counter() - start if live else count / rate
            _append(file, lines, {"frame": count, "time": seconds, **row})
            count += 1
            if draw:
                names = detector.class_names
                writer.write(np.asarray(draw_detections(image, found, names, threshold=lowest)))
            if stop and stop.signal:
                break
    if draw and not is_whole(picture):
        message = (
            f"{picture}: expected a whole video, got one that was cut off: the disk is full, or "
            "files may not be so large; free some space, or leave it out with --no_drawings"
        )
        raise DataError(message)
    return VideoSummary(
        frames=count,
        seconds=time.perf_counter() - start,
        written=(lines, picture) if draw else (lines,),
    )


def _append(file: io.FileIO, path: Path, row: Mapping[str, Any]) -> None:
    """Write a line, all of it now: a buffer would be written, and fail, once more at the end."""
    data = json.dumps(row).encode() + b"\n"
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[file.write(rest) :]
    except OSError as error:
        raise explain(error, path, len(data)) from error


def is_whole(path: Path) -> bool:
    """Return whether an MP4 was written to its end: OpenCV says nothing of a full disk."""
    names, place, size = set(), 0, path.stat().st_size
    with path.open("rb") as file:
        while place + 8 <= size:
            file.seek(place)
            length, name, long = struct.unpack(">I4sQ", file.read(16).ljust(16, b"\0"))
            length = long if length == 1 else length
            if length < 8:
                return False
            names.add(name)
            place += length
    return place == size and b"moov" in names


def _fewer(total: int | None, limit: int | None) -> int | None:
    """Return the smaller of two numbers, either of which may be unknown."""
    return min((number for number in (total, limit) if number is not None), default=None)


def _rate_and_length(path: Path | Camera) -> tuple[float, int | None]:
    """Return the frames a second, and how many there are where the file says."""
    video = _open(path)
    rate, length = video.get(cv2.CAP_PROP_FPS), video.get(cv2.CAP_PROP_FRAME_COUNT)
    video.release()
    usable = np.isfinite(rate) and 0 < rate <= 1000
    return float(rate) if usable else _PLAIN_RATE, int(length) if length > 0 else None


def _open(path: Path | Camera) -> Any:
    if isinstance(path, Camera):
        camera = cv2.VideoCapture(path.index)
        if not camera.isOpened():
            message = f"{path}: expected a camera, got none that can be opened"
            raise DataError(message)
        return camera
    video = cv2.VideoCapture(str(path))
    if not path.is_file() or not video.isOpened():
        got = "one that cannot be decoded" if path.is_file() else "no such file"
        message = f"{path}: expected a video, got {got}"
        raise DataError(message)
    return video


def _frames(path: Path | Camera) -> Generator[NDArray[np.uint8], None, None]:
    """Yield the frames as RGB, decoded ahead by a thread.

    Raises:
        DataError: if not a single frame can be decoded.
    """
    live = isinstance(path, Camera)
    ahead: queue.Queue[NDArray[np.uint8] | None] = queue.Queue(1 if live else AHEAD)
    stop = threading.Event()
    parts = (_open(path), ahead, stop, live)
    reader = threading.Thread(target=_read, args=parts, daemon=True)
    reader.start()
    count = 0
    try:
        while (pixels := ahead.get()) is not None:
            count += 1
            yield pixels
    finally:
        stop.set()
        reader.join()
    if not count:
        what = "camera" if live else "video"
        message = f"{path}: expected a {what}, got no frame that can be decoded"
        raise DataError(message)


def _read(
    video: Any, ahead: queue.Queue[NDArray[np.uint8] | None], stop: threading.Event, live: bool
) -> None:
    """Put frames into the queue until the video ends or nobody takes them any more.

    Args:
        video: opened.
        ahead: the queue.
        stop: set when nobody takes them any more.
        live: a frame that nobody has taken gives way to the next one.
    """
    going = True
    while going and not stop.is_set():
        going, pixels = video.read()
        item = np.ascontiguousarray(pixels[:, :, ::-1]) if going else None
        while not stop.is_set():
            if live and going:
                with contextlib.suppress(queue.Empty):
                    ahead.get_nowait()
            with contextlib.suppress(queue.Full):
                ahead.put(item, timeout=0.1)
                break
    video.release()


class _Writer:
    """Writes a video whose size is that of its first frame."""

    def __init__(self, path: Path, rate: float) -> None:
        self._path, self._rate = path, rate
        self._video: Any = None

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_: object) -> None:
        if self._video is not None:
            self._video.release()

    def write(self, pixels: NDArray[np.uint8]) -> None:
        """Append a frame of RGB.

        Raises:
            DataError: if this OpenCV cannot write videos, or not there; if the disk is full.
        """
        if self._video is None:
            size = (pixels.shape[1], pixels.shape[0])
            code = cv2.VideoWriter.fourcc(*"mp4v")
            self._video = cv2.VideoWriter(str(self._path), code, self._rate, size)
            if not self._video.isOpened():
                _require_room(self._path)
                message = (
                    f"{self._path}: expected a place and an OpenCV that can write a video, got "
                    "neither; --no_drawings writes the JSON lines alone"
                )
                raise DataError(message)
        self._video.write(np.ascontiguousarray(pixels[:, :, ::-1]))


def _require_room(path: Path) -> None:
    """Write a small file in the place of one that OpenCV cannot open: it does not say why.

    Raises:
        DataError: where the disk is full or the folder cannot be written.
    """
    try:
        path.write_bytes(bytes(_SMALL))
        path.unlink()
    except OSError as error:
        raise explain(error, path, _SMALL) from error
