"""Counts of problems and objects that add up over the parts of a data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from detection.data.annotations import CheckedImage
from detection.data.issues import Action, AnnotationIssue

_FIRSTS = 5


@dataclass(slots=True)
class Tally:
    """Counts that add up; of messages only the first few are kept.

    Attributes:
        counts: (kind, action) -> problems.
        firsts: (kind, action) -> the first messages.
        objects: class name -> objects.
        easy: class name -> objects that are not difficult.
        locations: class name -> where the first objects are.
        contents: (digest of an image file, its path).
        largest_corner: of all boxes, in pixels.
        smallest_side: of the images with objects, in pixels; 0 without one.
    """

    counts: Counter[tuple[str, Action]] = field(default_factory=Counter)
    firsts: dict[tuple[str, Action], list[str]] = field(default_factory=dict)
    objects: Counter[str] = field(default_factory=Counter)
    easy: Counter[str] = field(default_factory=Counter)
    locations: dict[str, list[str]] = field(default_factory=dict)
    contents: list[tuple[bytes, str]] = field(default_factory=list)
    largest_corner: float = 0.0
    smallest_side: int = 0

    def add(self, issue: AnnotationIssue, count: int = 1) -> None:
        """Count a problem."""
        key = (issue.kind, issue.action)
        self.counts[key] += count
        _keep(self.firsts.setdefault(key, []), issue.message)

    def add_image(self, item: CheckedImage) -> None:
        """Count an image's problems and objects."""
        for issue in item.issues:
            self.add(issue)
        if item.objects and item.size is not None:
            self._note_sides(min(item.size), max(max(o.box) for o in item.objects))
        seen = set()
        for checked in item.objects:
            self.objects[checked.class_name] += 1
            self.easy[checked.class_name] += not checked.difficult
            _keep(self.locations.setdefault(checked.class_name, []), checked.location)
            if (checked.class_name, checked.box) in seen:
                what = (
                    f"expected each object once, got a second {checked.class_name!r} in its place"
                )
                self.add(
                    AnnotationIssue(
                        kind="duplicate object", location=checked.location, what=what, action="note"
                    )
                )
            seen.add((checked.class_name, checked.box))

    def merge(self, other: Tally) -> None:
        """Add another tally."""
        self.counts += other.counts
        for key, messages in other.firsts.items():
            for message in messages:
                _keep(self.firsts.setdefault(key, []), message)
        self.objects += other.objects
        self.easy += other.easy
        for name, locations in other.locations.items():
            for location in locations:
                _keep(self.locations.setdefault(name, []), location)
        self.contents += other.contents
        if other.smallest_side:
            self._note_sides(other.smallest_side, other.largest_corner)

    def to_row(self) -> dict[str, Any]:
        """Return the tally as plain data, for a file."""
        return {
            "counts": [[*key, count] for key, count in self.counts.items()],
            "firsts": [[*key, messages] for key, messages in self.firsts.items()],
            "objects": self.objects,
            "easy": self.easy,
            "locations": self.locations,
            "contents": [[digest.hex(), path] for digest, path in self.contents],
            "largest_corner": self.largest_corner,
            "smallest_side": self.smallest_side,
        }

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Tally:
        """Return what ``to_row`` was called on."""
        return cls(
            counts=Counter({(kind, action): count for kind, action, count in row["counts"]}),
            firsts={(kind, action): messages for kind, action, messages in row["firsts"]},
            objects=Counter(row["objects"]),
            easy=Counter(row["easy"]),
            locations=row["locations"],
            contents=[(bytes.fromhex(digest), path) for digest, path in row["contents"]],
            largest_corner=row["largest_corner"],
            smallest_side=row["smallest_side"],
        )

    def renamed(self, found: str, called: str) -> Tally:
        """Return the same with another name of a folder in each message and path.

        Args:
            found: how paths begin.
            called: how they shall begin.
        """
        return replace(
            self,
            firsts={k: [m.replace(found, called) for m in v] for k, v in self.firsts.items()},
            locations={k: [m.replace(found, called) for m in v] for k, v in self.locations.items()},
            contents=[(digest, path.replace(found, called)) for digest, path in self.contents],
        )

    def _note_sides(self, side: int, corner: float) -> None:
        self.smallest_side = min(self.smallest_side or side, side)
        self.largest_corner = max(self.largest_corner, corner)


def _keep(messages: list[str], message: str) -> None:
    if len(messages) < _FIRSTS:
        messages.append(message)
