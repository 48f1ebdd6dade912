"""A trained detector in one safetensors file: tensors, and a JSON header that names them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from detection.backbones.backbone import PREPROCESSINGS, Backbone, Preprocessing
from detection.backbones.own import OWN, Trunk, describe_own, own_backbone
from detection.backbones.weights import load_backbone
from detection.config import Config
from detection.detector import Detector
from detection.ensemble import Ensemble, combine
from detection.errors import CheckpointError, shown
from detection.features.extractor import FeatureExtractor
from detection.features.factory import make_extractor
from detection.features.units import columns_of_maps
from detection.heads.bbox_regressor import BBoxRegressors
from detection.heads.calibration import Calibration
from detection.heads.cascade import Cascade
from detection.heads.layer import FcLayer, fc_kind, identity
from detection.heads.normalisation import Normaliser
from detection.heads.scorer import Scorer, SoftmaxScorer, SvmScorer
from detection.heads.svm import Svms
from detection.io.tensors import load_tensors, save_tensors
from detection.model_parts import (
    as_float,
    check_calibration,
    check_cascade,
    check_fc,
    check_header,
    check_heads,
    stored_config,
)
from detection.runs.config_io import config_to_dict
from detection.runs.folder import model_file

SCHEMA = 1
"""Raised when the meaning of a tensor or a header field changes."""


def save_detector(path: Path, detector: Detector) -> None:
    """Write everything that detecting takes: conv and fc layers, SVMs, regressors, classes, config.

    Args:
        path: conventionally ``model.safetensors``.
        detector: trained.

    Raises:
        DataError: if the file cannot be written; an old one stays.
    """
    backbone = detector.extractor.backbone
    tensors = {f"backbone.{name}": tensor for name, tensor in backbone.state_dict().items()}
    header = {
        "schema": SCHEMA,
        "class_names": list(detector.class_names),
        "config": config_to_dict(detector.config),
        "preprocessing": preprocessing_name(backbone.preprocessing),
        "feature_dim": detector.extractor.feature_dim,
    }
    if backbone.name.startswith(OWN):
        header["own_backbone"] = describe_own(backbone)
    if isinstance(detector.fc, FcLayer):
        tensors |= {f"fc.{name}": t for name, t in detector.fc.head.state_dict().items()}
        header["fc_start"] = detector.fc.head.start
    if isinstance(detector.scorer, SvmScorer):
        header["svm_factor"] = detector.scorer.normaliser.factor
        tensors |= {
            "svm.weight": detector.scorer.svms.weight,
            "svm.bias": detector.scorer.svms.bias,
        }
    elif isinstance(detector.scorer, SoftmaxScorer):
        tensors |= {"fc8.weight": detector.scorer.weight, "fc8.bias": detector.scorer.bias}
    if detector.regressors is not None:
        tensors |= {
            "bbox.weight": detector.regressors.weight,
            "bbox.bias": detector.regressors.bias,
        }
        header["bbox_reads"] = detector.regressors.reads
    if detector.cascade is not None:
        tensors |= {f"cascade.{name}": t for name, t in detector.cascade.tensors().items()}
    if detector.calibration is not None:
        header["calibration"] = detector.calibration.to_dict()
    save_tensors(path, tensors, header)


def load(
    *runs: Path | str, device: str = "auto", backbone: nn.Module | Trunk | None = None
) -> Detector | Ensemble:
    """Return a trained detector, or several as one, ready to be applied as configured.

    Args:
        runs: folders that ``detection train`` wrote, or their ``model.safetensors``; the
            configuration of the first holds for all.
        device: ``cpu``, ``cuda``, ``cuda:<number>``; ``auto`` is the GPU where there is one.
        backbone: the network of one's own that the runs were trained with; its weights come from
            the files, and it stays as it is.

    Returns:
        An ensemble for several runs, and for one that was configured to see the mirror image too.

    Raises:
        CheckpointError: if a file is missing, damaged or of another version.
        ConfigError: if the detectors do not belong together.

    Examples:
        >>> import tempfile
        >>> import numpy as np
        >>> import detection
        >>> from detection.tiny import tiny_detector
        >>> with tempfile.TemporaryDirectory() as run:
        ...     save_detector(Path(run) / "model.safetensors", tiny_detector())
        ...     detector = detection.load(run, device="cpu")
        >>> detector.class_names
        ('cat', 'dog')
        >>> rows = detector.detect(np.zeros((64, 96), dtype=np.uint8)).to_coco(image_id=7)
        >>> {row["image_id"] for row in rows} <= {7}
        True
    """
    return combine([load_detector(Path(run), device=device, backbone=backbone) for run in runs])


def load_detector(
    run: Path | str, *, device: str = "auto", backbone: nn.Module | Trunk | None = None
) -> Detector:
    """Load a trained detector from its run folder or model file.

    Args:
        run: the folder that ``detection train`` wrote, or its ``model.safetensors``.
        device: ``cpu``, ``cuda``, ``auto``.
        backbone: the network of one's own that it was trained with.

    Raises:
        CheckpointError: if the file is missing, damaged, of another version, its tensors do not
            belong together, or it takes another backbone.

    Examples:
        >>> import tempfile
        >>> import numpy as np
        >>> from detection.tiny import tiny_detector
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_detector(Path(folder) / "model.safetensors", tiny_detector())
        ...     detector = load_detector(folder, device="cpu")
        >>> detector.class_names
        ('cat', 'dog')
        >>> rows = detector.detect(np.zeros((64, 96), dtype=np.uint8)).to_coco(image_id=7)
        >>> {row["image_id"] for row in rows} <= {7}
        True
    """
    path = model_file(Path(run))
    tensors, header = load_tensors(path)
    _check_schema(path, header)
    check_header(path, header)
    config = _config(path, header, device)
    tensors = as_float(path, tensors)
    check_fc(path, tensors, header["feature_dim"], config.features.layer)
    check_heads(path, tensors, header, config.features.layer)
    check_calibration(path, header)
    check_cascade(path, tensors, header["feature_dim"])
    network = _backbone(path, config, header, part(tensors, "backbone."), backbone)
    extractor = make_extractor(network, config.features)
    if extractor.feature_dim != header["feature_dim"]:
        message = (
            f"{path}: expected pool5 of {extractor.feature_dim} numbers, got "
            f"{header['feature_dim']}; the file's configuration does not match its tensors"
        )
        raise CheckpointError(message)
    target = extractor.device
    tensors = {name: tensor.to(target) for name, tensor in tensors.items()}
    return Detector(
        class_names=tuple(header["class_names"]),
        config=config,
        extractor=extractor,
        fc=_fc(part(tensors, "fc."), config, extractor, header),
        scorer=_scorer(tensors, header),
        regressors=_regressors(tensors, header),
        calibration=_calibration(header),
        cascade=_cascade(part(tensors, "cascade.")),
    )


def part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names start with a prefix, the prefix removed."""
    return {name[len(prefix) :]: t for name, t in tensors.items() if name.startswith(prefix)}


