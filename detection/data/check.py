"""Find all issues of a data set in one pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

from detection.config import DataConfig
from detection.data.annotations import TWICE
from detection.data.check_parts import Part, check_parts, check_shards, issue_of
from detection.data.coco_examine import twins
from detection.data.coco_file import image_folder
from detection.data.issues import Action, composed, nearest
from detection.data.overlap import shared_files
from detection.data.roots import Source, sources_of
from detection.data.tables import kind_of, open_tables
from detection.data.tally import Tally
from detection.data.voc_lists import open_voc, read_split
from detection.errors import DataError
from detection.io.shards import Parallel, connected
from detection.words import counted

T = TypeVar("T")

OUT = Path("runs/check")
"""Where the shards of a check are."""

_CHUNK = 100
_PERCENT, _ENOUGH_BOXES = 100, 10
_ORDER: tuple[Action, ...] = ("stop", "skip", "mend", "note")
_MEANING = {
    "stop": "stops training or evaluation",
    "skip": "left out",
    "mend": "mended in memory",
    "note": "worth knowing",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One kind of problem: how often, and the first messages."""

    kind: str
    action: Action
    count: int
    firsts: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """The result of a check.

    Attributes:
        images: split -> images in its list.
        objects: split -> class name -> objects that can be used.
        findings: the gravest first.
    """

    images: Mapping[str, int]
    objects: Mapping[str, Mapping[str, int]]
    findings: tuple[Finding, ...]

    @property
    def clean(self) -> bool:
        """True where nothing is wrong; notes do not count."""
        return all(finding.action == "note" for finding in self.findings)

    def format(self) -> str:
        """Return the report as text."""
        lines = []
        for split, images in self.images.items():
            counts = self.objects.get(split, {})
            objects = counted(sum(counts.values()), "object")
            classes = counted(len(counts), "class")
            lines.append(f"{split}: {counted(images, 'image')}, {objects}, {classes}")
            if counts:
                shown = (f"{name} {count}" for name, count in sorted(counts.items()))
                lines.append("  " + ", ".join(shown))
        for finding in self.findings:
            lines.append(f"{finding.kind}: {finding.count} ({_MEANING[finding.action]})")
            lines += [f"  {message}" for message in finding.firsts]
            if finding.count > len(finding.firsts):
                lines.append(f"  ... and {finding.count - len(finding.firsts)} more")
        wrong = sum(finding.count for finding in self.findings if finding.action != "note")
        lines.append(f"{wrong} problems" if wrong else "nothing wrong")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class _How:
    """How lists are checked: see ``check_dataset``."""

    workers: int
    decode: bool
    parallel: Parallel | None
    out: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class _Checked:
    """A list's images, identifier -> file, and what was found in them."""

    source: Source
    images: Mapping[str, Path]
    tally: Tally


def check_dataset(
    config: DataConfig,
    splits: Sequence[Literal["train", "test"]] = ("train", "test"),
    *,
    workers: int = 0,
    decode: bool = True,
    parallel: Parallel | None = None,
    out: Path = OUT,
) -> CheckReport:
    """Read a whole data set and report all its issues; nothing stops the check.

    Args:
        config: the ``data`` section.
        splits: which of its two lists.
        workers: processes; 0 takes one per core.
        decode: decode every image too, which finds the damaged ones.
        parallel: where workers share the images; what they found stays in ``out/shards``, and a
            second call does what is missing there. None takes ``workers``.
        out: with ``parallel``, a folder that all workers see.
    """
    how = _How(workers=workers, decode=decode, parallel=parallel, out=out)
    with connected(parallel or Parallel()):
        return _check(config, splits, how)


