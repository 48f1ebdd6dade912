from __future__ import annotations

import numpy as np
import pytest

from detection.proposals.selective_search import cells

pytest.importorskip("numba")


def test_more_cells_than_the_first_table_holds_are_kept_apart() -> None:
    labels = np.arange(90 * 70, dtype=np.int32).reshape(1, 90, 70)
    of_pixel, regions, sizes, boxes = cells.intersect_segmentations(labels)
    assert of_pixel.tolist() == labels[0].tolist()
    assert regions[0].tolist() == list(range(6300))
    assert set(sizes.tolist()) == {1}
    assert boxes[71].tolist() == [1, 1, 2, 2]
    assert len(cells.unique_pairs(cells.touching_cells(of_pixel))) == (
        90 * 69 + 89 * 70 + 89 * 69  # at a side, and at a corner
    )
