from detection.data.dataset import read_dataset
from detection.report.browse import browse, choose, occupancy
from tests.evaluation.cases import truth
from tests.report.pages import Page


def test_browser_counts_objects_and_covers_every_class(data, tmp_path):
    dataset = read_dataset(data, "test")
    browse(dataset, tmp_path / "b.html", num_images=3)
    page = Page((tmp_path / "b.html").read_text())
    objects = sum(len(record.truth.labels) for record in dataset.records)
    assert f"{objects} objects" in page.words
    assert "1 image without objects" in page.words
    seen = {n for i in choose(dataset, 3) for n in dataset.records[i].truth.labels.tolist()}
    assert seen == {0, 1, 2}
    assert len(choose(dataset, 100)) == len(dataset.records)


def test_occupancy_counts_boxes_over_cells():
    counts = occupancy([truth("1", [[0, 0, 50, 100]], [0]), truth("2", [[0, 0, 100, 50]], [0])], 4)
    assert counts.tolist() == [[2, 2, 1, 1]] * 2 + [[1, 1, 0, 0]] * 2
