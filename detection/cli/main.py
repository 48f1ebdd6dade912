"""From the command line to a verb, and from an error to one line."""

from __future__ import annotations

import contextlib
import importlib.metadata
import logging
import os
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence

import detection
from detection.cli.parser import Parser, add_config_options, resolve_config
from detection.cli.verb import check_outputs
from detection.cli.verbs import VERBS
from detection.config import Config
from detection.errors import ConfigError, DetectionError
from detection.runs.config_io import did_you_mean, write_config


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb; give the exit code: 0, or 2 for what a user can mend, said in one line."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    debug = "--debug" in words
    try:
        code = _run([word for word in words if word != "--debug"])
        sys.stdout.flush()
        return code
    except DetectionError as error:
        if debug:
            raise
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except (ImportError, RuntimeError) as error:
        reason = _explained(error)
        if debug or not reason:
            raise
        print(f"error: {reason}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        if debug:
            raise
        print("error: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # who read the output has had enough, as in "| head"
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _explained(error: Exception) -> str:
    """Say what a user can do about an error of torch's; nothing about any other."""
    if "torchvision" in str(error):
        return _mismatch(error)
    if type(error).__name__ != "OutOfMemoryError" and "can't allocate memory" not in str(error):
        return ""
    reason = " ".join(str(error).split())
    return (
        "out of memory: lower features.scales, features.batch_size, finetune.batch_size, "
        f"pretrain.batch_size or svm.cache_gib, or take features.device cpu ({reason})"
    )


def _mismatch(error: Exception) -> str:
    """Say that torchvision was not built for this torch: then it lacks its operators."""
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("torch", "torchvision")]
    reason = " ".join(str(error).split())
    return (
        f"torchvision: expected one that fits torch, got {' with '.join(versions)} ({reason}); "
        "pip install --upgrade torch torchvision"
    )


def overview() -> str:
    """Give the help of the command itself."""
    width = max(map(len, VERBS)) + 4
    columns = max(60, shutil.get_terminal_size().columns)

    def entry(name: str, text: str) -> str:
        first = f"  {name}".ljust(width)
        return textwrap.fill(text, columns, initial_indent=first, subsequent_indent=" " * width)

    return "\n".join(
        [
            "usage: detection COMMAND [options]",
            "",
            "R-CNN and SPPnet, the two classic region detectors.",
            "",
            "commands:",
            *(entry(name, verb.summary) for name, verb in VERBS.items()),
            "",
            "options:",
            entry("--help", "show this; detection COMMAND --help explains a command"),
            entry("--version", "show the version"),
        ]
    )


def build_parser(name: str) -> Parser:
    """Make the parser of one verb."""
    verb = VERBS[name]
    names = [option.usage for option in verb.options if option.usage]
    parser = Parser(" ".join(["detection", name, *names, "[options]"]), verb.description)
    for option in verb.options:
        option.add_to(parser)
    if verb.base is not None:
        add_config_options(parser, verb.sections)
    return parser


def _run(words: Sequence[str]) -> int:
    """Find the verb and run it."""
    if not words or words[0] in {"-h", "--help", "help"}:
        print(overview())
        return 0
    if words[0] in {"-V", "--version"}:
        print(f"detection {detection.__version__}")
        return 0
    if words[0] not in VERBS:
        near = did_you_mean(words[0], VERBS) or f" ({', '.join(VERBS)})"
        message = f"{words[0]}: expected a command{near}"
        raise ConfigError(message)
    verb = VERBS[words[0]]
    parser = build_parser(words[0])
    if {"-h", "--help"} & set(words):
        parser.print_help()
        return 0
    options = parser.parse(words[1:])
    config = Config()
    if verb.base is not None:
        config = resolve_config(options, verb.base(options), verb.sections)
        if options.print_config:
            print(write_config(config), end="")
            return 0
    check_outputs(verb, options)
    with _messages():
        return verb.run(options, config) or 0


class _Messages(logging.Handler):
    """Shows what the package says, above a progress line where there is one.

    Warnings go to stderr, the rest to stdout.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Show one message."""
        from tqdm import tqdm

        if record.levelno > logging.INFO:
            tqdm.write(f"{record.levelname.lower()}: {self.format(record)}", file=sys.stderr)
        else:
            tqdm.write(self.format(record), file=sys.stdout)


@contextlib.contextmanager
def _messages() -> Iterator[None]:
    """Show the package's messages while a verb runs."""
    package = logging.getLogger("detection")
    handler, level = _Messages(), package.level
    package.addHandler(handler)
    package.setLevel(logging.INFO)
    try:
        yield
    finally:
        package.setLevel(level)
        package.removeHandler(handler)
