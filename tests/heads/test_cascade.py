"""Which boxes a cascade lets through to fc6."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from detection.config import CascadeConfig
from detection.heads.cascade import (
    Cascade,
    fit_score,
    level_spans,
    quantiles_of,
    read_columns,
)
from detection.structures import RoIFeatures

CHANNELS, PYRAMID = (3, 2), (1, 2, 3)
DIM = 14 * sum(CHANNELS)


def cascade(seed=0, levels=(1, 2)):
    random = torch.Generator().manual_seed(seed)
    spans = level_spans(CHANNELS, PYRAMID, levels)
    width = int((spans[:, 1] - spans[:, 0]).sum())
    return Cascade(
        weight=torch.randn(width, generator=random),
        bias=torch.tensor(0.5),
        spans=spans,
        quantiles=quantiles_of(torch.randn(500, generator=random)),
    )


def features(seed=1, boxes=30, distinct=20):
    random = torch.Generator().manual_seed(seed)
    return RoIFeatures(
        values=torch.randn(distinct, DIM, generator=random),
        rows=torch.cat(
            (
                torch.arange(distinct),
                torch.randint(0, distinct, (boxes - distinct,), generator=random),
            )
        ),
    )


def test_the_spans_are_the_columns_of_each_map_and_level():
    spans = level_spans(CHANNELS, PYRAMID, (1, 3))
    assert spans.tolist() == [[0, 3], [15, 42], [42, 44], [52, 70]]


@pytest.mark.parametrize("levels", [(1,), (2,), (1, 2), (1, 2, 3)])
def test_the_score_is_a_sum_over_the_columns_it_reads(levels):
    model, values = cascade(levels=levels), features().values
    columns = np.concatenate([np.arange(a, b) for a, b in model.spans.tolist()])
    expected = [
        model.bias.item()
        + sum(float(row[c]) * float(w) for c, w in zip(columns, model.weight, strict=True))
        for row in values
    ]
    np.testing.assert_allclose(model.score(values).numpy(), expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(read_columns(values, model.spans), values[:, columns])


@given(keep=st.integers(1, 40), seed=st.integers(0, 50))
def test_keep_leaves_the_best_boxes_and_those_of_the_last_ones_window(keep, seed):
    pool5, model = features(seed), cascade()
    left, kept = model.survivors(pool5, CascadeConfig(keep=keep))
    scores = model.score(pool5.values)[pool5.rows]
    assert int(kept.sum()) >= min(keep, len(scores))
    if not kept.all():
        assert scores[kept].min() > scores[~kept].max()
        assert int((scores > scores[kept].min()).sum()) < keep
    assert torch.equal(left.expand(), pool5.expand()[kept])
    assert len(left.values) == len(left.rows.unique())


@given(seed=st.integers(0, 50), recall=st.sampled_from([0.5, 0.9, 1.0]), keep=st.integers(0, 30))
def test_the_order_of_the_boxes_does_not_matter(seed, recall, keep):
    pool5, model, config = features(seed), cascade(), CascadeConfig(recall=recall, keep=keep)
    order = torch.randperm(len(pool5.rows), generator=torch.Generator().manual_seed(seed))
    turned = RoIFeatures(values=pool5.values, rows=pool5.rows[order])
    assert torch.equal(model.survivors(turned, config)[1], model.survivors(pool5, config)[1][order])


def test_no_boxes_stay_none():
    empty = RoIFeatures(values=torch.zeros(0, DIM), rows=torch.zeros(0, dtype=torch.int64))
    for config in (CascadeConfig(), CascadeConfig(keep=5)):
        left, kept = cascade().survivors(empty, config)
        assert left.values.shape == (0, DIM)
        assert kept.shape == (0,)


def test_a_box_whose_features_are_not_numbers_goes_on_to_be_reported():
    pool5, model = features(), cascade()
    pool5.values[3] = float("nan")
    kept = model.survivors(pool5, CascadeConfig(recall=0.5))[1]
    assert kept[pool5.rows == 3].all()
    assert not kept.all()


@pytest.mark.parametrize("recall", [0.9, 0.99, 0.995, 0.999, 1.0])
def test_the_threshold_of_a_recall_keeps_that_part(recall):
    scores = torch.randn(4000, generator=torch.Generator().manual_seed(0))
    model = cascade()
    model = Cascade(
        weight=model.weight, bias=model.bias, spans=model.spans, quantiles=quantiles_of(scores)
    )
    kept = (scores >= model.threshold(recall)).double().mean().item()
    assert recall <= kept <= recall + 1e-3


def test_the_fit_is_ridge_regression():
    random = np.random.default_rng(0)
    x, y = random.normal(size=(80, 6)), random.normal(size=80)
    weight, bias = fit_score(torch.from_numpy(x), torch.from_numpy(y), ridge=0.1)
    centred = x - x.mean(axis=0)
    strength = 0.1 * (centred**2).sum(axis=0).mean()
    stacked = np.concatenate((centred, np.sqrt(strength) * np.eye(6)))
    expected = np.linalg.lstsq(stacked, np.concatenate((y - y.mean(), np.zeros(6))), rcond=None)[0]
    np.testing.assert_allclose(weight.numpy(), expected, rtol=1e-9)
    assert bias.item() == pytest.approx(y.mean() - x.mean(axis=0) @ expected)


def test_features_without_variance_fit_the_mean():
    weight, bias = fit_score(torch.zeros(5, 3), torch.arange(5.0))
    assert weight.tolist() == [0.0, 0.0, 0.0]
    assert bias.item() == 2.0
