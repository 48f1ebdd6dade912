"""Where the real images are, beside the checkout."""

from pathlib import Path

import pytest

REAL_SUBSET = Path(__file__).parents[3] / "shared" / "voc2012-subset" / "VOCdevkit"
needs_real_subset = pytest.mark.skipif(
    not REAL_SUBSET.is_dir(), reason="the real subset is not beside the checkout"
)
