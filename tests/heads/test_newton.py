import numpy as np
import pytest
import torch

from detection.config import SvmConfig
from detection.heads.svm import Svms, fit_linear_svms, svm_objective

K = 3
NEWTON = SvmConfig(tolerance=1e-4)


@pytest.mark.parametrize("tolerance", [1e-1, 1e-2, 1e-3, 1e-4])
def test_newton_stops_within_its_tolerance_of_the_optimum(problem, tolerance):
    x, targets = problem
    config = SvmConfig(tolerance=tolerance)
    best = svm_objective(fit_linear_svms(x, targets, SvmConfig(tolerance=1e-6)), x, targets, config)
    reached = svm_objective(fit_linear_svms(x, targets, config), x, targets, config)
    assert (reached <= best * (1 + tolerance)).all()


def test_newton_reaches_the_objective_of_liblinear(problem):
    x, targets = problem
    ours = svm_objective(fit_linear_svms(x, targets, NEWTON), x, targets, NEWTON)
    config = SvmConfig(solver="sklearn")
    theirs = svm_objective(fit_linear_svms(x, targets, config), x, targets, NEWTON)
    assert ours.tolist() == pytest.approx(theirs.tolist(), rel=2e-3)


def test_classes_trained_together_equal_classes_trained_alone(problem):
    x, targets = problem
    together = fit_linear_svms(x, targets, SvmConfig(tolerance=1e-6))
    for k in range(K):
        used = targets[:, k] != 0
        alone = fit_linear_svms(x[used], targets[used, k : k + 1], SvmConfig(tolerance=1e-6))
        assert torch.allclose(together.weight[k], alone.weight[0], atol=1e-3)


def test_start_changes_the_time_not_the_result(problem):
    x, targets = problem
    config = SvmConfig(tolerance=1e-6)
    cold = fit_linear_svms(x, targets, config)
    far = Svms(weight=torch.ones(K, 40), bias=torch.ones(K))
    for start in (cold, far):
        warm = fit_linear_svms(x, targets, config, initial=start)
        assert torch.allclose(warm.weight, cold.weight, atol=1e-3)
        assert torch.allclose(warm.bias, cold.bias, atol=1e-2)


def test_fitting_leaves_its_start_as_it_was(problem):
    x, targets = problem
    start = Svms(weight=torch.ones(K, 40), bias=torch.ones(K))
    fit_linear_svms(x, targets, NEWTON, initial=start)
    assert torch.equal(start.weight, torch.ones(K, 40))
    assert torch.equal(start.bias, torch.ones(K))


def test_rows_in_blocks_and_in_bfloat16_give_nearly_the_same(problem):
    x, targets = problem
    whole = fit_linear_svms(x, targets, NEWTON)
    halves = fit_linear_svms([x[:90], x[90:].bfloat16()], targets, NEWTON)
    scale = whole.score(x).std()
    assert (halves.score(x) - whole.score(x)).abs().max() < 0.02 * scale


def test_result_is_the_same_twice(problem):
    x, targets = problem
    a, b = (fit_linear_svms(x, targets, NEWTON) for _ in range(2))
    assert np.array_equal(a.weight.numpy(), b.weight.numpy())