def _check(
    config: DataConfig, splits: Sequence[Literal["train", "test"]], how: _How
) -> CheckReport:
    """Do what ``check_dataset`` does, connected to the workers."""
    checked: dict[tuple[str, str], _Checked] = {}
    of_split: dict[str, list[_Checked]] = {}
    for split in splits:
        for source in sources_of(config, split):
            key = (str(source.root), source.split)
            if key not in checked:
                checked[key] = _check_list(source, len(checked), how)
            of_split.setdefault(split, []).append(checked[key])
    total = Tally()
    for part in checked.values():
        total.merge(part.tally)
        _add_suspicions(total, part)
    _add_class_problems(total, config, of_split.get("train"))
    _add_twins(total)
    for name, parts in of_split.items():
        _add_copies(total, parts, "stop" if name == "test" else "skip")
    _add_shared(total, of_split)
    for source in {part.source.root: part.source for part in checked.values()}.values():
        if kind_of(source.config) == "voc":
            listed = [p.images for p in checked.values() if p.source.root == source.root]
            _add_orphans(total, source, {key for images in listed for key in images})
    names = _names_of(list(checked.values()))
    return CheckReport(
        images={name: len(part.images) for name, part in names.items()},
        objects={name: dict(part.tally.objects) for name, part in names.items()},
        findings=_findings(total),
    )


def _names_of(parts: Sequence[_Checked]) -> dict[str, _Checked]:
    """Return what to call each list: by its name, of several roots with that of its root."""
    if len({part.source.root for part in parts}) == 1:
        return {part.source.split: part for part in parts}
    return {f"{part.source.label} {part.source.split}": part for part in parts}


def _add_copies(total: Tally, parts: Sequence[_Checked], action: Action) -> None:
    """Find images of one list that a second root of it holds too."""
    before: list[Path] = []
    for part in parts:
        for path, twin in shared_files(before, part.images.values()):
            if not path.samefile(twin):
                what = f"expected an image of its own, got the same file as {path}; remove one"
                total.add(issue_of(TWICE, str(twin), what, action))
        before += part.images.values()


def _add_shared(total: Tally, of_split: Mapping[str, Sequence[_Checked]]) -> None:
    """Find images to test on that are also among those to train on."""
    train, test = (of_split.get(split, ()) for split in ("train", "test"))
    if {id(part) for part in train} == {id(part) for part in test}:
        return  # the same lists twice, by choice
    first, second = ([path for p in parts for path in p.images.values()] for parts in (train, test))
    for path, twin in shared_files(first, second):
        also = "" if twin == path else f", there as {twin}"
        what = f"expected in one list, got it in both{also}; choose disjoint lists"
        total.add(issue_of("in both lists", str(path), what, "mend"))


def _check_list(source: Source, number: int, how: _How) -> _Checked:
    tally = Tally()
    name = source.split
    try:
        images, parts = _open(source, how, tally)
    except DataError as error:
        location, _, what = str(error).partition(": ")
        tally.add(issue_of("unreadable list", location, what, "stop"))
        return _Checked(source=source, images={}, tally=tally)
    if how.parallel is None:
        tallies = check_parts(parts, name, how.workers)
    else:
        tallies = check_shards(parts, name, how.parallel, how.out / "shards" / f"list{number}")
    for one in tallies:
        tally.merge(one)
    return _Checked(source=source, images=images, tally=tally)


def _open(source: Source, how: _How, tally: Tally) -> tuple[dict[str, Path], list[Part]]:
    """Read a list and cut it into parts, each with only the tables that it needs."""
    config, name, root = source.config, source.split, source.root
    part = partial(Part, root=root, max_pixels=config.max_pixels, decode=how.decode)
    parts: list[Part] = []
    size = _CHUNK if how.parallel is None else how.parallel.images
    if kind_of(config) != "voc":
        coco = open_tables(config, name)
        root = image_folder(coco, root)
        part = partial(Part, root=root, max_pixels=config.max_pixels, decode=how.decode)
        for issue in (*coco.issues, *twins(coco, root)):
            tally.add(issue)
        for images in _chunks(coco.images, size):
            objects = {i.image_id: coco.objects.get(i.image_id, ()) for i in images}
            parts.append(
                part(source=replace(coco, objects=objects, images=(), annotations=()), items=images)
            )
        return {str(image.image_id): root / image.file_name for image in coco.images}, parts
    folder = open_voc(root, config.year, config.lists)
    listed = read_split(folder, name)
    for issue in listed.issues:
        tally.add(issue)
    for ids in _chunks(listed.image_ids, size):
        parts.append(part(source=folder.only(ids), items=ids))
    return {key: folder.image_path(key) for key in listed.image_ids}, parts


