"""RoIAlign as a pooling: sampled as in its paper, in each map's geometry, with its gradient."""

from dataclasses import replace

import pytest
import torch

from detection.backbones.weights import load_backbone
from detection.config import BackboneConfig, FeatureConfig
from detection.features import roi_align as module
from detection.features.factory import make_extractor
from detection.features.roi_align import align_boxes, align_pool
from detection.features.sppnet import SppExtractor
from detection.structures import ConvGeometry
from tests.features.contract import BOXES, check_extractor, picture
from tests.features.maps import random_map
from tests.reference.roi_align import align_pyramid, cells

ALIGNED = FeatureConfig(
    scales=(64,), device="cpu", batch_size=4, layer="pool5", levels=(1, 7), pooling="align"
)


def random_rois(count, rows, columns, seed=0):
    """Return boxes of all sizes, of no size, and to the borders."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 2, 2, generator=generator, dtype=torch.float64)
    corners = corners * torch.tensor([columns, rows])
    boxes = torch.cat((corners.amin(dim=1), corners.amax(dim=1)), dim=1)
    edges = [[0, 0, columns, rows], [0, 0, 0, 0], [columns, rows, columns, rows], [1, 1, 1.5, 1]]
    limits = torch.tensor([columns, rows] * 2, dtype=torch.float64)
    return torch.cat((boxes, torch.tensor(edges, dtype=torch.float64).minimum(limits)))


@pytest.fixture(params=["compiled", "torch"])
def each_way(request, monkeypatch):
    """With the compiled loops, and as without numba."""
    if request.param == "compiled":
        pytest.importorskip("numba")
    monkeypatch.setattr(module, "NUMBA_AVAILABLE", request.param == "compiled")


@pytest.mark.usefixtures("each_way")
@pytest.mark.parametrize("levels", [(1,), (7,), (1, 2, 3)])
def test_bins_are_those_of_the_reference(levels):
    values, rois = random_map(3, 9, 12, negative=True), random_rois(20, 9, 12)
    expected = align_pyramid(values, rois.tolist(), levels)
    actual = align_pool(values, rois, levels)
    torch.testing.assert_close(actual, expected.float(), atol=1e-5, rtol=1e-5)


@pytest.mark.usefixtures("each_way")
def test_a_map_of_one_cell_has_its_value_everywhere():
    rois = random_rois(5, 1, 1)
    assert align_pool(torch.full((2, 1, 1), 3.0), rois, (2,)).tolist() == [[3.0] * 8] * len(rois)


@pytest.mark.usefixtures("each_way")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_gradient_is_that_of_the_reference(dtype):
    values = random_map(3, 9, 12, dtype, negative=True).requires_grad_()
    rois = random_rois(module._CHUNK + 20, 9, 12)  # more than are spread at a time
    pooled = align_pool(values, rois, (2, 3))
    weights = torch.randn(pooled.shape, generator=torch.Generator().manual_seed(1))
    (pooled * weights).sum().backward()
    exact = values.detach().double().requires_grad_()
    (align_pyramid(exact, rois.tolist(), (2, 3)) * weights).sum().backward()
    assert values.grad.dtype == dtype
    close = 1e-4 if dtype == torch.float32 else 0.01
    torch.testing.assert_close(values.grad, exact.grad.to(dtype), atol=close, rtol=close)


@pytest.mark.usefixtures("each_way")
def test_the_gradient_is_that_of_torchvision():
    values, rois = random_map(4, 10, 7, negative=True).requires_grad_(), random_rois(30, 10, 7)
    align_pool(values, rois, (7,)).square().sum().backward()
    ours, values.grad = values.grad, None
    module.sample_with_torchvision(values, rois.float(), 7).square().sum().backward()
    torch.testing.assert_close(ours, values.grad, atol=1e-4, rtol=1e-4)


@pytest.mark.usefixtures("each_way")
def test_no_boxes_have_rows_of_the_length_and_no_gradient():
    values = random_map(3, 5, 6).requires_grad_()
    pooled = align_pool(values, torch.zeros(0, 4).double(), (1, 2))
    assert pooled.shape == (0, 15)
    pooled.sum().backward()
    assert not values.grad.any()


def test_threads_share_the_work_and_change_no_bit():
    values, rois = random_map(150, 9, 12, negative=True).requires_grad_(), random_rois(200, 9, 12)
    found, threads = [], torch.get_num_threads()
    for count in (1, 3):
        torch.set_num_threads(count)
        try:
            pooled = align_pool(values, rois, (3,))
            (gradient,) = torch.autograd.grad(pooled.square().sum(), values)
        finally:
            torch.set_num_threads(threads)
        found.append((pooled, gradient))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


@pytest.mark.parametrize("box", [[-1.0, 0, 3, 3], [0, 0, 13, 3], [float("nan"), 0, 3, 3]])
def test_what_lies_outside_is_never_read(box):
    """Boxes of `align_boxes` lie inside."""
    rois = torch.tensor([[0, 0, 3, 3], box]).double()
    with pytest.raises(ValueError, match="expected boxes inside 12 x 9 cells, got"):
        align_pool(random_map(2, 9, 12), rois, (2,))


def test_of_a_map_that_is_affine_a_bin_holds_the_value_at_its_centre():
    y, x = torch.meshgrid(torch.arange(10.0), torch.arange(14.0), indexing="ij")
    values = (2 + 3 * x - 0.5 * y)[None]
    x1, y1, x2, y2 = 1.7, 2.1, 11.3, 9.2  # samples stay between the outermost centres
    pooled = align_pool(values, torch.tensor([[x1, y1, x2, y2]]).double(), (4,)).view(4, 4)
    for i in range(4):
        for j in range(4):
            centre_x = x1 + (x2 - x1) * (j + 0.5) / 4 - 0.5
            centre_y = y1 + (y2 - y1) * (i + 0.5) / 4 - 0.5
            assert pooled[i, j].item() == pytest.approx(2 + 3 * centre_x - 0.5 * centre_y, abs=1e-4)


def test_a_bin_is_pooled_as_the_box_that_it_covers():
    values, rois = random_map(2, 9, 12), random_rois(10, 9, 12)
    corners = torch.cat((rois[:, :2], rois[:, :2] + (rois[:, 2:] - rois[:, :2]) / 2), dim=1)
    quarter = align_pool(values, corners, (1,))
    four = align_pool(values, rois, (2,)).view(len(rois), 2, 2, 2)
    torch.testing.assert_close(four[:, :, 0, 0], quarter)


@pytest.mark.parametrize(("stride", "offset"), [(16, 7.5), (16, 20.0), (8, -2.0), (1, 0.0)])
def test_boxes_lie_on_the_map_in_its_geometry(stride, offset):
    boxes = torch.tensor([[13.0, 21.0, 57.5, 61.25], [0, 0, 90, 60], [-20, -20, 5, 5]])
    geometry = ConvGeometry(stride=stride, offset=offset)
    placed = align_boxes(boxes, (60, 90), (120, 150), geometry, (8, 10))
    expected = [
        [
            cells(pixel, factor, stride, offset, count)
            for pixel, factor, count in zip(box, (5 / 3, 2) * 2, (10, 8) * 2, strict=True)
        ]
        for box in boxes.tolist()
    ]
    torch.testing.assert_close(placed, torch.tensor(expected, dtype=torch.float64))


def test_where_cells_tile_the_input_a_coordinate_is_divided_by_the_stride():
    box = torch.tensor([[13.0, 21.0, 57.5, 60.0]])
    geometry = ConvGeometry(stride=16, offset=7.5)
    placed = align_boxes(box, (100, 100), (100, 100), geometry, (7, 7))
    torch.testing.assert_close(placed, box.double() / 16)


def test_the_mean_position_of_a_box_is_where_the_box_is():
    """A map that holds the input pixel of each cell's centre gives back the middle of a box."""
    geometry = ConvGeometry(stride=8, offset=3.0)
    values = (geometry.offset + 0.5 + geometry.stride * torch.arange(12.0))[None, None].expand(
        1, 9, 12
    )
    box = torch.tensor([[20.0, 10.0, 61.0, 60.0]])
    rois = align_boxes(box, (80, 100), (80, 100), geometry, (9, 12))
    assert align_pool(values, rois, (1,)).item() == pytest.approx((20 + 61) / 2, abs=1e-4)


