from dataclasses import replace

import pytest

from detection.report.loading import load_runs
from detection.report.paired import PairedDifference, paired_differences
from tests.report.fake_runs import make_run


@pytest.fixture(scope="module")
def compared(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("paired")
    for name, seed, skill in (("good", 1, 1.0), ("same", 1, 1.0), ("bad", 1, 0.2)):
        make_run(folder / name, "sppnet", data=data, seed=seed, skill=skill)
    return load_runs([folder / name for name in ("good", "same", "bad")])


def test_a_run_does_not_differ_from_its_copy_and_certainly_from_a_much_worse_one(compared):
    same, bad = paired_differences(compared)
    assert (same.difference, same.low, same.high) == (0.0, 0.0, 0.0)
    assert bad.low <= bad.difference <= bad.high < 0


def test_runs_on_other_images_or_without_detections_are_left_out(compared):
    good, same, _ = compared
    other = replace(same, metrics={**same.metrics, "num_images": 3})
    assert paired_differences([good, other, replace(same, detections=None)]) == []


def test_a_single_run_has_nothing_to_differ_from(compared):
    assert paired_differences(compared[:1]) == []


def test_points_of_map_are_printed_with_their_sign():
    one = PairedDifference(name="a", difference=0.0123, low=-0.004, high=0.03)
    assert one.format() == "+1.2 (-0.4 to +3.0)"
