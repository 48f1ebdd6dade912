import pytest

from tests.report.fake_runs import make_benchmark, make_coco, make_run
from tests.report.pages import make_report


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """A small data set on disk."""
    return make_coco(tmp_path_factory.mktemp("data"), ("cat", "dog", "bird"))


@pytest.fixture(scope="session")
def runs(tmp_path_factory, data):
    """Two run folders, of SPPnet with a benchmark and of R-CNN."""
    folder = tmp_path_factory.mktemp("runs")
    make_run(folder / "spp", "sppnet", data=data, seed=1)
    make_run(folder / "rcnn", "rcnn", data=data, seed=2, skill=0.6)
    make_benchmark(folder / "spp")
    return folder / "spp", folder / "rcnn"


@pytest.fixture(scope="session")
def both(runs, tmp_path_factory):
    """The report on both runs: its text, and its page."""
    return make_report(runs, tmp_path_factory.mktemp("report") / "report.html")
