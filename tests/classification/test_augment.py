import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from detection.classification.augment import (
    augment,
    colour_shift,
    draw,
    epoch_order,
    fit_colours,
    input_side,
    resize_image,
    resize_short_side,
)
from detection.classification.views import corner_places
from detection.pretrain_config import PretrainConfig
from tests.classification.tiny_classifier import picture

SETTINGS = PretrainConfig(sizes=(18, 16), short_side=22)


def numbered(height: int, width: int) -> torch.Tensor:
    """An image whose first channel tells the row, and whose second the column."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack((rows, columns, torch.zeros_like(rows))).to(torch.uint8)


def test_colour_axes_are_those_of_the_covariance_of_all_pixels():
    pictures = [picture(5, 7, seed=1), picture(3, 4, seed=2)]
    pixels = np.concatenate([p.flatten(1).numpy() for p in pictures], axis=1) / 255
    covariance = np.cov(pixels, bias=True)
    actual = fit_colours(pictures)
    rebuilt = actual.axes.T @ torch.diag(actual.variances) @ actual.axes
    np.testing.assert_allclose(rebuilt.numpy(), covariance, atol=1e-6)
    assert actual.variances.tolist() == sorted(actual.variances.tolist(), reverse=True)


def test_colours_that_vary_in_one_direction_have_that_axis_and_variance():
    # Pixels 100 - 51 d and 100 + 51 d with d = (1, 0, 0): a variance of (51 / 255)^2 = 0.04.
    one = torch.tensor([[[49, 151]], [[100, 100]], [[100, 100]]], dtype=torch.uint8)
    actual = fit_colours([one])
    assert actual.axes[0].abs().tolist() == pytest.approx([1, 0, 0], abs=1e-6)
    assert actual.variances.tolist() == pytest.approx([0.04, 0, 0], abs=1e-6)


def test_no_picture_has_no_colours():
    with pytest.raises(ValueError, match="at least one image"):
        fit_colours([])


@given(st.lists(st.floats(-0.5, 0.5), min_size=3, max_size=3))
def test_the_shift_along_each_axis_is_strength_times_variance(strengths):
    colours = fit_colours([picture(9, 9)])
    shift = colour_shift(colours, torch.tensor([strengths]))[0]
    along = (colours.axes @ shift / 255).tolist()
    variances = colours.variances.tolist()
    expected = [a * v for a, v in zip(strengths, variances, strict=True)]
    assert along == pytest.approx(expected, abs=1e-5)


def test_the_strengths_have_the_configured_deviation():
    draws = [draw(PretrainConfig(colour=0.1), 0, index).strengths for index in range(400)]
    deviations = np.std(draws, axis=0)
    # The standard error of a deviation of 400 draws is 0.1 / sqrt(800) = 0.0035.
    assert deviations.tolist() == pytest.approx([0.1, 0.1, 0.1], abs=0.015)


def test_a_draw_depends_on_seed_epoch_and_picture_only():
    first = draw(SETTINGS, 3, 5)
    assert draw(SETTINGS, 3, 5) == first
    assert draw(SETTINGS, 4, 5) != first
    assert draw(SETTINGS, 3, 6) != first
    assert draw(PretrainConfig(seed=1), 3, 5) != first


def test_every_corner_and_both_mirrorings_are_drawn():
    draws = [draw(SETTINGS, 0, index) for index in range(200)]
    assert {d.corner for d in draws} == {0, 1, 2, 3, 4}
    assert 60 < sum(d.flip for d in draws) < 140
    assert not any(draw(PretrainConfig(flip=False), 0, index).flip for index in range(50))


def test_a_crop_lies_at_the_drawn_corner_and_is_mirrored_when_drawn():
    whole = numbered(22, 25)
    seen = set()
    for index in range(60):
        drawn = draw(SETTINGS, 0, index)
        crop = augment(whole, SETTINGS, 18, drawn)
        crop = crop.flip(2) if drawn.flip else crop
        top, left = int(crop[0, 0, 0]), int(crop[1, 0, 0])
        assert torch.equal(crop, whole[:, top : top + 18, left : left + 18])
        assert (top, left) == corner_places((22, 25), 18)[drawn.corner]
        seen.add((top, left))
    assert seen == {(2, 3), (0, 0), (0, 7), (4, 0), (4, 7)}


def test_random_crops_reach_every_place():
    settings = PretrainConfig(sizes=(16,), short_side=17, crops="random")
    whole = numbered(17, 18)
    places = set()
    for index in range(80):
        drawn = draw(settings, 0, index)
        crop = augment(whole, settings, 16, drawn)
        crop = crop.flip(2) if drawn.flip else crop
        places.add((int(crop[0, 0, 0]), int(crop[1, 0, 0])))
    assert places == {(y, x) for y in (0, 1) for x in (0, 1, 2)}


def test_a_smaller_input_shows_the_same_part_of_the_picture():
    whole, drawn = picture(30, 34), draw(SETTINGS, 0, 3)
    large = augment(whole, SETTINGS, 18, drawn)
    small = augment(whole, SETTINGS, 16, drawn)
    unmirrored = large.flip(2) if drawn.flip else large
    expected = resize_image(unmirrored, (16, 16))
    assert torch.equal(small, expected.flip(2) if drawn.flip else expected)


def test_sizes_alternate_by_full_epoch():
    two = PretrainConfig(sizes=(224, 180))
    assert [input_side(two, epoch) for epoch in range(5)] == [224, 180, 224, 180, 224]
    assert {input_side(PretrainConfig(), epoch) for epoch in range(5)} == {224}


def test_uniform_sizes_lie_between_the_smallest_and_the_largest():
    settings = PretrainConfig(sizes=(224, 180), size_rule="uniform")
    sides = [input_side(settings, epoch) for epoch in range(300)]
    assert min(sides) == 180
    assert max(sides) == 224
    assert sides == [input_side(settings, epoch) for epoch in range(300)]


def test_an_epoch_takes_every_picture_once_in_an_order_of_its_own():
    first, second = epoch_order(SETTINGS, 0, 50), epoch_order(SETTINGS, 1, 50)
    assert sorted(first) == sorted(second) == list(range(50))
    assert first != second


@pytest.mark.parametrize(
    ("size", "expected"), [((30, 60), (12, 24)), ((60, 30), (24, 12)), ((1, 500), (8, 96))]
)
def test_the_shorter_side_is_as_asked_and_never_shorter_than_the_crop(size, expected):
    resized = resize_short_side(picture(*size), 12, 8)
    assert tuple(resized.shape[1:]) == expected


def test_a_single_colour_stays_after_resizing():
    one = torch.full((3, 9, 13), 77, dtype=torch.uint8)
    assert resize_image(one, (4, 5)).unique().tolist() == [77]
