"""The command on weight files."""

from __future__ import annotations

import argparse
from pathlib import Path

from detection.cli.command import Command, flag, folder, option
from detection.config import Config
from detection.errors import require

_PREPROCESSINGS = ("auto", "caffe", "constant128", "torchvision", "half")


def weights(options: argparse.Namespace, config: Config) -> None:
    """List the weights of every backbone, or import a weight file.

    'weights list' shows for each backbone where its weights can come from. 'weights import FILE
    --backbone NAME --out FILE.safetensors' reads a .caffemodel, a state dict or a .safetensors file
    and writes one that --backbone.weights can name without --backbone.preprocessing.
    """
    if options.action == "list":
        _list(options)
    else:
        _import(options)


def _list(options: argparse.Namespace) -> None:
    import json

    from detection.backbones.weight_list import format_backbones, list_backbones, other_files
    from detection.io.files import to_plain

    given = [str(path) for path in (options.file, options.out) if path is not None]
    require(not given, "weights list", "no file", " ".join(given))
    entries = list_backbones(options.folder)
    if options.json:
        print(json.dumps(to_plain(entries), indent=2))
    else:
        print(format_backbones(entries, other_files(options.folder)))


def _import(options: argparse.Namespace) -> None:
    require(options.file is not None, "weights import", "a file to read", options.file)
    require(options.file.exists(), str(options.file), "a file to read", "no such file")
    require(bool(options.backbone), "--backbone", "the name of a network", options.backbone)
    require(options.out is not None, "--out", "a file to write", options.out)
    suffix = options.out.suffix
    require(suffix == ".safetensors", "--out", "a name that ends in .safetensors", str(options.out))
    same = options.out.exists() and options.file.exists() and options.out.samefile(options.file)
    require(not same, "--out", "another file than the one to read", str(options.out))
    from detection.backbones.weight_import import import_weights, save_imported

    imported = import_weights(
        options.file,
        options.backbone,
        preprocessing=options.preprocessing,
        levels=options.levels,
    )
    save_imported(options.out, imported)
    name = imported.header["backbone"]
    print(f"{options.out}: {imported.format()}")
    print(f"use it with --backbone.name {name} --backbone.weights {options.out}")


def level_list(text: str) -> tuple[int, ...]:
    """Read the levels of a pyramid: whole numbers with commas between them."""
    words = text.split(",")
    if not all(word.strip().isdecimal() for word in words):
        message = f"expected whole numbers such as 1,2,3,6, got {text!r}"
        raise argparse.ArgumentTypeError(message)
    return tuple(int(word) for word in words)


WEIGHTS_COMMANDS = {
    "weights": Command(
        run=weights,
        options=(
            option("action", "list or import", choices=("list", "import"), metavar="action"),
            option("file", "import: the file to read", nargs="?", type=Path),
            option("--backbone", "import: whose weights they are", metavar="NAME"),
            option("--out", "import: the file to write", type=Path, metavar="FILE"),
            option(
                "--preprocessing",
                "import: what the weights expect; auto takes that of the file or its network",
                choices=_PREPROCESSINGS,
                default="auto",
            ),
            option(
                "--levels",
                "import: the order of the pyramid that a .caffemodel's fc6 reads, where it is not "
                "1,2,3,6",
                type=level_list,
                default=(),
                metavar="N,N,...",
            ),
            folder("--folder", "list: where imported files lie", "data/weights"),
            flag("--json", "list: as JSON"),
        ),
    ),
}
