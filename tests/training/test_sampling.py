from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from detection.boxes import decode_deltas, flip, iou
from detection.errors import DataError
from detection.training.rois import label_rois
from detection.training.sampling import Sampler, pool_of
from tests.training.pools import CONFIG, K, pools, truth


@pytest.mark.parametrize("images_per_batch", [0, 2])
def test_a_quarter_is_positive_and_every_label_is_true(images_per_batch):
    config = replace(CONFIG, images_per_batch=images_per_batch, flip=False)
    made = pools(config)
    for step in range(5):
        samples = Sampler(made, config, 1).draw(step)
        labels = torch.cat([sample.labels for sample in samples])
        assert len(labels) == 32
        assert int((labels < K).sum()) == 8
        for sample in samples:
            pool = made[sample.index]
            objects = pool.gt_boxes[pool.positives].unique(dim=0)
            overlap = iou(sample.boxes, objects).amax(dim=1)
            assert torch.equal(overlap >= 0.5, sample.labels < K)
            assert bool((overlap[sample.labels == K] >= 0.1).all())


@given(st.integers(0, 1 << 20), st.integers(0, 1 << 40), st.sampled_from([0, 1, 3]))
def test_a_mini_batch_depends_on_seed_and_step_alone(seed, step, images_per_batch):
    config = replace(CONFIG, seed=seed, images_per_batch=images_per_batch, random_scale=True)
    made = pools(config, count=3)
    first, later = Sampler(made, config, 3), Sampler(made, config, 3)
    later.draw(0)
    torch.manual_seed(step % 100)
    for a, b in zip(first.draw(step), later.draw(step), strict=True):
        assert (a.index, a.flipped) == (b.index, b.flipped)
        for name in ("boxes", "labels", "deltas", "scale"):
            assert torch.equal(getattr(a, name), getattr(b, name))


def test_steps_and_seeds_differ():
    def boxes(seed, step):
        config = replace(CONFIG, seed=seed)
        return torch.cat([s.boxes for s in Sampler(pools(), config, 1).draw(step)])

    assert not torch.equal(boxes(0, 0), boxes(0, 1))
    assert not torch.equal(boxes(0, 0), boxes(1, 0))


@pytest.mark.parametrize("images_per_batch", [0, 1])
def test_mirrored_rois_lie_on_the_mirrored_image(images_per_batch):
    config = replace(CONFIG, images_per_batch=images_per_batch)
    made = pools(config)
    samples = [s for step in range(8) for s in Sampler(made, config, 1).draw(step)]
    assert {sample.flipped for sample in samples} == {True, False}
    for sample in samples:
        pool = made[sample.index]
        boxes = flip(sample.boxes, 200) if sample.flipped else sample.boxes
        same = (boxes[:, None] - pool.boxes[None]).abs().amax(dim=2)
        assert bool((same.amin(dim=1) < 1e-4).all())
        positive = sample.labels < K
        objects = decode_deltas(sample.boxes, sample.deltas)[positive]
        objects = flip(objects, 200) if sample.flipped else objects
        expected = pool.gt_boxes[same.argmin(dim=1)][positive]
        torch.testing.assert_close(objects, expected, atol=1e-3, rtol=0)
        assert bool((sample.deltas[~positive] == 0).all())


def test_without_flips_nothing_is_mirrored():
    config = replace(CONFIG, flip=False)
    assert not any(s.flipped for step in range(9) for s in Sampler(pools(), config, 1).draw(step))


def test_an_epoch_sees_each_image_once_and_the_next_in_another_order():
    config = replace(CONFIG, images_per_batch=2)
    sampler = Sampler(pools(config, count=6), config, 1)
    order = [sample.index for step in range(30) for sample in sampler.draw(step)]
    epochs = [tuple(order[start : start + 6]) for start in range(0, 60, 6)]
    assert all(sorted(epoch) == list(range(6)) for epoch in epochs)
    assert len(set(epochs)) > 5


