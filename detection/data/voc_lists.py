"""The lists of a folder in VOC layout, read or drawn."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from detection.data.image_files import EXTENSIONS, read_file
from detection.data.issues import AnnotationIssue, composed
from detection.data.split import parts_of, sole_list
from detection.data.voc_folder import VocFolder, describe, objects_in, open_voc_folder
from detection.errors import DataError

MAX_NAME = 200
"""Letters of an identifier; file systems end at 255 bytes."""

_MEMBERSHIP = {"1": True, "0": False, "-1": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The image ids of a split, in the order of its list, and what was wrong with the list."""

    image_ids: tuple[str, ...]
    issues: tuple[AnnotationIssue, ...]


def open_voc(root: Path, year: int = 0, lists: str = "") -> VocFolder:
    """Find a folder as ``open_voc_folder`` does, and divide it where it has but one list.

    CVAT writes such a list, ``default.txt``, for a task without subsets.

    Args:
        root: where to look.
        year: which ``VOC<year>``; 0 takes the only one there is.
        lists: the file of lists that were drawn before; empty draws.

    Raises:
        DataError: if there is no such folder, or the file's lists are not of its images.
    """
    folder = open_voc_folder(root, year, lists)
    if folder.splits:
        return folder
    name = sole_list(path.stem for path in folder.split_path("x").parent.glob("*.txt"))
    if name is None:
        return folder
    listed = read_split(folder, name)
    if any(issue.action == "stop" for issue in listed.issues):
        return folder
    objects = {key: objects_in(folder.annotation_path(key)) for key in listed.image_ids}
    parts, how = parts_of(lists, root, objects)
    describe(root, f"the list {name!r}", how, parts)
    whole = {name: listed.image_ids}
    return replace(folder, splits={**parts, **whole}, drawn=True)


def read_split(folder: VocFolder, split: str) -> Split:
    """Read ``ImageSets/Main/<split>.txt``.

    A second column, as in ``cat_train.txt``, says whether the image shows the class: images with 1
    are taken, those with -1 (absent) and 0 (difficult objects only) are left out.

    A folder without lists has those that ``open_voc`` made.

    Raises:
        DataError: if the list is missing, no text, or lists nothing.
    """
    if folder.splits:
        return Split(image_ids=folder.made_split(split), issues=())
    path = folder.split_path(split)
    if not path.is_file():
        lists = ", ".join(sorted(p.stem for p in path.parent.glob("*.txt"))[:20]) or "none"
        message = f"{path}: expected a list of images, got no such file; the lists are: {lists}"
        raise DataError(message)
    try:
        text = read_file(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"{path}: expected UTF-8 text, got byte {error.start} that is not; save it anew"
        raise DataError(message) from error
    image_ids: dict[str, None] = {}
    issues: list[AnnotationIssue] = []
    for number, line in enumerate(text.splitlines(), start=1):
        image_id, issue = _read_line(line.strip(), f"{path}: line {number}", folder.images)
        if image_id in image_ids:
            what = f"expected each image once, got {image_id!r} again; counted once"
            issue = AnnotationIssue(
                kind="duplicate in the list",
                location=f"{path}: line {number}",
                what=what,
                action="note",
            )
        if image_id is not None:
            image_ids[image_id] = None
        if issue is not None:
            issues.append(issue)
    if not image_ids and all(issue.action != "stop" for issue in issues):
        what = "expected at least one image, got none; list the images, one identifier a line"
        issues.append(
            AnnotationIssue(kind="empty list", location=str(path), what=what, action="stop")
        )
    return Split(image_ids=tuple(image_ids), issues=tuple(issues))


def _plain_name(line: str, images: Mapping[str, str]) -> str:
    """Return the stem that a line means, where tools write quotes or the extension with it."""
    bare = line[1:-1] if len(line) > 2 and line[0] == line[-1] == '"' else line
    stem, extension = os.path.splitext(bare)  # noqa: PTH122
    if extension.lower() in EXTENSIONS and bare not in images and stem in images:
        return stem
    return bare if bare in images else line


def _read_line(
    line: str, location: str, images: Mapping[str, str]
) -> tuple[str | None, AnnotationIssue | None]:
    """Return the line's image id, or the issue with it; neither for a blank line."""
    line = composed(line)
    if line not in images:
        line = _plain_name(line, images)
    columns = line.split()
    if len(columns) == 2 and columns[1] in _MEMBERSHIP and line not in images:
        if not _MEMBERSHIP[columns[1]]:
            what = f"expected 1 in the second column, got {columns[1]}; the image is left out"
            return None, AnnotationIssue(
                kind="listed as absent", location=location, what=what, action="note"
            )
        line = _plain_name(columns[0], images)
    parts = line.split("/")
    odd = {"", ".", ".."} & set(parts) if len(parts) > 1 else line in {".", ".."}
    if odd or any(mark in line for mark in "\\:\0") or len(line) > MAX_NAME:
        what = f"expected a plain identifier, got {line[:60]!r}; write the file's stem"
        return None, AnnotationIssue(
            kind="bad identifier", location=location, what=what, action="stop"
        )
    return line or None, None
