"""Nothing of the package needs what Windows lacks; what was not run there is in docs/devices.md."""

from __future__ import annotations

import ast
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import detection
from detection.inference.images import Summary, peak_memory_gib
from detection.io import files

PACKAGE = Path(detection.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))

UNIX_MODULES = {"fcntl", "grp", "posix", "pwd", "resource", "termios", "tty", "syslog"}

UNIX_NAMES = {
    "os": {
        *("fork", "forkpty", "getuid", "geteuid", "getpgid", "killpg", "setsid", "mkfifo"),
        *("sched_getaffinity", "sched_setaffinity", "posix_fadvise", "statvfs", "sysconf"),
        *("O_NOFOLLOW", "O_DIRECTORY", "O_CLOEXEC", "O_NONBLOCK", "getloadavg", "uname", "wait"),
    },
    "signal": {
        *("SIGHUP", "SIGKILL", "SIGALRM", "SIGUSR1", "SIGUSR2", "SIGCHLD", "SIGPIPE", "SIGQUIT"),
        *("setitimer", "alarm", "pthread_sigmask", "pause", "ITIMER_REAL", "SIG_BLOCK"),
    },
}

GUARDS = ("hasattr(", "getattr(", "sys.platform", "ImportError")

WITHOUT = f"""
import importlib, os, pkgutil, signal, sys
import detection
names = [m.name for m in pkgutil.walk_packages(detection.__path__, "detection.")]
names = [name for name in names if name != "detection.__main__"]
def import_all():
    for name in names:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if not error.name or error.name.partition(".")[0] in {UNIX_MODULES | {"detection"}!r}:
                raise
import_all()  # other packages look at the platform, and are not what is tested
for name in [name for name in sys.modules if name.partition(".")[0] == "detection"]:
    del sys.modules[name]
for name in {UNIX_MODULES!r}:
    sys.modules[name] = None
for module, lacking in {UNIX_NAMES!r}.items():
    for name in lacking & set(vars(sys.modules[module])):
        delattr(sys.modules[module], name)
import_all()
print(len(names))
"""


def test_every_module_can_be_imported_without_what_is_unix_only() -> None:
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT], capture_output=True, text=True, timeout=200, check=False
    )
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) > 150


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_what_is_unix_only_is_guarded(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    for node in ast.walk(tree):
        if not _is_unix_only(node):
            continue
        around = [f for f in functions if f.lineno <= node.lineno <= (f.end_lineno or 0)]
        assert around, f"{path}:{node.lineno}: at the top of the module"
        text = ast.get_source_segment(source, around[0]) or ""
        assert any(guard in text for guard in GUARDS), f"{path}:{node.lineno}: unguarded"


def _is_unix_only(node: ast.AST) -> bool:
    if isinstance(node, ast.Import):
        return any(alias.name in UNIX_MODULES for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        return node.module in UNIX_MODULES
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        # os.rename fails on Windows where the target exists; replace does not
        names = UNIX_NAMES.get(node.value.id, set()) | ({"rename"} & {node.attr})
        return node.value.id in UNIX_NAMES and node.attr in names
    return False


def test_without_the_resource_module_the_peak_is_not_said(monkeypatch: pytest.MonkeyPatch) -> None:
    known = peak_memory_gib()
    assert known is not None
    assert known > 0.01
    monkeypatch.setitem(sys.modules, "resource", None)
    assert peak_memory_gib() is None
    assert files._size_limit() == "the file system's limit"
    summary = Summary(images=3, failed={}, seconds=2.0, peak_gib=peak_memory_gib())
    assert summary.format() == "3 images in 2.0 s (1.50 a second)"
    summary = replace(summary, images=7, kept=4)
    assert summary.format() == "7 images, 4 there already, the others in 2.0 s (1.50 a second)"
