"""Run the Python of a page of the documentation: its figures, and the page as a notebook.

``python docs/figures/pages.py figures tutorial.md`` draws the images of a page anew: each
``plt.show()`` writes the image that the page shows next. ``python docs/figures/pages.py notebook
tutorial.md`` writes tutorial.ipynb beside it, with the printed lines and the figures of the page.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import io
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import matplotlib as mpl
from matplotlib import pyplot as plt
from PIL import Image

DOCS = Path(__file__).parents[1]
DPI, COLOURS = 100, 160
_PART = re.compile(
    r'^```(?P<language>\w+)(?: title="(?P<title>[^"\n]*)")?\n(?P<code>.*?)^```\n'
    r"|^!\[(?P<alt>[^\]]*)\]\((?P<target>[^)]+)\)\n",
    flags=re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A piece of a page.

    Attributes:
        kind: ``words``, ``image``, or the language of a fenced block.
        text: the words, the code, or what an image shows to those who cannot see it.
        title: of a block; the file of an image, as the page names it.
    """

    kind: str
    text: str
    title: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What a block of Python did: the lines it printed, its figures, its processor seconds."""

    code: str
    printed: str
    figures: tuple[Image.Image, ...]
    seconds: float


def parts(page: str) -> Iterator[Part]:
    """Return the words, blocks and images of a page in order."""
    text, end = (DOCS / page).read_text(encoding="utf-8"), 0
    for match in _PART.finditer(text):
        if words := text[end : match.start()].strip("\n"):
            yield Part(kind="words", text=words)
        end = match.end()
        if match["target"]:
            yield Part(kind="image", text=" ".join(match["alt"].split()), title=match["target"])
        else:
            yield Part(kind=match["language"], text=match["code"], title=match["title"] or "")
    if words := text[end:].strip("\n"):
        yield Part(kind="words", text=words)


def run(code: str, names: dict[str, Any]) -> Ran:
    """Run a block among the names that earlier ones left."""
    figures: list[Image.Image] = []
    start = time.process_time()
    with (
        contextlib.redirect_stdout(io.StringIO()) as output,
        patch.object(plt, "show", lambda: figures.append(_drawn())),
    ):
        exec(compile(code, "page", "exec"), names)
    seconds = time.process_time() - start
    return Ran(code=code, printed=output.getvalue(), figures=tuple(figures), seconds=seconds)


def run_page(page: str, change: Callable[[str], str] = str) -> Iterator[tuple[Ran, list[Path]]]:
    """Run a page in an empty folder; return each block and the image files that follow it.

    Args:
        page: of docs.
        change: what is done to the code before it runs.
    """
    mpl.use("Agg")
    names: dict[str, Any] = {}
    before, blocks = Path.cwd(), list(_with_images(page))
    with tempfile.TemporaryDirectory() as folder, mpl.rc_context():
        os.chdir(folder)
        try:
            for code, targets in blocks:
                yield run(change(code), names), targets
        finally:
            os.chdir(before)


def notebook(page: str) -> dict[str, Any]:
    """Return a page as a notebook whose cells have the outputs that the page shows."""
    cells: list[dict[str, Any]] = []
    for part in parts(page):
        if part.kind == "python":
            cells.append(_cell(cells, "code", part.text.rstrip("\n")))
        elif part.kind == "text" and cells[-1]["cell_type"] == "code":
            cells[-1]["outputs"].append(
                {"name": "stdout", "output_type": "stream", "text": _lines(part.text)}
            )
        elif part.kind == "image" and cells[-1]["cell_type"] == "code":
            cells[-1]["outputs"].append(_shown(DOCS / page, part))
        else:
            words = part.text
            if part.kind == "image":
                words = f"![{part.text}]({part.title})"
            elif part.kind != "words":
                words = f"```{part.kind}\n{part.text}```"
            if cells and cells[-1]["cell_type"] == "markdown":
                cells[-1]["source"] = _lines("".join(cells[-1]["source"]) + "\n\n" + words)
            else:
                cells.append(_cell(cells, "markdown", words))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def notebook_text(page: str) -> str:
    """Return the notebook's file."""
    return json.dumps(notebook(page), ensure_ascii=False, indent=1) + "\n"


def _with_images(page: str) -> Iterator[tuple[str, list[Path]]]:
    """Return the blocks of Python and the images between each and the next."""
    code, targets = "", list[Path]()
    for part in parts(page):
        if part.kind == "python":
            if code:
                yield code, targets
            code, targets = part.text, []
        elif part.kind == "image" and code:
            targets.append(((DOCS / page).parent / part.title).resolve())
    yield code, targets


def _drawn() -> Image.Image:
    """Return the current figure as an image of few colours, and close it."""
    buffer = io.BytesIO()
    plt.savefig(buffer, dpi=DPI, facecolor="white", bbox_inches="tight", pad_inches=0.08)
    plt.close()
    image = Image.open(buffer).convert("RGB")
    return image.quantize(COLOURS, dither=Image.Dither.NONE)


def _cell(cells: list[dict[str, Any]], kind: str, source: str) -> dict[str, Any]:
    cell = {"cell_type": kind, "id": f"cell-{len(cells)}", "metadata": {}}
    cell |= {"source": _lines(source)}
    return cell | ({"execution_count": None, "outputs": []} if kind == "code" else {})


def _shown(page: Path, part: Part) -> dict[str, Any]:
    content = base64.b64encode((page.parent / part.title).read_bytes()).decode()
    data = {"image/png": content, "text/plain": [part.text]}
    return {"data": data, "metadata": {}, "output_type": "display_data"}


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def draw_figures(page: str) -> None:
    """Write every image of a page, and say what each block took."""
    total = 0.0
    for block, targets in run_page(page):
        total += block.seconds
        print(block.printed, end="")
        print(f"### {block.seconds:.1f} s, {total:.1f} s in all", file=sys.stderr)
        for figure, target in zip(block.figures, targets, strict=True):
            target.parent.mkdir(parents=True, exist_ok=True)
            figure.save(target, optimize=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["figures", "notebook"])
    parser.add_argument("page", nargs="+", help="a page of docs, such as tutorial.md")
    arguments = parser.parse_args()
    for name in arguments.page:
        if arguments.what == "figures":
            draw_figures(name)
        else:
            written = notebook_text(name)
            (DOCS / name).with_suffix(".ipynb").write_text(written, encoding="utf-8")
