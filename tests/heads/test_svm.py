from dataclasses import replace

import pytest
import torch

from detection.config import SvmConfig
from detection.errors import DataError
from detection.heads.svm import Svms, fit_linear_svms, svm_objective
from tests.reference import svm as reference

K = 3

NEWTON = SvmConfig(tolerance=1e-4)


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge"])
def test_objective_equals_the_sum_over_examples(problem, loss):
    x, targets = problem
    config = SvmConfig(solver="sklearn", loss=loss)
    random = torch.Generator().manual_seed(1)
    svms = Svms(
        weight=0.1 * torch.randn(K, 40, generator=random), bias=torch.randn(K, generator=random)
    )
    expected = [
        reference.objective(
            svms.weight[k], svms.bias[k], x, targets[:, k],
            c=1e-3, positive_weight=2.0, multiplier=10.0, squared=loss == "squared_hinge",
        )
        for k in range(K)
    ]  # fmt: skip
    assert svm_objective(svms, x, targets, config).tolist() == pytest.approx(expected, rel=1e-5)


def test_objective_at_zero_is_c_times_the_weighted_number_of_examples():
    x, targets = torch.ones(6, 2), torch.tensor([[1], [1], [-1], [-1], [-1], [0]])
    objective = svm_objective(Svms.zero(1, 2), x, targets, SvmConfig())
    assert objective.item() == pytest.approx(1e-3 * (2 * 2 + 3))


@pytest.mark.parametrize("solver", ["newton", "sklearn"])
def test_no_step_from_the_solution_lowers_the_objective(problem, solver):
    x, targets = problem
    config = SvmConfig(solver=solver, tolerance=1e-6)
    fitted = fit_linear_svms(x, targets, config)
    best = svm_objective(fitted, x, targets, config)
    random = torch.Generator().manual_seed(2)
    for size in (1e-3, 1e-2, 1e-1):
        moved = Svms(
            weight=fitted.weight + size * torch.randn(K, 40, generator=random),
            bias=fitted.bias + size * torch.randn(K, generator=random),
        )
        assert (svm_objective(moved, x, targets, config) > best).all()


def test_score_is_weight_times_feature_plus_bias():
    svms = Svms(weight=torch.tensor([[2.0, 3.0], [0.0, 1.0]]), bias=torch.tensor([10.0, -1.0]))
    scores = svms.score(torch.tensor([[1.0, 5.0]]))
    assert scores.tolist() == [[2 * 1 + 3 * 5 + 10, 0 * 1 + 1 * 5 - 1]]


@pytest.mark.parametrize("count", [1023, 1024, 1025, 3000])
def test_many_rows_score_like_each_alone(count):
    random = torch.Generator().manual_seed(0)
    svms = Svms(weight=torch.randn(K, 40, generator=random), bias=torch.randn(K, generator=random))
    x = torch.randn(count, 40, generator=random)
    expected = x.double() @ svms.weight.double().T + svms.bias.double()
    assert torch.allclose(svms.score(x).double(), expected, atol=1e-4)


def test_scores_stay_when_features_and_weights_are_scaled_and_bias_is_not(problem):
    x, targets = problem
    svms = fit_linear_svms(x, targets, NEWTON)
    scaled = Svms(weight=svms.weight / 4, bias=svms.bias)
    assert torch.allclose(scaled.score(4 * x), svms.score(x), atol=1e-4)


def test_bias_is_the_constant_feature_times_its_weight():
    """One positive, no features: 0.5 (b/B)^2 + 2C (1-b)^2 + C (1+b)^2 is minimal at a known b."""
    x, targets = torch.zeros(2, 1), torch.tensor([[1], [-1]])
    config = SvmConfig(c=0.5, positive_weight=2.0, bias_multiplier=10.0, tolerance=1e-8)
    c, multiplier = 0.5, 10.0
    expected = 2 * c * (2 - 1) / (1 / multiplier**2 + 2 * c * (2 + 1))
    for solver in ("newton", "sklearn"):
        fitted = fit_linear_svms(x, targets, replace(config, solver=solver))
        assert fitted.bias.item() == pytest.approx(expected, rel=1e-3)


def test_scoring_no_rows_gives_no_rows():
    assert Svms.zero(K, 5).score(torch.zeros(0, 5)).shape == (0, K)


@pytest.mark.parametrize("solver", ["newton", "sklearn"])
@pytest.mark.parametrize(("sign", "kind"), [(1, "negative"), (-1, "positive")])
def test_class_with_one_sign_only_is_refused_by_name(solver, sign, kind):
    targets = torch.tensor([[1, sign], [-1, sign], [-1, 0]])
    with pytest.raises(DataError, match=f"'sheep': expected at least one {kind} example"):
        fit_linear_svms(
            torch.rand(3, 4), targets, SvmConfig(solver=solver), class_names=("cow", "sheep")
        )
