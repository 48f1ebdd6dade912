"""No input of the package is ever run as code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import detection

PACKAGE = Path(detection.__file__).parent
FORBIDDEN = {
    "pickle": r"\bpickle\.(loads?|dumps?|Unpickler|Pickler)\b|^\s*from pickle import|"
    r"^\s*(import|from)\s+(cPickle|dill|cloudpickle|shelve|marshal)\b",
    "joblib.load": r"\bjoblib\.(load|dump)\b",
    "unsafe YAML": r"\byaml\.(load|load_all|unsafe_load|full_load|Loader|UnsafeLoader)\b",
    "eval": r"(?<![\w.])(eval|exec)\(",
    "shell": r"shell\s*=\s*True|\bos\.(system|popen)\(",
    "numpy pickles": r"allow_pickle\s*=\s*True",
    "torch pickles": r"weights_only\s*=\s*False|torch\.load\((?![\s\S]{0,120}weights_only=True)",
    "plain XML": r"xml\.(etree|dom|sax)\S* import (parse|fromstring)|ElementTree\.parse\(",
    "templates": r"autoescape\s*=\s*False",
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_the_package_never_runs_what_it_reads(what: str) -> None:
    pattern = re.compile(FORBIDDEN[what], flags=re.MULTILINE)
    matches = [
        f"{path.relative_to(PACKAGE)}: {match.group(0).strip()}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for match in pattern.finditer(path.read_text(encoding="utf-8"))
    ]
    assert matches == []


@pytest.mark.parametrize(
    ("what", "line"),
    [
        ("pickle", "value = pickle.load(file)"),
        ("joblib.load", "svm = joblib.load(path)"),
        ("unsafe YAML", "yaml.load(text)"),
        ("eval", "x = eval(text)"),
        ("shell", "subprocess.run(command, shell=True)"),
        ("numpy pickles", "np.load(path, allow_pickle=True)"),
        ("torch pickles", "torch.load(path)"),
        ("torch pickles", "torch.load(path, weights_only=False)"),
        ("templates", "Environment(autoescape=False)"),
        ("plain XML", "tree = ElementTree.parse(path)"),
    ],
)
def test_the_search_finds_what_it_is_for(what: str, line: str) -> None:
    assert re.search(FORBIDDEN[what], line, flags=re.MULTILINE)


@pytest.mark.parametrize(
    ("what", "line"),
    [
        ("unsafe YAML", "yaml.safe_load(text)"),
        ("eval", "model.eval()"),
        ("torch pickles", 'torch.load(path, map_location="cpu", weights_only=True)'),
    ],
)
def test_the_search_passes_what_is_safe(what: str, line: str) -> None:
    assert not re.search(FORBIDDEN[what], line, flags=re.MULTILINE)
