"""Parse the command line, run the command, and report an error in one line."""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import logging
import os
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

import detection
from detection.cli.command import check_outputs
from detection.cli.commands import COMMANDS
from detection.cli.parser import Parser, add_config_options, resolve_config
from detection.config import Config
from detection.errors import ConfigError, DetectionError
from detection.io.image_errors import NO_MEMORY, is_out_of_memory
from detection.io.interrupts import is_interrupt, raise_if_interrupted, remembered
from detection.runs.config_io import did_you_mean, write_config


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit code.

    0, or 2 for what a user can mend, said in one line: also a full disk, too little memory, a
    network that fails. 130 after Ctrl-C.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    if arguments is None:
        _write_any_letter()
    debug = "--debug" in words
    with remembered(last=arguments is None):
        try:
            code = _run([word for word in words if word != "--debug"])
            sys.stdout.flush()
            raise_if_interrupted()
            return code
        except BrokenPipeError:  # who read the output has had enough, as in "| head"
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 141
        except (Exception, KeyboardInterrupt) as error:
            line = _one_line(error)
            if debug or line is None:
                raise
            print(f"error: {' '.join(line.split())}", file=sys.stderr)
            return 130 if is_interrupt(error) else 2


def _write_any_letter() -> None:
    """Let a terminal that lacks a letter print its code instead of stopping the work."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _one_line(error: BaseException) -> str | None:
    """Return the message for an error; None for a mistake in the program, which has a traceback."""
    if is_interrupt(error):
        return "interrupted"
    if isinstance(error, DetectionError):
        return str(error)
    if isinstance(error, MemoryError):
        return NO_MEMORY
    if isinstance(error, OSError) and error.errno is not None:
        where = " -> ".join(str(name) for name in (error.filename, error.filename2) if name)
        return ": ".join(part for part in (where, error.strerror) if part)
    if is_out_of_memory(error):
        return (
            "out of memory: lower features.scales, features.batch_size, finetune.batch_size, "
            f"pretrain.batch_size or svm.cache_gib, or take features.device cpu ({error})"
        )
    if isinstance(error, ImportError) and ("cv2" in str(error) or "libGL" in str(error)):
        from detection.proposals.opencv import explain_import

        return explain_import(error)
    if isinstance(error, ImportError | RuntimeError) and "torchvision" in str(error):
        return _mismatch(error)
    return None


def _mismatch(error: Exception) -> str:
    """Say that torchvision was not built for this torch: then it lacks its operators."""
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("torch", "torchvision")]
    reason = " ".join(str(error).split())
    return (
        f"torchvision: expected one that fits torch, got {' with '.join(versions)} ({reason}); "
        "pip install --upgrade torch torchvision"
    )


def overview() -> str:
    """Return the help text of ``detection`` itself."""
    width = max(map(len, COMMANDS)) + 4
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
            *(entry(name, command.summary) for name, command in COMMANDS.items()),
            "",
            "options:",
            entry("--help", "show this; detection COMMAND --help explains a command"),
            entry("--version", "show the version"),
        ]
    )


def build_parser(name: str) -> Parser:
    """Make the parser of one command."""
    command = COMMANDS[name]
    names = [option.usage for option in command.options if option.usage]
    parser = Parser(" ".join(["detection", name, *names, "[options]"]), command.description)
    for option in command.options:
        option.add_to(parser)
    if command.base is not None:
        add_config_options(parser, command.sections)
    return parser


def _run(words: Sequence[str]) -> int:
    """Find the command and run it."""
    if not words or words[0] in {"-h", "--help", "help"}:
        print(overview())
        return 0
    if words[0] in {"-V", "--version"}:
        print(f"detection {detection.__version__}")
        return 0
    if words[0] not in COMMANDS:
        near = did_you_mean(words[0], COMMANDS) or f" ({', '.join(COMMANDS)})"
        message = f"{words[0]}: expected a command{near}"
        raise ConfigError(message)
    command = COMMANDS[words[0]]
    parser = build_parser(words[0])
    if {"-h", "--help"} & set(words):
        parser.print_help()
        return 0
    options = parser.parse(words[1:])
    _check_current_folder()
    with _messages():
        config = Config()
        if command.base is not None:
            config = resolve_config(options, command.base(options), command.sections)
            if options.print_config:
                print(write_config(config), end="")
                return 0
        check_outputs(command, options)
        return command.run(options, config) or 0


def _check_current_folder() -> None:
    """Raise ConfigError if it has been removed: MKL would end the process without a word of it."""
    try:
        Path.cwd()
    except FileNotFoundError:
        message = "the current folder has been removed; change to one that exists"
        raise ConfigError(message) from None


class _Messages(logging.Handler):
    """Shows log messages above the progress line.

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
    """Show the package's messages while a command runs."""
    package = logging.getLogger("detection")
    handler, level = _Messages(), package.level
    package.addHandler(handler)
    package.setLevel(logging.INFO)
    try:
        yield
    finally:
        package.setLevel(level)
        package.removeHandler(handler)
