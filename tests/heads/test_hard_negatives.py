import logging

import numpy as np
import pytest
import torch

from detection.config import SvmConfig
from detection.errors import DataError
from detection.heads.hard_negatives import HardNegativeMiner
from tests.reference import svm as reference

K = 3
NAMES = ("ant", "bee", "cat")
CONFIG = SvmConfig(c=1e-2, retrain_after=40, tolerance=1e-6)


def make_images(count=8, rows=60, d=20):
    """Images of random rows; those that overlap an object look a little like their class."""
    random = torch.Generator().manual_seed(0)
    prototypes = torch.rand(K, d, generator=random)
    images = []
    for _ in range(count):
        values = torch.randn(rows, d, generator=random).relu()
        max_iou = torch.rand(rows, K, generator=random) * (
            torch.rand(rows, K, generator=random) < 0.3
        )
        images.append((_store(values + max_iou @ prototypes), max_iou))
    labels = torch.arange(12) % K
    positives = prototypes[labels] + torch.randn(12, d, generator=random).relu() / 2
    return _store(positives), labels, images


def _store(values):
    """Round to bfloat16, which the cache stores, so that the reference sees the same numbers."""
    return values.bfloat16().float()


def mine(config=CONFIG, names=NAMES, **kwargs):
    positives, labels, images = make_images(**kwargs)
    miner = HardNegativeMiner(positives, labels, K, config, class_names=names)
    for i, (values, max_iou) in enumerate(images):
        miner.add(f"image {i}", values, max_iou)
    return miner


def num_negatives(miner):
    return miner.cache.counts().tolist()


def cached_scores(miner):
    return miner.cache.scores(miner.svms), miner.cache.members


def test_mining_equals_the_loop_of_the_released_code(caplog):
    caplog.set_level(logging.INFO)
    svms = mine().finish()
    positives, labels, images = make_images()
    weight, bias, seen = reference.mine(
        positives.numpy(),
        labels.numpy(),
        [(values.numpy(), max_iou.numpy()) for values, max_iou in images],
        K,
        CONFIG,
    )
    retrainings = [r for r in caplog.records if "SVMs after" in r.message]
    assert len(retrainings) == len(seen) > 3
    assert np.allclose(svms.weight.numpy(), weight, atol=2e-3)
    assert np.allclose(svms.bias.numpy(), bias, atol=2e-2)


def test_first_image_gives_all_its_negatives():
    positives, labels, images = make_images(count=1)
    miner = HardNegativeMiner(positives, labels, K, CONFIG, class_names=NAMES)
    counted = []
    miner.retrain = lambda: counted.append(num_negatives(miner))
    miner.add("first", *images[0])
    assert counted == [[int((images[0][1][:, k] < 0.3).sum()) for k in range(K)]]


def test_later_images_give_only_hard_negatives():
    positives, labels, images = make_images(count=2)
    config = SvmConfig(c=1.0, retrain_after=10_000)
    miner = HardNegativeMiner(positives, labels, K, config, class_names=NAMES)
    miner.add("first", *images[0])
    before = num_negatives(miner)
    values, max_iou = images[1]
    hard = (miner.svms.score(values) > config.hard_score) & (max_iou < config.negative_iou)
    miner.add("second", values, max_iou)
    gained = [a - b for a, b in zip(num_negatives(miner), before, strict=True)]
    assert gained == hard.sum(dim=0).tolist()
    assert 0 < sum(gained) < int((max_iou < config.negative_iou).sum())


def test_no_cached_negative_is_easy_after_training():
    miner = mine(SvmConfig(c=1.0, retrain_after=40))
    miner.finish()
    scores, members = cached_scores(miner)
    assert members.any()
    assert (scores[members] >= CONFIG.easy_score).all()


def test_image_seen_again_adds_only_what_is_not_cached():
    positives, labels, images = make_images(count=1)
    config = SvmConfig(retrain_after=10_000, easy_score=-1e9, hard_score=-1e8)
    miner = HardNegativeMiner(positives, labels, K, config, class_names=NAMES)
    miner.add("a", *images[0])
    before = num_negatives(miner)
    miner.add("a", *images[0])
    assert num_negatives(miner) == before
    miner.add("b", *images[0])
    assert num_negatives(miner) == [2 * count for count in before]


def test_scores_separate_positives_from_negatives():
    svms = mine(SvmConfig(c=1.0, retrain_after=40)).finish()
    positives, labels, images = make_images()
    own = svms.score(positives)[torch.arange(12), labels]
    values, max_iou = images[-1]
    others = svms.score(values)[max_iou < 0.3]
    assert own.min() > others.quantile(0.95)


def test_rows_that_are_not_finite_are_left_out():
    positives, labels, images = make_images(count=1)
    values, max_iou = images[0]
    values[3, 2] = torch.nan
    miner = HardNegativeMiner(positives, labels, K, CONFIG, class_names=NAMES)
    miner.add("a", values, max_iou)
    assert miner.finish().weight.isfinite().all()


def test_image_without_rows_changes_nothing():
    with_empty = mine()
    with_empty.add("empty", torch.zeros(0, 20), torch.zeros(0, K))
    assert torch.equal(with_empty.finish().weight, mine().finish().weight)


def test_cache_is_bounded_and_keeps_the_hardest(caplog):
    row_bytes = 2 * 20
    miner = mine(SvmConfig(c=1e-2, retrain_after=40, cache_gib=50 * row_bytes / 2**30))
    miner.finish()
    scores, members = cached_scores(miner)
    assert len(members) <= 50
    assert "raise svm.cache_gib" in caplog.text
    everything, all_members = cached_scores(mine())
    assert scores[members].mean() > everything[all_members].mean()


def test_positives_of_other_classes_are_not_negatives():
    """Without any negative there is nothing to train, whatever other classes' objects there are."""
    positives, labels, _ = make_images()
    miner = HardNegativeMiner(positives, labels, K, CONFIG, class_names=NAMES)
    miner.add("a", positives, torch.ones(12, K))
    with pytest.raises(DataError, match="'ant', 'bee', 'cat': expected at least one negative"):
        miner.finish()


def test_class_without_an_object_is_refused_by_name():
    with pytest.raises(DataError, match="'bee': expected at least one training object"):
        HardNegativeMiner(
            torch.rand(4, 5), torch.tensor([0, 2, 0, 2]), K, CONFIG, class_names=NAMES
        )


def test_liblinear_mines_nearly_the_same():
    fast = mine().finish()
    slow = mine(SvmConfig(c=1e-2, retrain_after=40, solver="sklearn")).finish()
    positives, _, _ = make_images()
    assert torch.allclose(fast.score(positives), slow.score(positives), atol=0.05)


def test_a_miner_that_goes_on_knows_its_last_objective():
    positives, labels, images = make_images()
    miner, resumed = (
        HardNegativeMiner(positives, labels, K, CONFIG, class_names=NAMES, measured=True)
        for _ in range(2)
    )
    assert miner.objective is None
    miner.add("image 0", *images[0])
    assert miner.objective > 0
    resumed.restore(*miner.state())
    assert resumed.objective == miner.objective