def _chunks(items: Sequence[T], size: int) -> list[Sequence[T]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def _add_suspicions(total: Tally, part: _Checked) -> None:
    """Report what no single image shows: a list without objects, boxes in other units."""
    name = part.source.split
    if (
        part.images
        and not part.tally.objects
        and not any(action == "stop" for _, action in part.tally.counts)
    ):
        what = "expected objects in these images, got none; look at what the annotations hold"
        total.add(issue_of("no objects", name, what, "stop"))
    largest, boxes = part.tally.largest_corner, sum(part.tally.objects.values())
    if boxes >= _ENOUGH_BOXES and largest <= _PERCENT < part.tally.smallest_side:
        what = (
            f"expected boxes in pixels of images of {part.tally.smallest_side} pixels and more, "
            f"got no corner beyond {largest:g}: are they percent of the image?"
        )
        total.add(issue_of("boxes in percent?", name, what, "stop"))


def _add_class_problems(total: Tally, config: DataConfig, train: Sequence[_Checked] | None) -> None:
    """Compare the classes found with those configured, or else with the training lists'."""
    tallies = [part.tally for part in train or ()]
    known = set(config.class_names or (name for tally in tallies for name in tally.objects))
    for name in sorted(set(total.objects) - known) if known else ():
        locations = total.locations[name]
        what = f"expected a known class, got {name[:60]!r}; {nearest(name, known)}"
        action: Action = "skip" if config.ignore_unknown_classes else "stop"
        for number, location in enumerate(locations):
            count = 1 if number else total.objects[name] - len(locations) + 1
            total.add(issue_of("unknown class", location, what, action), count)
    usable = Counter(dict.fromkeys(known, 1))
    if train is not None:
        counts = [tally.objects if config.train_difficult else tally.easy for tally in tallies]
        usable = sum(counts, Counter[str]())
    for name in sorted(known):
        if not usable[name]:
            what = "expected objects to train on, got none, or difficult ones only; drop the class"
            total.add(issue_of("class without objects", f"class {name!r}", what, "stop"))
    alike: dict[str, list[str]] = {}
    for name in sorted(total.objects):
        alike.setdefault("".join(name.casefold().split()), []).append(name)
    for names in alike.values():
        if len(names) > 1:
            what = f"expected names that differ, got {', '.join(map(repr, names))}; choose one"
            total.add(issue_of("class names alike", "classes", what, "note"))


def _add_twins(total: Tally) -> None:
    """Find files with the same content."""
    first: dict[bytes, str] = {}
    for digest, path in total.contents:
        other = first.setdefault(digest, path)
        if other != path:
            what = f"expected an image of its own, got the same file as {other}; remove one"
            total.add(issue_of("same image twice", path, what, "note"))


def _add_orphans(total: Tally, source: Source, listed: Collection[str]) -> None:
    """Find annotations without an image that no list names."""
    try:
        folder = open_voc(source.root, source.config.year, source.config.lists)
    except DataError:
        return
    for path in sorted((folder.path / "Annotations").glob("*.xml")):
        stem = composed(path.stem)
        if path.name.startswith("."):
            continue
        if stem not in folder.images and stem not in listed:
            what = f"expected an image {path.stem}, got none; remove the annotation"
            total.add(issue_of("annotation without image", str(path), what, "note"))


def _findings(total: Tally) -> tuple[Finding, ...]:
    findings = [
        Finding(kind=kind, action=action, count=count, firsts=tuple(total.firsts[kind, action]))
        for (kind, action), count in total.counts.items()
    ]
    return tuple(sorted(findings, key=lambda f: (_ORDER.index(f.action), -f.count, f.kind)))
