"""``python -m detection`` is the command ``detection``."""

import sys

from detection.cli import main

if __name__ == "__main__":
    sys.exit(main())
