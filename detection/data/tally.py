"""Counts of problems and objects that add up over the parts of a data set."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from detection.data.examined import Examined
from detection.data.problems import Action, Problem

_FIRSTS = 5


@dataclass(slots=True)
class Tally:
    """Counts that add up; of messages only the first few are kept.

    Attributes:
        counts: (kind, action) -> problems.
        firsts: (kind, action) -> the first messages.
        objects: class name -> objects.
        easy: class name -> objects that are not difficult.
        places: class name -> where the first objects are.
        contents: (digest of an image file, its path).
    """

    counts: Counter[tuple[str, Action]] = field(default_factory=Counter)
    firsts: dict[tuple[str, Action], list[str]] = field(default_factory=dict)
    objects: Counter[str] = field(default_factory=Counter)
    easy: Counter[str] = field(default_factory=Counter)
    places: dict[str, list[str]] = field(default_factory=dict)
    contents: list[tuple[bytes, str]] = field(default_factory=list)

    def add(self, problem: Problem, count: int = 1) -> None:
        """Count a problem."""
        key = (problem.kind, problem.action)
        self.counts[key] += count
        _keep(self.firsts.setdefault(key, []), problem.message)

    def add_image(self, item: Examined) -> None:
        """Count an image's problems and objects."""
        for problem in item.problems:
            self.add(problem)
        seen = set()
        for found in item.objects:
            self.objects[found.class_name] += 1
            self.easy[found.class_name] += not found.difficult
            _keep(self.places.setdefault(found.class_name, []), found.place)
            if (found.class_name, found.box) in seen:
                what = f"expected each object once, got a second {found.class_name!r} in its place"
                self.add(
                    Problem(kind="duplicate object", place=found.place, what=what, action="note")
                )
            seen.add((found.class_name, found.box))

    def merge(self, other: Tally) -> None:
        """Add another tally."""
        self.counts += other.counts
        for key, messages in other.firsts.items():
            for message in messages:
                _keep(self.firsts.setdefault(key, []), message)
        self.objects += other.objects
        self.easy += other.easy
        for name, places in other.places.items():
            for place in places:
                _keep(self.places.setdefault(name, []), place)
        self.contents += other.contents


def _keep(messages: list[str], message: str) -> None:
    if len(messages) < _FIRSTS:
        messages.append(message)
