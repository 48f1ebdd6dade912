import pytest
import torch

from detection.classification.batches import BatchPlan, LabelledImages, read_labelled_images
from tests.classification.tiny_classifier import (
    tiny_config,
)

pytestmark = pytest.mark.usefixtures("tiny_network")


def test_an_epoch_is_cut_into_batches_whose_pictures_have_one_size(root):
    config = tiny_config(root, sizes=(32, 24), batch_size=10, epochs=2).pretrain
    pictures = LabelledImages(
        read_labelled_images(tiny_config(root), "train"), config, max_pixels=1_000_000
    )
    plan = BatchPlan(config=config, count=len(pictures))
    batches = list(plan.batches(0))
    assert [len(batch) for batch in batches] == [10, 10, 4, 10, 10, 4]
    assert [plan.batch_size(step) for step in range(6)] == [10, 10, 4, 10, 10, 4]
    for epoch, side in ((0, 32), (1, 24)):
        keys = [key for batch in batches[3 * epoch : 3 * epoch + 3] for key in batch]
        assert sorted(keys) == [(epoch, index) for index in range(24)]
        assert {tuple(pictures[key].pixels.shape) for key in keys} == {(3, side, side)}


def test_the_batches_from_a_step_on_are_those_of_the_whole_plan(root):
    plan = BatchPlan(config=tiny_config(root, batch_size=5, epochs=3).pretrain, count=13)
    batches = list(plan.batches(0))
    assert len(batches) == plan.steps == 9
    assert all(list(plan.batches(first)) == batches[first:] for first in range(9))


def test_processes_share_each_batch_without_a_repetition(root):
    config = tiny_config(root, batch_size=5, epochs=2).pretrain
    whole = list(BatchPlan(config=config, count=13).batches(0))
    parts = [list(BatchPlan(config=config, count=13, rank=r, ranks=2).batches(0)) for r in (0, 1)]
    for batch, first, second in zip(whole, *parts, strict=True):
        assert sorted(first + second) == sorted(batch)


def test_the_learning_rate_falls_tenfold_at_the_configured_fractions(root):
    config = tiny_config(root, epochs=10, batch_size=4, decay_at=(0.5, 0.8), learning_rate=1.0)
    plan = BatchPlan(config=config.pretrain, count=4)
    rates = [plan.learning_rate(step) for step in range(10)]
    assert rates == pytest.approx([1] * 5 + [0.1] * 3 + [0.01] * 2)


def test_memory_is_used_up_to_its_limit(root):
    config = tiny_config(root, memory_gib=2 * 3 * 36 * 47 / 2**30)
    pictures = LabelledImages(
        read_labelled_images(config, "train"), config.pretrain, max_pixels=10**6
    )
    for index in range(6):
        assert torch.equal(pictures.resized(index), pictures.resized(index))
    assert len(pictures._kept) == 2
