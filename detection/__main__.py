"""The command ``detection``, also as ``python -m detection``."""

from __future__ import annotations

import atexit
import os
import sys

TYPE_CHECKING = False  # as typing has it, without its import
if TYPE_CHECKING:
    from typing import NoReturn

INTERRUPTED = 130


def main() -> int:
    """Run the command line; return the exit code.

    The import stands inside: Ctrl-C in the first moments of a command is one line as well.
    """
    try:
        from detection.cli.main import main as run

        code = run()
    except KeyboardInterrupt:
        if "--debug" in sys.argv:
            raise
        sys.stderr.write("error: interrupted\n")
        _leave()
    if code == INTERRUPTED:
        _leave()
    return code


def _leave() -> NoReturn:
    """End the process at once: threads that still search would keep it for seconds.

    Python would also end by the signal, without the exit code, where ``exec`` was interrupted.
    """
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    sys.exit(main())
