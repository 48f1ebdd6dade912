"""How far a mAP could move if other images of the same kind had been drawn."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from detection.evaluation.matching import FALSE_POSITIVE, TRUE_POSITIVE, ClassMatches
from detection.evaluation.voc_ap import RECALL_THRESHOLDS

_ROWS_AT_A_TIME = 512


def bootstrap_map(
    matches: Sequence[ClassMatches],
    *,
    resamplings: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> tuple[float, float]:
    """Return the bootstrap percentile interval of the 11-point mAP over images.

    Nothing is matched again: in each resampling every image counts as often as it was drawn, its
    objects and its detections alike. A class none of whose objects was drawn is left out of that
    resampling's mean.

    Args:
        matches: of each class, from ``match_detections``.
        resamplings: how often the images are drawn.
        seed: of the drawing.
        confidence: the share of the resampled mAPs inside the interval.

    Returns:
        (low, high); NaN without images or objects.

    Source:
        Efron and Tibshirani 1993, chapter 13, the percentile interval.
    """
    samples = resampled_maps(matches, resamplings=resamplings, seed=seed)
    return _percentiles(samples, confidence)


def bootstrap_difference(
    first: Sequence[ClassMatches],
    second: Sequence[ClassMatches],
    *,
    resamplings: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> tuple[float, float]:
    """Return the bootstrap percentile interval of the second 11-point mAP minus the first.

    Paired: both detectors are scored on the same resampled images, so that what makes some images
    hard for both cancels out, and a difference can be certain that either mAP alone is not.

    Args:
        first: of each class, from ``match_detections``.
        second: of the same classes and images, in the same order, from another detector.
        resamplings: how often the images are drawn.
        seed: of the drawing.
        confidence: the share of the resampled differences inside the interval.

    Returns:
        (low, high); NaN without images or objects.
    """
    samples = [resampled_maps(m, resamplings=resamplings, seed=seed) for m in (first, second)]
    return _percentiles(samples[1] - samples[0], confidence)


def _percentiles(samples: Float[np.ndarray, " b"], confidence: float) -> tuple[float, float]:
    """Return the edges of the middle part of some samples; NaN without any."""
    samples = samples[~np.isnan(samples)]
    if len(samples) == 0:
        return float("nan"), float("nan")
    tail = (1 - confidence) / 2
    low, high = np.quantile(samples, [tail, 1 - tail])
    return float(low), float(high)


def resampled_maps(
    matches: Sequence[ClassMatches], *, resamplings: int, seed: int
) -> Float[np.ndarray, " b"]:
    """Return the 11-point mAP of each bootstrap sample."""
    num_images = len(matches[0].objects) if matches else 0
    if num_images == 0:
        return np.full(resamplings, np.nan)
    weights = draw_counts(num_images, resamplings, seed)
    ap = np.stack([weighted_eleven_points(match, weights) for match in matches])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        maps: Float[np.ndarray, " b"] = np.nanmean(ap, axis=0)
    return maps


def draw_counts(num_images: int, resamplings: int, seed: int) -> Float[np.ndarray, "i b"]:
    """Say how often each image was drawn, for each resampling; each column adds up to all."""
    generator = np.random.default_rng(seed)
    shares = np.full(num_images, 1 / num_images)
    return generator.multinomial(num_images, shares, size=resamplings).T.astype(np.float64)


def weighted_eleven_points(
    match: ClassMatches, weights: Float[np.ndarray, "i b"]
) -> Float[np.ndarray, " b"]:
    """Return one class's 11-point AP, image i counted ``weights[i]`` times; NaN without objects.

    Law: with all weights 1 this is ``eleven_points``. The best precision at a recall is always
    reached just after a right detection, so that only those are looked at.
    """
    to_find = match.objects @ weights
    right_rows = np.flatnonzero(match.outcomes == TRUE_POSITIVE)
    right = weights[match.images[right_rows]].cumsum(axis=0)
    wrong = _weight_of_wrong_before(match, right_rows, weights)
    counted = right + wrong
    precision = np.divide(right, counted, out=np.zeros_like(right), where=counted > 0)
    best = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    recall = right / np.maximum(to_find, 1)
    padded = np.concatenate([best, np.zeros((1, weights.shape[1]))])
    columns = np.arange(weights.shape[1])
    total = np.zeros(weights.shape[1])
    for threshold in RECALL_THRESHOLDS:
        total += padded[(recall < threshold).sum(axis=0), columns]
    return np.where(to_find > 0, total / len(RECALL_THRESHOLDS), np.nan)


def _weight_of_wrong_before(
    match: ClassMatches, right_rows: Int[np.ndarray, " t"], weights: Float[np.ndarray, "i b"]
) -> Float[np.ndarray, "t b"]:
    """Add up the weight of the wrong detections that are better scored than each right one."""
    wrong_rows = np.flatnonzero(match.outcomes == FALSE_POSITIVE)
    gap = np.searchsorted(right_rows, wrong_rows)
    images = match.images[wrong_rows]
    num_images, resamplings = weights.shape
    total = np.zeros((len(right_rows), resamplings))
    for start in range(0, len(right_rows), _ROWS_AT_A_TIME):
        rows = min(_ROWS_AT_A_TIME, len(right_rows) - start)
        here = (gap >= start) & (gap < start + rows)
        counts = np.bincount(
            (gap[here] - start) * num_images + images[here], minlength=rows * num_images
        )
        total[start : start + rows] = counts.reshape(rows, num_images) @ weights
    return total.cumsum(axis=0)