def preprocessing_name(preprocessing: Preprocessing) -> str:
    """Return the configuration's name for a preprocessing; ``auto`` for a network's own."""
    return next((n for n, value in PREPROCESSINGS.items() if value == preprocessing), "auto")


def _check_schema(path: Path, header: Mapping[str, Any]) -> None:
    # JSON's true equals 1 in Python, and is no schema.
    if header.get("schema") != SCHEMA or type(header["schema"]) is not int:
        message = (
            f"{path}: expected a detector of schema {SCHEMA}, got {shown(header.get('schema'))}; "
            "train again, or install the version of this package that wrote it"
        )
        raise CheckpointError(message)


def _config(path: Path, header: Mapping[str, Any], device: str) -> Config:
    config = stored_config(path, header)
    return replace(
        config,
        features=replace(config.features, device=device),
        backbone=replace(config.backbone, preprocessing=header["preprocessing"]),
    )


def _backbone(
    path: Path,
    config: Config,
    header: Mapping[str, Any],
    stored: Mapping[str, Tensor],
    given: nn.Module | Trunk | None,
) -> Backbone:
    """Return the network with the stored weights, built or given."""
    name = config.backbone.name
    own = name.startswith(OWN)
    if own and given is None:
        message = (
            f"{path}: expected the backbone {name} that this model was trained with, which was "
            "given in Python, got none; detection.load(run, backbone=module)"
        )
        raise CheckpointError(message)
    if given is None:
        return load_backbone(config.backbone, stored=stored)
    if not own:
        message = f"{path}: expected no backbone, as {name} can be built, got one; leave it out"
        raise CheckpointError(message)
    network = own_backbone(given, config.backbone, stored)
    described, before = describe_own(network), header.get("own_backbone")
    before = before if isinstance(before, dict) else {}
    for key, value in described.items():
        if before.get(key) != value:
            message = (
                f"{path}: expected a backbone with {key} {shown(before.get(key))}, as this model "
                f"was trained with, got {value}; give the same module or Trunk"
            )
            raise CheckpointError(message)
    return network


def _fc(
    tensors: Mapping[str, Tensor],
    config: Config,
    extractor: FeatureExtractor,
    header: Mapping[str, Any],
) -> Any:
    layer = config.features.layer
    if not tensors or layer == "pool5":
        return identity
    fc = FcLayer.from_tensors(tensors, layer, header.get("fc_start", "random"))
    kind = fc_kind(config.features, extractor.dtype)
    return replace(fc, groups=columns_of_maps(extractor)).prepared(kind)


def _scorer(tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> Scorer:
    if "fc8.weight" in tensors:
        return SoftmaxScorer(weight=tensors["fc8.weight"], bias=tensors["fc8.bias"])
    svms = Svms(weight=tensors["svm.weight"], bias=tensors["svm.bias"])
    return SvmScorer(normaliser=Normaliser(factor=header["svm_factor"]), svms=svms)


def _calibration(header: Mapping[str, Any]) -> Calibration | None:
    stored = header.get("calibration")
    return None if stored is None else Calibration.from_dict(stored)


def _cascade(tensors: Mapping[str, Tensor]) -> Cascade | None:
    if not tensors:
        return None
    return Cascade(**{**tensors, "spans": tensors["spans"].cpu()})


def _regressors(tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> BBoxRegressors | None:
    if "bbox.weight" not in tensors:
        return None
    return BBoxRegressors(
        weight=tensors["bbox.weight"],
        bias=tensors["bbox.bias"],
        reads=header.get("bbox_reads", "pool5"),
    )
