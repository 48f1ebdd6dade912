import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given

from detection.boxes import decode_deltas, encode_deltas
from detection.config import BBoxConfig
from detection.errors import DataError
from detection.heads import bbox_regressor
from detection.heads.bbox_regressor import BBoxRegressors, fit_bbox_regressors, ridge, whitening
from tests.reference import ridge as reference


def fit(features, labels, deltas, num_classes, config):
    own = [labels == label for label in range(num_classes)]
    return fit_bbox_regressors([(features[rows], deltas[rows]) for rows in own], config)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("n", "d"), [(30, 8), (8, 30), (20, 20), (1, 5), (3000, 4)])
@pytest.mark.parametrize("strength", [0.5, 1000.0])
def test_ridge_equals_its_closed_form(n, d, strength):
    features, targets = normal(n, d), normal(n, 4, seed=1).double()
    expected = reference.ridge(features.double().numpy(), targets.numpy(), strength)
    assert np.allclose(ridge(features, targets, strength).numpy(), expected, atol=1e-5)


def test_ridge_of_one_example_in_numbers():
    """A row (3, 1), target 10, strength 1: the weights are 10 / (3^2 + 1^2 + 1) * (3, 1)."""
    solution = ridge(torch.tensor([[3.0]]), torch.tensor([[10.0]]).double(), 1.0)
    assert solution[0].tolist() == pytest.approx([30 / 11, 10 / 11])


@given(seed=st.integers(0, 10_000), n=st.integers(10, 60))
def test_whitened_targets_have_the_identity_as_covariance(seed, n):
    mix = normal(4, 4, seed=seed) + 2 * torch.eye(4)
    targets = (normal(n, 4, seed=seed + 1) @ mix).double() * 10
    forward, _ = whitening(targets)
    white = (targets - targets.mean(dim=0)) @ forward
    covariance = white.T @ white / n
    variances = torch.linalg.eigvalsh(torch.cov(targets.T, correction=0))
    expected = variances / (variances + 0.001)
    assert torch.allclose(torch.linalg.eigvalsh(covariance), expected.sort().values, atol=1e-6)


def test_whitening_and_its_inverse_undo_each_other():
    forward, backward = whitening(normal(30, 4).double())
    assert torch.allclose(forward @ backward, torch.eye(4).double(), atol=1e-10)


@pytest.mark.parametrize("whiten", [True, False])
@pytest.mark.parametrize(("n", "d"), [(40, 6), (12, 50)])
def test_fit_equals_the_released_formula(n, d, whiten):
    features, deltas = normal(n, d), normal(n, 4, seed=1) * torch.tensor([0.1, 0.2, 0.5, 1.0])
    config = BBoxConfig(ridge=10.0, whiten=whiten)
    fitted = fit(features, torch.zeros(n, dtype=torch.int64), deltas, 1, config)
    queries = normal(7, d, seed=2)
    x, y = features.double().numpy(), deltas.double().numpy()
    if whiten:
        expected = reference.whitened_ridge(x, y, 10.0)(queries.double().numpy())
    else:
        solution = reference.ridge(x, y - y.mean(axis=0), 10.0)
        rows = np.hstack((queries.double().numpy(), np.ones((7, 1))))
        expected = rows @ solution.T + y.mean(axis=0)
    assert np.allclose(fitted.deltas(queries)[:, 0].numpy(), expected, atol=1e-4)


def test_each_class_learns_from_its_own_examples_only():
    features, deltas = normal(40, 6), normal(40, 4, seed=1)
    labels = torch.arange(40) % 2
    both = fit(features, labels, deltas, 2, BBoxConfig())
    for label in (0, 1):
        own = labels == label
        alone = fit(features[own], torch.zeros(20, dtype=torch.int64), deltas[own], 1, BBoxConfig())
        assert torch.allclose(both.weight[label], alone.weight[0], atol=1e-6)
        assert torch.allclose(both.bias[label], alone.bias[0], atol=1e-6)