def test_images_of_rare_classes_are_drawn_more_often_by_the_square_root():
    boxes = torch.tensor([[5.0, 5, 45, 45], [0, 0, 50, 50], [0, 0, 60, 60], [20, 20, 70, 70]])
    config = replace(CONFIG, images_per_batch=1, rare_classes=0.4)
    made = [
        pool_of(label_rois(boxes, truth([[0, 0, 50, 50]], [label]), K), str(label), 200, K, config)
        for label in [0] * 9
        + [1]  # in 0.9 and in 0.1 of the images: factors 1 and (0.4 / 0.1)**0.5
    ]
    sampler = Sampler(made, config, 1)
    drawn = torch.tensor(
        [[sampler.draw(10 * e + i)[0].index for i in range(10)] for e in range(99)]
    )
    counts = torch.stack([(drawn == index).sum(dim=1) for index in range(10)], dim=1)
    assert counts[:, :9].max() == 1
    assert set(counts[:, 9].tolist()) == {1, 2}
    torch.testing.assert_close(counts[:, 9].double().mean().item(), 20 / 11, atol=0.12, rtol=0)
    even = Sampler(made, replace(config, rare_classes=0.0), 1)
    assert sorted(even.draw(i)[0].index for i in range(10)) == list(range(10))


def test_few_positives_are_all_taken_and_negatives_fill_up():
    rois = label_rois(
        torch.rand(80, 4, generator=torch.Generator().manual_seed(0)).cumsum(dim=1) * 60,
        truth([[0, 0, 20, 20]], [1]),
        K,
    )
    config = replace(CONFIG, images_per_batch=1, negative_iou=(0.0, 0.5))
    pool = pool_of(rois, "a", 200, K, config)
    (sample,) = Sampler([pool], config, 1).draw(3)
    assert int((sample.labels < K).sum()) == len(pool.positives) < 8
    assert len(sample.labels) == 32
    assert len(sample.boxes.unique(dim=0)) == 32


def test_an_image_without_any_usable_roi_is_never_drawn():
    empty = pool_of(label_rois(torch.zeros(0, 4), truth([], []), K), "none", 200, K, CONFIG)
    config = replace(CONFIG, images_per_batch=1)
    sampler = Sampler([empty, *pools()], config, 1)
    assert {s.index for step in range(8) for s in sampler.draw(step)} == {1, 2, 3, 4}


def test_one_scale_an_image_or_one_a_roi():
    few = replace(CONFIG, images_per_batch=2, random_scale=True)
    samples = [s for step in range(10) for s in Sampler(pools(), few, 5).draw(step)]
    assert all(len(sample.scale.unique()) == 1 for sample in samples)
    assert {int(sample.scale[0]) for sample in samples} == set(range(5))
    every = replace(CONFIG, random_scale=True)
    samples = Sampler(pools(), every, 5).draw(0)
    assert {int(i) for sample in samples for i in sample.scale} == set(range(5))
    assert all(sample.scale is None for sample in Sampler(pools(), CONFIG, 5).draw(0))


@pytest.mark.parametrize(("kind", "iou_range"), [("negative", (0.499, 0.5)), ("positive", None)])
def test_a_set_without_positives_or_negatives_stops(kind, iou_range):
    boxes = torch.tensor([[0.0, 0, 10, 10]])
    objects = truth([[0, 0, 10, 10]], [1]) if iou_range else truth([], [])
    config = replace(CONFIG, negative_iou=iou_range or (0.0, 0.5))
    pool = pool_of(label_rois(boxes, objects, K), "a", 200, K, config)
    with pytest.raises(DataError, match=f"at least one {kind} RoI in 1 image, got"):
        Sampler([pool], config, 1)


def test_easier_negatives_are_drawn_for_the_configured_share_of_images():
    config = replace(CONFIG, images_per_batch=2, flip=False)
    with_range = replace(config, negative_iou=(0.3, 0.5))
    made = pools(with_range)

    def easy_images(share):
        sampler = Sampler(made, replace(with_range, easy_negatives=share), 1)
        samples = [s for step in range(40) for s in sampler.draw(step)]
        below = []
        for sample in samples:
            objects = made[sample.index].gt_boxes[made[sample.index].positives].unique(dim=0)
            overlap = iou(sample.boxes, objects).amax(dim=1)
            below.append(bool((overlap[sample.labels == K] < 0.3).any()))
        return sum(below) / len(below)

    assert easy_images(0.0) == 0.0
    assert 0.3 < easy_images(0.5) < 0.7
    assert easy_images(1.0) == 1.0
