import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from detection.features.warp import warp_boxes
from tests.reference.warp import crop

TOLERANCE = 1e-3  # of values in 0..1: float32 positions on up to 120 pixels


def picture(height, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(3, height, width, generator=generator)


def reference(pixels, boxes, size, context, mode):
    image = pixels.permute(1, 2, 0).contiguous().numpy()
    crops = [crop(image, box, size, context, mode) for box in boxes.tolist()]
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2)


@pytest.mark.parametrize("mode", ["warp", "square"])
@pytest.mark.parametrize("context", [0, 4, 16])
@settings(max_examples=25)
@given(
    x=st.integers(0, 100),
    y=st.integers(0, 60),
    width=st.integers(1, 120),
    height=st.integers(1, 80),
)
def test_crops_equal_the_released_code_with_an_independent_resize(
    mode, context, x, y, width, height
):
    box = torch.tensor([[x, y, min(x + width, 120), min(y + height, 80)]], dtype=torch.float32)
    pixels = picture(80, 120)
    actual = warp_boxes(pixels, box, 48, context, mode)
    expected = reference(pixels, box, 48, context, mode)
    assert torch.allclose(actual, expected, atol=TOLERANCE)


def test_fractional_boxes_are_rounded_as_in_the_released_code():
    pixels = picture(80, 120)
    boxes = torch.tensor([[3.25, 4.75, 50.5, 60.5], [0.5, 0.5, 119.5, 79.5]])
    actual = warp_boxes(pixels, boxes, 227, 16)
    assert torch.allclose(actual, reference(pixels, boxes, 227, 16, "warp"), atol=TOLERANCE)


def test_a_box_inside_the_image_has_context_around_it():
    """A white box on black: 16 dark pixels on each side of a bright square, to a pixel."""
    pixels = torch.zeros(3, 300, 300)
    pixels[:, 100:200, 100:200] = 1
    warped = warp_boxes(pixels, torch.tensor([[100.0, 100, 200, 200]]), 227, 16)[0]
    bright = warped[0] > 0.5
    rows, columns = bright.any(dim=1).nonzero(), bright.any(dim=0).nonzero()
    for ends in (rows, columns):
        assert abs(int(ends.min()) - 16) <= 2
        assert abs(int(ends.max()) - (227 - 17)) <= 2


def test_a_box_in_the_corner_is_filled_with_the_mean():
    pixels = torch.ones(3, 100, 100)
    warped = warp_boxes(pixels, torch.tensor([[0.0, 0, 40, 40]]), 227, 16)[0]
    # 3 of 48 source pixels lie outside: 3 * 227 / 48 = 14.2 pixels of the crop.
    assert (warped[:, :14] == 0).all()
    assert (warped[:, :, :14] == 0).all()
    assert (warped[:, 14:, 14:] > 0.999).all()


def test_the_same_box_with_and_without_others_gives_the_same_crop():
    pixels = picture(50, 60)
    boxes = torch.tensor([[0.0, 0, 20, 30], [5, 5, 60, 50], [10, 10, 30, 30]])
    together = warp_boxes(pixels, boxes, 32, 4)
    for index in range(3):
        assert torch.equal(together[index], warp_boxes(pixels, boxes[index : index + 1], 32, 4)[0])


@settings(max_examples=50)
@given(
    corner=st.tuples(st.floats(-100, 200), st.floats(-100, 200)),
    side=st.tuples(st.floats(0, 200), st.floats(0, 200)),
    image=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    mode=st.sampled_from(["warp", "square"]),
)
def test_every_box_gives_a_finite_crop(corner, side, image, mode):
    """Boxes of no size and beyond the border, images of one pixel included."""
    box = torch.tensor([[*corner, corner[0] + side[0], corner[1] + side[1]]])
    warped = warp_boxes(picture(*image), box, 24, 4, mode)
    assert warped.shape == (1, 3, 24, 24)
    assert torch.isfinite(warped).all()
    assert warped.min() >= 0
    assert warped.max() <= 1 + TOLERANCE


def test_context_that_leaves_no_room_for_the_box_is_refused():
    with pytest.raises(ValueError, match="context: expected less than 16 pixels"):
        warp_boxes(picture(5, 5), torch.zeros(1, 4), 32, 16)


def test_no_boxes_give_no_crops():
    assert warp_boxes(picture(5, 5), torch.zeros(0, 4), 24, 4).shape == (0, 3, 24, 24)


def test_the_gradient_reaches_the_pixels():
    pixels = picture(20, 20).requires_grad_()
    warp_boxes(pixels, torch.tensor([[2.0, 2, 18, 18]]), 24, 4).sum().backward()
    assert pixels.grad.abs().sum() > 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_gpu_gives_the_same_crops():
    pixels = picture(200, 300)
    boxes = torch.tensor([[0.0, 0, 20, 30], [5, 5, 300, 200], [-10, 10, 30, 30]])
    actual = warp_boxes(pixels.cuda(), boxes.cuda(), 227).cpu()
    assert torch.allclose(actual, warp_boxes(pixels, boxes, 227), atol=TOLERANCE)
