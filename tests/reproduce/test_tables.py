"""The tables as data."""

import statistics

import pytest

from detection.reproduce.settings import Choices
from detection.reproduce.table import VOC_CLASSES
from detection.reproduce.tables import TABLES

ROWS = [(table, row) for table in TABLES.values() for row in table.rows]
IDS = [f"{table.name}: {row.name}" for table, row in ROWS]


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_rows_have_names_and_folders_of_their_own(table, tmp_path):
    choices = Choices(out=tmp_path)
    assert len({row.name for row in table.rows}) == len(table.rows)
    assert len({choices.row_folder(row) for row in table.rows}) == len(table.rows)


@pytest.mark.parametrize(("table", "row"), ROWS, ids=IDS)
def test_the_published_classes_have_the_published_mean(table, row):
    if row.paper_classes:
        assert len(row.paper_classes) == len(VOC_CLASSES)
        assert statistics.fmean(row.paper_classes) == pytest.approx(row.paper, abs=0.051)
