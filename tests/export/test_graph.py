"""An exported graph gives the numbers of the detector that it was made from."""

import io
import json
from dataclasses import replace

import jaxtyping
import numpy as np
import pytest
import torch

from detection.boxes import clip, decode_deltas
from detection.config import FeatureConfig
from detection.data.images import read_image
from detection.detector import Detector
from detection.ensemble import score
from detection.errors import ConfigError
from detection.export import write
from detection.export.inputs import graph_inputs, to_image_pixels
from detection.heads.fc import FcHead
from detection.heads.layer import FcLayer
from detection.heads.scorer import SoftmaxScorer
from detection.postprocess import Candidates
from detection.proposals.search import propose
from detection.structures import Image
from tests.data.real import REAL_SUBSET, needs_real_subset
from tests.serving import served

PICTURES = [served.picture(0, (64, 96))[1], served.picture(1, (120, 75))[1]]


@pytest.fixture(autouse=True)
def _shapes_are_not_checked_while_tracing():
    """The checks look at sizes, which would make them constants of the graph."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def boxes_of(image: Image, count: int, seed: int = 0) -> torch.Tensor:
    height, width = image.size
    random = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 2, 2, generator=random) * torch.tensor([width, height])
    boxes = torch.cat((corners.amin(dim=1), corners.amax(dim=1)), dim=1).round()
    edges = torch.tensor(
        [[0, 0, width, height], [0, 0, 1, 1], [width - 1, height - 1, width, height]]
    )
    return torch.cat((edges.float(), boxes))


def expected(detector: Detector, image: Image, boxes: torch.Tensor):
    """Return every score and every box of every class, before suppression."""
    with torch.no_grad():
        scored = score(detector, image, boxes, detector.config)
        rows = torch.arange(len(boxes)).repeat_interleave(len(detector.class_names))
        labels = torch.arange(len(detector.class_names)).repeat(len(boxes))
        pairs = Candidates(
            rows=rows, boxes=boxes[rows], scores=scored.scores.flatten(), labels=labels
        )
        return scored.scores, scored.regressed(pairs, image).view(len(boxes), -1, 4)


class Onnx:
    """The graph in ONNX Runtime."""

    def __init__(self, detector):
        import onnxruntime

        data = write.onnx_bytes(write.trace(detector), write.export_notes(detector))
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(
            data, options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, inputs):
        assert {value.name for value in self.session.get_inputs()} == set(inputs)
        return self.session.run(None, inputs)


class TorchExport:
    """The graph in torch."""

    def __init__(self, detector):
        data = write.torch_bytes(write.trace(detector), write.export_notes(detector))
        self.module = torch.export.load(io.BytesIO(data)).module()

    def __call__(self, inputs):
        with torch.no_grad():
            return [out.numpy() for out in self.module(*map(torch.from_numpy, inputs.values()))]


def assert_same(graph, detector, image, boxes, atol=2e-4):
    inputs = graph_inputs(detector, image, boxes)
    scores, moved = graph(inputs)
    want_scores, want_boxes = expected(detector, image, boxes)
    assert scores.shape == want_scores.shape
    np.testing.assert_allclose(scores, want_scores.numpy(), atol=atol, rtol=1e-4)
    if detector.config.features.method == "rcnn":
        decoded = decode_deltas(boxes, torch.from_numpy(moved), inset=detector.inset)
        moved = clip(decoded, image.size).numpy()
    else:
        moved = to_image_pixels(moved, inputs["image"].shape[2:], image.size)
    np.testing.assert_allclose(moved, want_boxes.numpy(), atol=atol * max(image.size), rtol=1e-4)


def heads(detector, kind):
    """Return the detector with other heads, whose deltas are large enough to be seen."""
    random = torch.Generator().manual_seed(1)
    weight = torch.randn(detector.regressors.weight.shape, generator=random) * 0.02
    regressors = replace(detector.regressors, weight=weight)
    dim = detector.extractor.feature_dim
    if kind == "fc7":
        head = FcHead(dim, size=8, std=0.1, generator=random)
        scorer = replace(
            detector.scorer,
            svms=replace(detector.scorer.svms, weight=torch.randn(2, 8, generator=random)),
        )
        return replace(
            detector, fc=FcLayer(head=head, layer="fc7"), scorer=scorer, regressors=regressors
        )
    if kind == "softmax":
        head = FcHead(dim, size=8, std=0.1, generator=random)
        scorer = SoftmaxScorer(weight=torch.randn(3, 8, generator=random), bias=torch.zeros(3))
        regressors = replace(
            regressors, weight=torch.randn(2, 4, 8, generator=random) * 0.1, reads="scored"
        )
        return replace(
            detector, fc=FcLayer(head=head, layer="fc6"), scorer=scorer, regressors=regressors
        )
    return replace(detector, regressors=None if kind == "no regressors" else regressors)


@pytest.mark.parametrize("runtime", [Onnx, TorchExport])
@pytest.mark.parametrize("method", ["sppnet", "rcnn"])
def test_one_file_serves_every_size_of_image_and_number_of_boxes(runtime, method):
    detector = heads(served.detector(method), "svm")
    graph = runtime(detector)
    for image, count in zip(PICTURES, (0, 40), strict=True):
        assert_same(graph, detector, image, boxes_of(image, count))
    assert_same(graph, detector, PICTURES[0], boxes_of(PICTURES[0], 5)[3:4])


@pytest.mark.parametrize("kind", ["fc7", "softmax", "no regressors"])
def test_every_kind_of_head_is_exported(kind):
    for method in ("sppnet", "rcnn"):
        detector = heads(served.detector(method), kind)
        assert_same(Onnx(detector), detector, PICTURES[1], boxes_of(PICTURES[1], 10))


@pytest.mark.parametrize(
    "features",
    [
        {"projection": "released_code"},
        {"power": 0.5},
        {"levels": (4, 2, 5), "scales": (100,)},
        {"scales": (200,), "max_long_side": 250},
    ],
)
def test_the_features_are_those_of_the_configuration(features):
    detector = heads(served.detector(**features), "svm")
    graph = Onnx(detector)
    for image in PICTURES:
        assert_same(graph, detector, image, boxes_of(image, 20))


@pytest.mark.parametrize("projection", ["paper", "released_code"])
@pytest.mark.parametrize("method", ["sppnet", "rcnn"])
def test_sizes_between_pixel_centres_are_those_of_the_image(method, projection):
    detector = heads(served.detector(method, projection=projection), "svm")
    bbox = replace(detector.config.bbox, sizes="pixel_centres")
    detector = detector.with_config(replace(detector.config, bbox=bbox))
    assert detector.inset == 0.5
    for image in PICTURES:
        assert_same(Onnx(detector), detector, image, boxes_of(image, 20))


@pytest.mark.parametrize("runtime", [Onnx, TorchExport])
@pytest.mark.parametrize("method", ["sppnet", "rcnn"])
def test_several_maps_are_exported(runtime, method):
    maps = {"maps": ("3", "1"), "map_scales": (1.0, 0.5), "projection": "fast_rcnn"}
    detector = heads(served.detector(method, **maps), "svm")
    assert_same(runtime(detector), detector, PICTURES[1], boxes_of(PICTURES[1], 20))


@pytest.mark.parametrize("runtime", [Onnx, TorchExport])
def test_crops_of_another_side_are_exported(runtime):
    detector = heads(served.detector("rcnn", maps=("3",), crop_size=48, context=4), "svm")
    assert write.export_notes(detector)["crop_size"] == "48"
    assert_same(runtime(detector), detector, PICTURES[1], boxes_of(PICTURES[1], 20))


@pytest.mark.parametrize("runtime", [Onnx, TorchExport])
@pytest.mark.parametrize("projection", ["paper", "released_code"])
def test_aligned_boxes_are_exported(runtime, projection):
    maps = {"maps": ("3", "1"), "map_scales": (1.0, 0.5), "projection": projection}
    detector = heads(served.detector(levels=(1, 3), pooling="align", **maps), "svm")
    graph = runtime(detector)
    assert write.export_notes(detector)["pooling"] == "align"
    for image, count in zip(PICTURES, (0, 40), strict=True):
        assert_same(graph, detector, image, boxes_of(image, count))


def test_windows_are_the_packages_own_on_every_cell_boundary():
    detector = heads(served.detector(scales=(100,)), "svm")
    graph = Onnx(detector)
    image = PICTURES[1]
    height, width = image.size
    x, y = torch.meshgrid(torch.arange(width), torch.arange(0, height, 7), indexing="xy")
    x, y = x.flatten().float(), y.flatten().float()
    boxes = torch.stack((x, y, (x + 16).clamp(max=width), (y + 9).clamp(max=height)), dim=1)
    assert_same(graph, detector, image, boxes)


def test_an_image_beyond_the_table_gives_no_silent_numbers():
    detector = served.detector(scales=(64,))
    graph = Onnx(detector)
    image = np.zeros((1, 3, 64, 2000), np.float32)
    boxes = np.array([[0.0, 0.0, 2000.0, 64.0], [0.0, 0.0, 40.0, 40.0]])
    scores, _ = graph({"image": image, "boxes": boxes})
    assert np.isnan(scores[0]).all()
    assert np.isfinite(scores[1]).all()


def test_several_scales_are_refused():
    detector = served.detector(scales=(64, 96))
    with pytest.raises(ConfigError, match=r"features.scales: expected one scale to export, got \["):
        write.trace(detector)


def test_the_file_says_what_it_needs_beside_the_graph():
    import onnx

    detector = served.detector()
    notes = write.export_notes(detector)
    model = onnx.load_from_string(write.onnx_bytes(write.trace(detector), notes))
    onnx.checker.check_model(model)
    assert {entry.key: entry.value for entry in model.metadata_props} == notes
    assert json.loads(notes["class_names"]) == ["class 0", "class 1"]
    assert json.loads(notes["short_side"]) == 64
    assert json.loads(notes["channel_mean"]) == pytest.approx([123.675, 116.28, 103.53])
    shapes = {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in [*model.graph.input, *model.graph.output]
    }
    assert shapes["image"][:2] == [1, 3]
    assert all(isinstance(side, str) for side in shapes["image"][2:])
    assert isinstance(shapes["boxes"][0], str)
    assert shapes["scores"][1] == 2
    assert shapes["boxes_of_classes"][1:] == [2, 4]


def synthetic_detector(name, method, **features):
    """Return an untrained detector on a real network, in float32."""
    from detection.backbones.weights import load_backbone
    from detection.benchmark.instrument import untrained_detector
    from detection.config import BackboneConfig, Config

    config = Config(
        backbone=BackboneConfig(name=name, preprocessing="auto"),
        features=FeatureConfig(method=method, layer="pool5", device="cpu", **features),
        proposals=served.PROPOSALS,
    )
    return untrained_detector(load_backbone(config.backbone, to_train=True), config, 3)


@pytest.mark.parametrize(
    ("name", "method"),
    [("zf5", "sppnet"), ("alexnet", "rcnn"), ("squeezenet", "sppnet"), ("resnet18_c4", "sppnet")],
)
def test_the_published_networks_can_be_exported(name, method):
    detector = synthetic_detector(name, method, scales=(160,))
    graph = Onnx(detector)
    for image in PICTURES:
        assert_same(graph, detector, image, boxes_of(image, 5), atol=2e-3)


@pytest.mark.data
@needs_real_subset
def test_real_photographs_give_the_same_through_one_file():
    detector = synthetic_detector("squeezenet", "sppnet", scales=(320,))
    graph = Onnx(detector)
    photographs = sorted(REAL_SUBSET.rglob("JPEGImages/*.jpg"))[:3]
    sizes = set()
    for path in photographs:
        image = read_image(path)
        boxes = propose(image, replace(served.PROPOSALS, max_boxes=300)).boxes
        sizes.add((image.size, len(boxes)))
        assert_same(graph, detector, image, boxes, atol=2e-3)
    assert len(sizes) > 1