def test_class_without_examples_leaves_boxes_as_they_are():
    fitted = fit(
        normal(5, 3), torch.zeros(5, dtype=torch.int64), normal(5, 4, seed=1), 3, BBoxConfig()
    )
    assert torch.equal(fitted.deltas(normal(4, 3, seed=2))[:, 1:], torch.zeros(4, 2, 4))


def test_no_examples_at_all_give_no_movement():
    fitted = fit(
        torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64), torch.zeros(0, 4), 2, BBoxConfig()
    )
    assert torch.equal(fitted.deltas(normal(4, 3)), torch.zeros(4, 2, 4))


@pytest.mark.parametrize("classes", [0, 20])
def test_delta_of_the_own_class_is_that_column_of_all_deltas(classes, monkeypatch):
    """A class at a time, and all classes of a row at once."""
    monkeypatch.setattr(bbox_regressor, "CHEAP", classes)
    regressors = BBoxRegressors(weight=normal(3, 4, 5), bias=normal(3, 4, seed=1))
    features, labels = normal(9, 5, seed=2), torch.tensor([0, 2, 1, 1, 0, 2, 2, 2, 0])
    every = regressors.deltas(features)[torch.arange(9), labels]
    assert torch.allclose(regressors.deltas_of(features, labels), every, atol=1e-6)
    rows = torch.tensor([8, 0, 0, 5])
    some, its = torch.tensor([0, 0, 2, 1]), torch.arange(4)
    expected = regressors.deltas(features[rows])[its, some]
    assert torch.allclose(regressors.deltas_of(features, some, rows), expected, atol=1e-6)
    assert regressors.deltas_of(features[:0], labels[:0]).shape == (0, 4)


def test_few_rows_for_many_boxes_are_not_copied(monkeypatch):
    regressors = BBoxRegressors(weight=normal(3, 4, 5), bias=normal(3, 4, seed=1))
    seen, inner = [], BBoxRegressors.deltas
    monkeypatch.setattr(
        BBoxRegressors, "deltas", lambda own, rows: seen.append(len(rows)) or inner(own, rows)
    )
    labels, rows = torch.zeros(40, dtype=torch.int64), torch.arange(40) % 2
    regressors.deltas_of(normal(2, 5, seed=2), labels, rows)
    assert seen == [2]
    regressors.deltas_of(normal(400, 5, seed=2), labels, rows)
    assert seen == [2]


def test_regressors_learn_to_move_boxes_onto_objects():
    """Deltas that are a linear function of the features come back, and boxes land on objects."""
    features = normal(500, 8)
    deltas = features @ normal(8, 4, seed=1) * 0.02
    boxes = torch.tensor([[100.0, 100.0, 200.0, 180.0]]).expand(500, 4)
    objects = decode_deltas(boxes, deltas)
    labels = torch.zeros(500, dtype=torch.int64)
    config = BBoxConfig(ridge=1e-3)
    fitted = fit(features, labels, encode_deltas(boxes, objects), 1, config)
    moved = decode_deltas(boxes, fitted.deltas_of(features, labels))
    assert (moved - objects).abs().max() < 0.05


def test_scaled_regressors_read_unscaled_features():
    regressors = BBoxRegressors(weight=normal(2, 4, 5), bias=normal(2, 4, seed=1))
    features = normal(6, 5, seed=2)
    expected = regressors.deltas(features * 3.0)
    assert torch.allclose(regressors.scaled(3.0).deltas(features), expected, atol=1e-5)


def test_half_precision_features_are_enough():
    features, deltas = normal(40, 6), normal(40, 4, seed=1)
    labels = torch.zeros(40, dtype=torch.int64)
    full = fit(features, labels, deltas, 1, BBoxConfig())
    half = fit(features.half(), labels, deltas, 1, BBoxConfig())
    assert torch.allclose(full.weight, half.weight, atol=1e-3)


def test_delta_that_is_not_finite_is_refused():
    deltas = torch.tensor([[0.0, 0.0, torch.inf, 0.0]])
    with pytest.raises(DataError, match="expected finite deltas"):
        fit(torch.ones(1, 3), torch.zeros(1, dtype=torch.int64), deltas, 1, BBoxConfig())
