import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from detection.heads.calibration import Calibration, best_f1, fit_calibration, sigmoid


def drawn(count, slope, offset, seed=0, low=-2.0, high=2.0):
    """Scores, and outcomes that a logistic function of them decides."""
    random = np.random.default_rng(seed)
    scores = random.uniform(low, high, count)
    return scores, random.random(count) < sigmoid(slope * scores + offset)


def test_the_functions_that_decided_the_outcomes_are_found():
    lines = ((3.0, -1.0), (5.0, 2.0))
    classes = [drawn(20_000, *line, seed) for seed, line in enumerate(lines)]
    fitted = fit_calibration([s for s, _ in classes], [r for _, r in classes], 20_000, 7)
    assert fitted.slope == pytest.approx((3.0, 5.0), rel=0.06)
    assert fitted.offset == pytest.approx((-1.0, 2.0), abs=0.12)
    assert fitted.images == 7
    assert fitted.right == tuple(int(r.sum()) for _, r in classes)


def test_a_class_of_few_detections_stays_with_the_others():
    many = drawn(5000, 3.0, -1.0)
    for few in (np.zeros(0), np.array([0.2])):
        fitted = fit_calibration([many[0], few], [many[1], few > 1], 2000)
        assert fitted.slope[1] == pytest.approx(fitted.slope[0], rel=0.1)
        assert fitted.offset[1] == pytest.approx(fitted.offset[0], abs=0.2)


def test_a_score_that_means_the_opposite_still_keeps_its_order():
    good, bad = drawn(500, 3.0, 0.0), drawn(500, -6.0, 0.0, 1)
    fitted = fit_calibration([good[0], bad[0]], [good[1], bad[1]], 500)
    assert min(fitted.slope) > 0


@pytest.mark.parametrize("outcome", [True, False])
def test_too_few_of_either_outcome_give_no_probabilities(outcome):
    right = np.full(300, outcome)
    right[:9] = not outcome
    assert fit_calibration([np.linspace(-1, 1, 300)], [right], 300) is None
    assert fit_calibration([np.zeros(0)], [np.zeros(0, dtype=bool)], 0) is None


def test_probabilities_are_those_of_each_detections_class():
    calibration = Calibration(slope=(1.0, 2.0), offset=(0.0, -1.0), threshold=0.5)
    found = calibration.probabilities(torch.tensor([0.0, 0.0, 3.0]), torch.tensor([0, 1, 1]))
    expected = [0.5, 1 / (1 + np.e), 1 / (1 + np.exp(-5))]
    assert found.tolist() == pytest.approx(expected, rel=1e-6)
    assert found.dtype == torch.float32


@given(st.lists(st.floats(-5, 5, width=32), min_size=2, max_size=20))
def test_a_higher_score_of_a_class_is_never_less_probable(values):
    calibration = Calibration(slope=(7.0,), offset=(-3.0,), threshold=0.5)
    scores = torch.tensor(sorted(values))
    found = calibration.probabilities(scores, torch.zeros(len(scores), dtype=torch.int64))
    assert (found[1:] >= found[:-1]).all()


def test_plain_data_hold_everything():
    calibration = Calibration(
        slope=(1 / 3,), offset=(-0.1,), threshold=0.3, f1=0.5, images=9, right=(4,)
    )
    assert Calibration.from_dict(calibration.to_dict()) == calibration


def test_the_best_f1_is_that_of_every_threshold_tried():
    random = np.random.default_rng(3)
    for count in (1, 2, 7, 40):
        values = random.integers(1, 9, count) / 10
        right = random.random(count) < values
        threshold, f1 = best_f1(values, right, count)
        tried = {
            at: 2 * right[values >= at].sum() / ((values >= at).sum() + count)
            for at in (*np.unique(values), threshold)
        }
        assert f1 == pytest.approx(max(tried.values()))
        assert tried[threshold] == pytest.approx(f1)
        assert threshold not in values


def test_the_threshold_lies_between_two_detections():
    assert best_f1(np.array([0.9, 0.4, 0.2]), np.array([True, True, False]), 2) == (
        pytest.approx(0.3),
        1.0,
    )
