"""Model files: small detectors whose tensors and header are damaged and signed anew."""

import json

import safetensors.torch
import torch

from detection.backbones import weights
from detection.backbones.weights import load_backbone
from detection.config import BackboneConfig, Config, FeatureConfig
from detection.detector import Detector
from detection.ensemble import score
from detection.features.factory import make_extractor
from detection.heads.bbox_regressor import BBoxRegressors
from detection.heads.fc import FcHead
from detection.heads.layer import FcLayer, identity
from detection.heads.normalisation import Normaliser
from detection.heads.scorer import SoftmaxScorer, SvmScorer
from detection.heads.svm import Svms
from detection.io.tensors import _digest, load_tensors
from detection.model_io import load_detector, save_detector
from detection.structures import Image, Proposals
from tests.classification.tiny_classifier import tiny_blueprint
from tests.fuzz.mutate import VALUES, damage_bytes, damage_tree
from tests.fuzz.readers import holds

CLASSES = ("cat", "dog")
WIDTH = 6
SETTINGS = [*VALUES, "rcnn", "sppnet", "fc6", "fc7", "pool5", "softmax", "svm", "auto", "bf16"]


def detector(method="sppnet", *, fc=False, softmax=False, boxes=False):
    """Return a detector of a thousand weights."""
    torch.manual_seed(0)
    layer = "fc7" if fc else "pool5"
    features = FeatureConfig(
        method=method, layer=layer, scales=(32,), levels=(1, 2), device="cpu", dtype="float32"
    )
    config = Config(backbone=BackboneConfig(name="tiny"), features=features)
    extractor = make_extractor(load_backbone(config.backbone, to_train=True), features)
    head = FcLayer(head=FcHead(extractor.feature_dim, size=WIDTH), layer="fc7") if fc else identity
    size = WIDTH if fc else extractor.feature_dim
    scorer = SvmScorer(
        normaliser=Normaliser(factor=1.5),
        svms=Svms(weight=torch.randn(len(CLASSES), size), bias=torch.zeros(len(CLASSES))),
    )
    if softmax:
        scorer = SoftmaxScorer(weight=torch.randn(3, size), bias=torch.zeros(3))
    regressors = BBoxRegressors(
        weight=torch.zeros(len(CLASSES), 4, extractor.feature_dim),
        bias=torch.zeros(len(CLASSES), 4),
    )
    return Detector(
        class_names=CLASSES,
        config=config,
        extractor=extractor,
        fc=head,
        scorer=scorer,
        regressors=regressors if boxes else None,
    )


class ModelFile:
    """Detectors in safetensors files."""

    def __init__(self, folder):
        weights.BACKBONES["tiny"] = tiny_blueprint
        self.path = folder / "model.safetensors"
        self.contents, self.seeds = [], []
        for made in (
            detector(boxes=True),
            detector("rcnn"),
            detector(fc=True, boxes=True),
            detector(fc=True, softmax=True),
        ):
            save_detector(self.path, made)
            tensors, header = load_tensors(self.path)
            self.contents.append(({name: t.clone() for name, t in tensors.items()}, header))
            self.seeds.append(self.path.read_bytes())
        pixels = torch.arange(40 * 60 * 3, dtype=torch.int64).remainder(251).to(torch.uint8)
        self.image = Image(image_id="it", pixels=pixels.view(40, 60, 3))
        boxes = torch.tensor([[2.0, 3, 40, 30], [10, 5, 59, 39]])
        self.boxes = Proposals(image_id="it", boxes=boxes)

    def mutate(self, random):
        kind = random.random()
        if kind < 0.25:
            pieces = [
                b'"F32"',
                b'"F64"',
                b'"BF16"',
                b'"F8_E4M3"',
                b"[",
                b"]",
                b"-1",
                b"{}",
                b"null",
            ]
            return damage_bytes(random.choice(self.seeds), random, pieces, self.seeds)
        tensors, header = random.choice(self.contents)
        if kind < 0.7:
            header = damage_tree(header, random, SETTINGS)
        if kind > 0.6:
            tensors = damage_tensors(tensors, random)
        text = json.dumps(header)
        extra = {"header": text, "sha256": _digest(tensors, text)}
        if random.random() < 0.02:
            del extra[random.choice(("header", "sha256"))]
        return safetensors.torch.save(tensors, metadata=extra)

    def read(self, data):
        self.path.write_bytes(data)
        detector = load_detector(self.path, device="cpu")
        holds(all(isinstance(name, str) for name in detector.class_names), "a class without a name")
        # What loads must be usable, with the settings of the file.
        if max(detector.config.features.scales) <= 64:
            scored = score(detector, self.image, self.boxes.boxes, detector.config)
            holds(scored.scores.shape == (2, len(detector.class_names)), "not one score a class")
            detector.detect(self.image, self.boxes).to_arrays()


def damage_tensors(tensors, random):
    """Drop, rename, reshape, cast, lengthen or poison some tensors."""
    tensors = dict(tensors)
    for _ in range(random.choice((1, 1, 2))):
        name = random.choice(sorted(tensors))
        value = tensors.pop(name)
        kind = random.randrange(8)
        if kind == 0:
            continue
        if kind == 1:
            name = random.choice((name + "x", "svm.weight", "fc.fc6.weight", "bbox.weight", ""))
        elif kind == 2:
            value = value.flatten()
        elif kind == 3:
            value = value.to(
                random.choice((torch.float64, torch.bfloat16, torch.int64, torch.bool))
            )
        elif kind == 4:
            value = value.to(random.choice((torch.float8_e4m3fn, torch.complex64, torch.uint8)))
        elif kind == 5:
            value = torch.cat([value, value]) if value.ndim else value
        elif kind == 6:
            shape = random.choice(((0,), (), (1,), (0, 4), (20_000, 1), (1, 20_000), (3, 4, 5, 6)))
            value = torch.zeros(shape)
        elif not value.dtype.is_floating_point or value.element_size() > 1:
            value = value * random.choice((float("nan"), float("inf"), 1e38, -1.0, 0.0))
        tensors[name] = value.contiguous()
        if not tensors:
            break
    return tensors
