"""The errors that the package raises on purpose.

::

    Exception
    └── DetectionError          what a user can mend: one line on the command line, exit code 2
        ├── ConfigError         a configuration value, an option, a class list
        ├── DataError           a data set, an annotation, an image, a proposal or a feature store
        │   └── ImageError      one image: the only error for which a run may leave an image out
        └── CheckpointError     a weight file, a model file, a checkpoint

Programming mistakes (a wrong shape, a negative scale) stay builtin exceptions: ``ValueError``,
``TypeError``.

The grammar of a message is *location: expected X, got Y; remedy*, for example
``000012.xml: object 3: expected 0 <= xmin < xmax <= 500, got xmin=300 xmax=280``.
Every class takes exactly one string, so that each error survives the way back from a worker
process.
"""

import reprlib
import unicodedata


class DetectionError(Exception):
    """Say in one line what a user can mend."""


class ConfigError(DetectionError):
    """A configuration value, an option or a class list is wrong."""


class DataError(DetectionError):
    """A data set, annotation, image or store is wrong."""


class ImageError(DataError):
    """One image is at fault, and nothing else: see ``detection.io.image_errors``."""


class CheckpointError(DetectionError):
    """A weight, model or checkpoint file is wrong."""


def require(holds: bool, location: str, expected: str, got: object) -> None:
    """Raise ConfigError ``place: expected ..., got ...`` unless ``holds``."""
    if not holds:
        message = f"{location}: expected {expected}, got {shown(got)}"
        raise ConfigError(message)


def shown(value: object) -> str:
    """Return a value's repr for a message, truncated: files can hold values of any size."""
    return _SHORT.repr(value)[:_LONGEST]


def is_line(text: str) -> bool:
    """Return whether a text is one line that every terminal, table and file shows as it is.

    Control characters, ends of lines, halves of letters and marks that turn the direction of a line
    are not.
    """
    return not any(unicodedata.category(letter) in _ODD or letter in _TURNING for letter in text)


class _Short(reprlib.Repr):
    """Cuts nested values where they are wide or deep."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxlist, self.maxtuple, self.maxdict = 3, 8, 8, 4
        self.maxstring, self.maxother = 120, 120

    def repr_int(self, x: int, level: int) -> str:
        """Return a number's repr; Python refuses to format one of thousands of digits."""
        return repr(x) if x.bit_length() < 256 else f"a number of {x.bit_length():,} bits"


_SHORT = _Short()
_LONGEST = 200
_ODD = frozenset({"Cc", "Cs", "Zl", "Zp"})
_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
