"""The fenced blocks of the documentation's pages, and how their commands are run."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
_FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    language: str
    title: str
    text: str


def blocks(page: str) -> list[Block]:
    content = (DOCS / page).read_text(encoding="utf-8")
    return [
        Block(language, "".join(re.findall(r'title="([^"]*)"', options)), text)
        for language, options, text in _FENCE.findall(content)
    ]


def commands(block: Block) -> list[tuple[list[str], int]]:
    """The arguments of each ``detection`` command, and the exit code that a comment announces."""
    lines = block.text.replace("\\\n", " ").splitlines()
    actual = []
    for line in lines:
        words = shlex.split(line, comments=True)
        if words and words[0] == "detection":
            code = re.search(r"# exit code (\d)", line)
            actual.append((words[1:], int(code.group(1)) if code else 0))
    return actual
