"""One VOC annotation file: from XML to objects, and back.

Nothing in an annotation is trusted: entities are refused, depth and length are bounded, the
``filename`` is never opened.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, ElementTree, ParseError, SubElement, TreeBuilder, indent

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from detection.data.issues import AnnotationIssue, Corners, composed
from detection.errors import DataError, shown
from detection.values import Size

MAX_DEPTH = 64
"""Deeper nesting is refused; VOC's own annotations are four levels deep."""

MAX_BYTES = 64 * 1024 * 1024
"""A longer annotation file is refused; ten thousand objects take 3 MB."""

_SIDES = ("xmin", "ymin", "xmax", "ymax")
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_FLAG = {"0": False, "false": False, "1": True, "true": True}
_DIFFICULT = {"0": False, "false": False, "unspecified": False, "": False, "1": True, "true": True}


@dataclass(frozen=True, slots=True, kw_only=True)
class VocObject:
    """One object of an annotation file.

    Attributes:
        number: position among the file's objects, from 1.
        class_name: without blanks at its ends.
        corners: xmin, ymin, xmax, ymax as they stand in the file: 1-based, inclusive.
        difficult: the flag; False where it is absent.
        truncated: the flag; None where it says neither yes nor no.
        occluded: the flag, which VOC has since 2008; None where it says neither.
    """

    number: int
    class_name: str
    corners: Corners
    difficult: bool
    truncated: bool | None = None
    occluded: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """The content of an annotation file.

    Attributes:
        filename: of the image, to be compared only.
        size: (height, width), None where absent or zero.
        objects: those that could be read.
        issues: everything that was wrong.
    """

    filename: str
    size: Size | None
    objects: tuple[VocObject, ...]
    issues: tuple[AnnotationIssue, ...]


class _BoundedBuilder:
    """Build a tree of limited depth."""

    def __init__(self) -> None:
        self._builder = TreeBuilder()
        self._depth = 0

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            message = f"expected at most {MAX_DEPTH} nested elements, got more; not an annotation"
            raise DataError(message)
        self._builder.start(tag, attributes)

    def end(self, tag: str) -> None:
        self._depth -= 1
        self._builder.end(tag)

    def data(self, text: str) -> None:
        self._builder.data(text)

    def close(self) -> Element:
        return self._builder.close()


def parse_annotation(data: bytes, location: str) -> Annotation:
    """Read the bytes of an annotation file; faults are listed in the result's ``problems``."""
    try:
        root = _parse_xml(data)
    except DataError as error:
        return _nothing("not an annotation", location, str(error))
    issues: list[AnnotationIssue] = []
    objects: list[VocObject] = []
    for number, element in enumerate(_object_elements(root), start=1):
        try:
            objects.append(_object(element, number, location, issues))
        except DataError as error:
            where = f"{location}: object {number}"
            issues.append(
                AnnotationIssue(
                    kind="unreadable object", location=where, what=str(error), action="stop"
                )
            )
    size = _size(root)
    if size is None:
        what = "expected a size, got none; taken from the image"
        issues.append(AnnotationIssue(kind="no size", location=location, what=what, action="note"))
    return Annotation(
        filename=_text(root, "filename") or "",
        size=size,
        objects=tuple(objects),
        issues=tuple(issues),
    )


def _object_elements(root: Element) -> list[Element]:
    """Return the objects, also those that stand in an element of their own, such as <objects>."""
    direct = root.findall("object")
    return direct or [child for wrapper in root for child in wrapper.findall("object")]


def _nothing(kind: str, location: str, what: str) -> Annotation:
    issue = AnnotationIssue(kind=kind, location=location, what=what, action="stop")
    return Annotation(filename="", size=None, objects=(), issues=(issue,))


def _parse_xml(data: bytes) -> Element:
    if len(data) > MAX_BYTES:
        message = f"expected at most {MAX_BYTES:,} bytes, got {len(data):,}; not an annotation"
        raise DataError(message)
    parser = DefusedXMLParser(target=_BoundedBuilder())
    try:
        parser.feed(data)
        root: Element = parser.close()
    except DefusedXmlException as error:
        message = f"expected no entities, got {type(error).__name__}; remove the DOCTYPE's entities"
        raise DataError(message) from error
    except ParseError as error:
        line, column = error.position
        message = f"line {line}, column {column}: expected XML, got {_cause(data, error)}"
        raise DataError(message) from error
    except (ValueError, LookupError) as error:  # an encoding that Python does not know
        message = f"expected XML, got {str(error)[:80]}; save the file as UTF-8"
        raise DataError(message) from error
    if root.tag != "annotation":
        message = f"expected <annotation> as the outermost element, got <{root.tag[:40]}>"
        raise DataError(message)
    return root