def extractor(name="resnet18_c4", **options):
    return SppExtractor(load_backbone(BackboneConfig(name=name)), replace(ALIGNED, **options))


@pytest.mark.parametrize("scales", [(64,), (64, 96)])
def test_it_is_an_extractor_like_the_others(scales):
    check_extractor(extractor("squeezenet", scales=scales))


@pytest.mark.parametrize("scales", [(64,), (64, 96)])
def test_several_maps_lie_side_by_side_each_in_its_own_geometry(scales):
    image = picture(60, 90)
    both = extractor(scales=scales, maps=("layer3", "layer1"), map_scales=(1.0, 0.5))
    alone = [extractor(scales=scales, maps=(name,)) for name in both.config.maps]
    expected = [each.extract(image, BOXES).expand() for each in alone]
    actual = both.extract(image, BOXES)
    assert actual.values.shape[1] == both.feature_dim
    joined = torch.cat((expected[0], expected[1] * 0.5), dim=1)
    torch.testing.assert_close(actual.expand(), joined)


def test_a_box_has_the_bins_of_the_reference_from_image_to_vector():
    image, whole = picture(60, 90), extractor(levels=(7,))
    (feature_map,) = whole.encode_image(image)
    geometry, (height, width) = feature_map.geometry, feature_map.values.shape[1:]
    factors = [new / old for new, old in zip(feature_map.input_size, image.size, strict=True)]
    boxes = [
        [
            cells(pixel, factor, geometry.stride, geometry.offset, count)
            for pixel, factor, count in zip(
                box, factors[::-1] * 2, (width, height) * 2, strict=True
            )
        ]
        for box in BOXES.tolist()
    ]
    expected = align_pyramid(feature_map.values, boxes, (7,))
    actual = whole.extract(image, BOXES).expand()
    torch.testing.assert_close(actual, expected.float(), atol=1e-4, rtol=1e-4)


def test_boxes_less_than_a_cell_apart_differ_where_windows_do_not():
    image = picture(60, 90)
    boxes = torch.tensor([[10.0, 5, 40, 35], [10.5, 5, 40, 35]])
    assert len(extractor().extract(image, boxes).values) == 2
    assert len(extractor(pooling="max").extract(image, boxes).values) == 1


def test_gradients_reach_open_layers_and_no_others():
    opened = extractor("squeezenet").unfreeze(1)
    maps = opened.run_trainable(opened.run_frozen(picture(60, 90)))
    opened.pool(maps, BOXES).expand().square().mean().backward()
    inside = {id(parameter) for parameter in opened.trainable.parameters()}
    for parameter in opened.backbone.trunk.parameters():
        moved = parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)
        assert moved == (id(parameter) in inside)


def test_crops_are_pooled_as_before():
    network = load_backbone(BackboneConfig(name="squeezenet"))
    aligned, plain = (
        make_extractor(network, replace(ALIGNED, method="rcnn", pooling=pooling))
        for pooling in ("align", "max")
    )
    image = picture(60, 90)
    pooled = [each.extract(image, BOXES[:2]).values for each in (aligned, plain)]
    assert torch.equal(*pooled)
