"""How detections and detectors show themselves: in a line, a notebook, a table, a picture."""

from __future__ import annotations

import csv
import html
import io
from pathlib import Path
from typing import Any

from PIL import Image as PilImage

from detection.data.image_like import ImageLike, to_image
from detection.errors import ConfigError, DataError
from detection.io.files import write_bytes_atomic, write_json_atomic, write_text_atomic
from detection.report.drawing import draw_detections, embed, encode
from detection.structures import Detection, Detections

PICTURES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
"""Endings of files that hold a drawing."""

_COLUMNS = ("class", "score", "x1", "y1", "x2", "y2")
_NOTEBOOK_SIDE = 800
_NOTEBOOK_ROWS = 20


def draw(detections: Detections, image: ImageLike | None, max_side: int = 0) -> PilImage.Image:
    """Return the image with its detections drawn.

    Args:
        detections: of the image.
        image: None reads the file that was detected on.
        max_side: shrink a larger image to this longer side; 0 keeps its size.

    Raises:
        DataError: if there is no image to draw on.
    """
    source = detections.source if image is None else image
    if source is None:
        message = (
            f"{detections.image_id}: expected an image to draw on, got none; pass it, as in "
            "plot(image): only the names of files are kept"
        )
        raise DataError(message)
    names = {one.label: one.class_name for one in detections}
    labels = [names.get(label, "") for label in range(max(names, default=-1) + 1)]
    return draw_detections(
        to_image(source), detections, labels, threshold=float("-inf"), max_side=max_side
    )


def save(detections: Detections, path: Path, image: ImageLike | None) -> None:
    """Write detections as the ending of the path says: a drawing, JSON or CSV.

    Raises:
        ConfigError: for another ending.
        DataError: if there is no image to draw on, or the file cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix in PICTURES:
        write_bytes_atomic(path, encode(draw(detections, image), PICTURES[suffix]))
    elif suffix == ".json":
        write_json_atomic(path, [_row(one) for one in detections])
    elif suffix == ".csv":
        text = io.StringIO()
        writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(_row(one) for one in detections)
        write_text_atomic(path, text.getvalue())
    else:
        endings = ", ".join((*PICTURES, ".json", ".csv"))
        message = f"{path}: expected a name that ends in {endings}, got {suffix or 'no ending'}"
        raise ConfigError(message)


def to_pandas(detections: Detections) -> Any:
    """Return a pandas data frame, one row per detection."""
    try:
        import pandas as pd
    except ImportError as error:
        raise ConfigError(_missing("pandas")) from error
    return pd.DataFrame([_row(one) for one in detections], columns=list(_COLUMNS))


def to_supervision(detections: Detections) -> Any:
    """Return the detections as the supervision library has them."""
    try:
        import supervision
    except ImportError as error:
        raise ConfigError(_missing("supervision")) from error
    return supervision.Detections(**detections.to_arrays())


def to_html(detections: Detections) -> str:
    """Return a table for notebooks, under the drawing where the image's file is known."""
    rows = [
        f"<tr><td>{html.escape(one.class_name)}</td><td>{one.score:.3f}</td>"
        f"<td>{', '.join(f'{value:.0f}' for value in one.box)}</td></tr>"
        for one in detections[:_NOTEBOOK_ROWS]
    ]
    more = len(detections) - len(rows)
    title = html.escape(f"{detections.image_id}: {detections.summary()}")
    picture = ""
    if (drawn := _drawn(detections)) is not None:
        image = embed(drawn)
        size = f'width="{image.width}" height="{image.height}"'
        style = "max-width: 100%; height: auto"
        picture = f'<img src="{image.src}" alt="{title}" {size} style="{style}">'
    head = "<tr><th>class</th><th>score</th><th>x1, y1, x2, y2</th></tr>"
    table = f"<table>{head}{''.join(rows)}</table>" if rows else ""
    rest = f"<p>and {more} more</p>" if more else ""
    return f"<div><p>{title}</p>{picture}{table}{rest}</div>"


def to_png(detections: Detections) -> bytes | None:
    """Return the drawing as a PNG; None where the image's file is not known or gone."""
    drawn = _drawn(detections)
    return None if drawn is None else encode(drawn, "PNG")


def _drawn(detections: Detections) -> PilImage.Image | None:
    """Return the drawing for a notebook; there an image that is gone is no error."""
    if detections.source is None:
        return None
    try:
        return draw(detections, None, _NOTEBOOK_SIDE)
    except DataError:
        return None


def _row(one: Detection) -> dict[str, Any]:
    values = (one.class_name, one.score, *one.box)
    return dict(zip(_COLUMNS, values, strict=True))


def _missing(library: str) -> str:
    return f"{library}: expected it to be installed, got none; pip install {library}"