def _cause(data: bytes, error: ParseError) -> str:
    if not data.strip():
        return "an empty file; write it again"
    if b"\x00" not in data:
        try:
            data.decode("utf-8")
        except UnicodeDecodeError:
            return (
                "bytes that are not UTF-8; save the file as UTF-8 or declare its encoding, such as "
                '<?xml version="1.0" encoding="latin-1"?>'
            )
    reason = str(error).rsplit(":", maxsplit=1)[0][:80]
    return f"{reason}; write the file again"


def _object(
    element: Element, number: int, location: str, issues: list[AnnotationIssue]
) -> VocObject:
    class_name = _text(element, "name")
    if not class_name:
        message = "expected <name>, got none; add the class name"
        raise DataError(message)
    boxes = element.findall("bndbox")
    if len(boxes) != 1:
        message = f"expected one <bndbox>, got {len(boxes)}; each object has one box"
        raise DataError(message)
    xmin, ymin, xmax, ymax = (_number(boxes[0], side) for side in _SIDES)
    flag = _text(element, "difficult")
    difficult = _DIFFICULT.get("" if flag is None else flag.lower())
    if difficult is None:
        message = f"expected <difficult> 0 or 1, got {shown(flag)}; correct it"
        raise DataError(message)
    if flag is None or flag.lower() in {"unspecified", ""}:
        issues.append(
            AnnotationIssue(
                kind="difficult unspecified",
                location=f"{location}: object {number}",
                what=f"expected <difficult> 0 or 1, got {flag or 'none'}; read as 0",
                action="note",
            )
        )
    return VocObject(
        number=number,
        class_name=composed(class_name),
        corners=(xmin, ymin, xmax, ymax),
        difficult=difficult,
        truncated=_FLAG.get((_text(element, "truncated") or "").lower()),
        occluded=_FLAG.get((_text(element, "occluded") or "").lower()),
    )


def _number(box: Element, side: str) -> float:
    text = _text(box, side)
    if text is None:
        message = f"expected <{side}>, got none; add it"
        raise DataError(message)
    value = float(text) if _NUMBER.fullmatch(text) else math.nan
    if not math.isfinite(value):
        message = f"expected a number as <{side}>, got {text[:40]!r}; correct it"
        raise DataError(message)
    return value


def _text(element: Element, tag: str) -> str | None:
    """Return the stripped text of a direct child, or None without such a child."""
    child = element.find(tag)
    return None if child is None else (child.text or "").strip()


def _size(root: Element) -> Size | None:
    element = root.find("size")
    if element is None:
        return None
    height, width = (_length(_text(element, side)) for side in ("height", "width"))
    return (height, width) if min(height, width) > 0 else None


def _length(text: str | None) -> int:
    """Return a whole number of pixels, 0 if absent."""
    value = float(text) if text is not None and _NUMBER.fullmatch(text) else math.nan
    return round(value) if math.isfinite(value) else 0


def write_voc_annotation(
    path: Path, image_name: str, size: Size, objects: Sequence[VocObject], *, folder: str = "VOC"
) -> None:
    """Write one annotation file in VOC's layout.

    Args:
        path: the .xml file.
        image_name: the image's file name.
        size: (height, width) of the image.
        objects: corners 1-based, inclusive.
        folder: the data set's name.
    """
    root = Element("annotation")
    SubElement(root, "folder").text = folder
    SubElement(root, "filename").text = image_name
    size_element = SubElement(root, "size")
    for tag, value in (("width", size[1]), ("height", size[0]), ("depth", 3)):
        SubElement(size_element, tag).text = str(value)
    SubElement(root, "segmented").text = "0"
    for item in objects:
        element = SubElement(root, "object")
        for tag, text in (
            ("name", item.class_name),
            ("pose", "Unspecified"),
            ("truncated", "Unspecified" if item.truncated is None else str(int(item.truncated))),
            ("difficult", str(int(item.difficult))),
        ):
            SubElement(element, tag).text = text
        if item.occluded is not None:
            SubElement(element, "occluded").text = str(int(item.occluded))
        box = SubElement(element, "bndbox")
        for side, corner in zip(_SIDES, item.corners, strict=True):
            SubElement(box, side).text = str(int(corner) if corner == int(corner) else corner)
    indent(root, "\t")
    ElementTree(root).write(path, encoding="utf-8")
