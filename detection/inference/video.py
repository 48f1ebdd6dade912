"""A trained detector on a video: JSON lines, and the video with its detections drawn.

Frames are decoded by a thread a few ahead of the network, never more: a long video takes no more
memory than a short one.
"""

from __future__ import annotations

import contextlib
import json
import queue
import threading
import time
from collections.abc import Generator
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
from detection.io.progress import track
from detection.report.drawing import draw_detections
from detection.structures import Image
from detection.words import counted

EXTENSIONS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")
"""File name endings, in lower case, of what is taken for a video."""

AHEAD = 4
"""Frames that wait decoded."""

_PLAIN_RATE = 25.0


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


def is_video(path: Path) -> bool:
    """Return whether a path's name is that of a video."""
    return path.suffix.lower() in EXTENSIONS


def detect_video(
    detector: Detector | Ensemble,
    path: Path,
    out: Path,
    *,
    threshold: float | None = None,
    draw: bool = True,
) -> VideoSummary:
    """Detect on every frame; write ``<name>.jsonl``, a line a frame, and ``<name>.mp4``.

    Both grow while the work goes on: what an interrupt leaves can be read.

    Args:
        detector: trained; its configuration determines how boxes are proposed.
        path: of the video.
        out: folder to write.
        threshold: detections below it are left out; None takes ``decision_threshold``.
        draw: write the video too.

    Raises:
        DataError: if the file is no video, or the results cannot be written.
    """
    lowest = detector.decision_threshold if threshold is None else threshold
    out.mkdir(parents=True, exist_ok=True)
    lines, picture = out / f"{path.stem}.jsonl", out / f"{path.stem}.mp4"
    if draw and picture.exists() and picture.samefile(path):
        message = f"--out: expected another folder than that of {path}, got {out}"
        raise DataError(message)
    rate, total = _rate_and_length(path)
    start, count = time.perf_counter(), 0
    writer = _Writer(picture, rate)
    with (
        lines.open("w", encoding="utf-8") as file,
        writer,
        contextlib.closing(_frames(path)) as frames,
    ):
        for pixels in track(frames, total, f"detect {path.name}"):
            image = Image(image_id=f"{path.stem}-{count}", pixels=torch.from_numpy(pixels))
            found = detector.detect(image)
            row = detections_to_json(found, image, detector.class_names, lowest)
            file.write(json.dumps({"frame": count, "time": count / rate, **row}) + "\n")
            count += 1
            if draw:
                names = detector.class_names
                writer.write(np.asarray(draw_detections(image, found, names, threshold=lowest)))
    return VideoSummary(
        frames=count,
        seconds=time.perf_counter() - start,
        written=(lines, picture) if draw else (lines,),
    )


def _rate_and_length(path: Path) -> tuple[float, int | None]:
    """Return the frames a second, and how many there are where the file says."""
    video = _open(path)
    rate, length = video.get(cv2.CAP_PROP_FPS), video.get(cv2.CAP_PROP_FRAME_COUNT)
    video.release()
    usable = np.isfinite(rate) and 0 < rate <= 1000
    return float(rate) if usable else _PLAIN_RATE, int(length) if length > 0 else None


def _open(path: Path) -> Any:
    video = cv2.VideoCapture(str(path))
    if not path.is_file() or not video.isOpened():
        got = "one that cannot be decoded" if path.is_file() else "no such file"
        message = f"{path}: expected a video, got {got}"
        raise DataError(message)
    return video


def _frames(path: Path) -> Generator[NDArray[np.uint8], None, None]:
    """Yield the frames as RGB, decoded ahead by a thread.

    Raises:
        DataError: if not a single frame can be decoded.
    """
    ahead: queue.Queue[NDArray[np.uint8] | None] = queue.Queue(AHEAD)
    stop = threading.Event()
    reader = threading.Thread(target=_read, args=(_open(path), ahead, stop), daemon=True)
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
        message = f"{path}: expected a video, got no frame that can be decoded"
        raise DataError(message)


def _read(video: Any, ahead: queue.Queue[NDArray[np.uint8] | None], stop: threading.Event) -> None:
    """Put frames into the queue until the video ends or nobody takes them any more."""
    going = True
    while going and not stop.is_set():
        going, pixels = video.read()
        item = np.ascontiguousarray(pixels[:, :, ::-1]) if going else None
        while not stop.is_set():
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
            DataError: if this OpenCV cannot write videos, or not there.
        """
        if self._video is None:
            size = (pixels.shape[1], pixels.shape[0])
            code = cv2.VideoWriter.fourcc(*"mp4v")
            self._video = cv2.VideoWriter(str(self._path), code, self._rate, size)
            if not self._video.isOpened():
                message = (
                    f"{self._path}: expected a place and an OpenCV that can write a video, got "
                    "neither; --no_drawings writes the JSON lines alone"
                )
                raise DataError(message)
        self._video.write(np.ascontiguousarray(pixels[:, :, ::-1]))
