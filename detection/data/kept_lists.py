"""The lists that were drawn for a run, kept in its folder so that they stay what they were."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from detection.config import DataConfig
from detection.data.roots import alone
from detection.data.split import LISTS, Parts
from detection.data.tables import drawn_tables, kind_of
from detection.data.voc_lists import open_voc
from detection.io.files import write_json_atomic

_LOG = logging.getLogger(__name__)


def with_kept_lists(config: DataConfig, run: Path, *, write: bool = False) -> DataConfig:
    """Return the configuration that reads the lists which were drawn for a run.

    Where a folder brings no lists, they are drawn; an image that is added to the folder would
    change the draw, and move images from one list to the other.

    Args:
        config: the ``data`` section.
        run: the run folder.
        write: draw and keep the lists where the run has none yet.

    Raises:
        DataError: if the data cannot be read, or the file not be written.
    """
    path = run / LISTS
    if not path.is_file() and write:
        lists = drawn_lists(config)
        if lists:
            write_json_atomic(path, lists)
            _LOG.info("%s: the lists that were drawn", path)
    elif path.is_file():
        _LOG.info("%s: the lists of this run are used", path)
    return replace(config, lists=str(path)) if path.is_file() else config


def drawn_lists(config: DataConfig) -> dict[str, Parts]:
    """Return root -> its lists, for each root whose lists were drawn.

    Args:
        config: the ``data`` section.

    Raises:
        DataError: if a root cannot be read.
    """
    lists: dict[str, Parts] = {}
    for root in dict.fromkeys(config.roots):
        own = alone(config, root)
        if kind_of(own) == "voc":
            folder = open_voc(Path(root), own.year, own.lists)
            parts = folder.splits if folder.drawn else None
        else:
            parts = drawn_tables(own)
        if parts is not None:
            lists[root] = {name: parts[name] for name in ("trainval", "test")}
    return lists
