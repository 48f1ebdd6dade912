"""From a run folder to a file that another runtime reads."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import torch
from torch.export import ExportedProgram

from detection.detector import Detector
from detection.errors import ConfigError
from detection.export.graph import graph_class
from detection.io.files import write_bytes_atomic
from detection.model_io import load_detector

Format = Literal["onnx", "torch-export"]

OPSET = 20
_NEEDED = ("onnx", "onnxscript")
MAX_ONNX_BYTES = 2**31
"""Of a protocol buffer."""


def export_run(run: Path, form: Format, out: Path) -> dict[str, str]:
    """Write a trained detector as one graph; return the file's metadata.

    Args:
        run: the folder that ``detection train`` wrote.
        form: the kind of file.
        out: the file.

    Raises:
        ConfigError: if the detector has no such graph, or a library is missing.
        CheckpointError: if the model is missing or damaged.
        DataError: if the file cannot be written.
    """
    if form == "onnx":
        require_onnx()
    detector = load_detector(run, device="cpu")
    notes = export_notes(detector)
    program = trace(detector)
    data = onnx_bytes(program, notes) if form == "onnx" else torch_bytes(program, notes)
    write_bytes_atomic(out, data)
    return notes


def trace(detector: Detector) -> ExportedProgram:
    """Return the traced graph of a detector's network and heads, with dynamic sizes.

    Raises:
        ConfigError: for SPPnet at several scales: one graph sees one image.
    """
    graph = graph_class(detector)(detector)
    inputs, dynamic = graph.example()
    with torch.no_grad(), _quiet():
        return torch.export.export(
            graph.eval(),
            inputs,
            dynamic_shapes=dynamic,
            strict=False,
            prefer_deferred_runtime_asserts_over_guards=True,
        )


def export_notes(detector: Detector) -> dict[str, str]:
    """Return what a program needs besides the graph, as text."""
    config, preprocessing = detector.config, detector.extractor.backbone.preprocessing
    features = config.features
    described: dict[str, object] = {
        "method": features.method,
        "backbone": config.backbone.name,
        "class_names": list(detector.class_names),
        "channel_order": preprocessing.order,
        "channel_mean": [value * preprocessing.scale for value in preprocessing.mean],
        "channel_std": [value * preprocessing.scale for value in preprocessing.std],
        "nms_iou": config.postprocess.nms_iou,
        "bbox_inset": detector.inset,
    }
    if config.postprocess.soft_sigma:  # instead of nms_iou
        described["soft_nms_sigma"] = config.postprocess.soft_sigma
    if detector.calibration is not None:  # of detections: after suppression, by sigmoid
        described["calibration"] = detector.calibration.to_dict()
    described |= graph_class(detector).input_settings(detector)
    return {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in described.items()
    }


def onnx_bytes(program: ExportedProgram, notes: dict[str, str]) -> bytes:
    """Return the bytes of an ONNX file.

    Raises:
        ConfigError: if the network is too large for one file.
    """
    crops = len(program.graph_signature.user_inputs) == 1
    inputs = ["crops"] if crops else ["image", "boxes", "image_size"]
    with _quiet():
        exported = torch.onnx.export(
            program,
            input_names=inputs[: len(program.graph_signature.user_inputs)],
            output_names=["scores", "deltas" if crops else "boxes_of_classes"],
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    if exported is None:
        message = "torch.onnx.export: expected a program, got nothing"
        raise RuntimeError(message)
    model = exported.model_proto
    for name, value in notes.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = name, value
    check_size(model.ByteSize())
    data: bytes = model.SerializeToString()
    return data


def check_size(size: int) -> None:
    """Check that a graph of so many bytes fits into an ONNX file.

    Raises:
        ConfigError: if it does not.
    """
    if size >= MAX_ONNX_BYTES:
        message = (
            f"onnx: expected a graph below {MAX_ONNX_BYTES / 2**30:.1f} GiB, got "
            f"{size / 2**30:.1f} GiB; use --format torch-export"
        )
        raise ConfigError(message)


def torch_bytes(program: ExportedProgram, notes: dict[str, str]) -> bytes:
    """Return a file for ``torch.export.load``; it holds the notes as ``detection.json``."""
    file = io.BytesIO()
    with _quiet():
        torch.export.save(program, file, extra_files={"detection.json": json.dumps(notes)})
    return file.getvalue()


def require_onnx() -> None:
    """Check that what writes ONNX is installed.

    Raises:
        ConfigError: naming what is missing.
    """
    missing = [name for name in _NEEDED if not importlib.util.find_spec(name)]
    if missing:
        message = (
            f"detection export: expected the extra 'onnx', got no {', '.join(missing)}; "
            "pip install 'sppnet-detection[onnx]', or take --format torch-export"
        )
        raise ConfigError(message)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the tracers' messages from the terminal."""
    names = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")
    levels = [logging.getLogger(name).level for name in names]
    with warnings.catch_warnings(), Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        warnings.simplefilter("ignore")
        for name in names:
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            with contextlib.redirect_stdout(nowhere):
                yield
        finally:
            for name, level in zip(names, levels, strict=True):
                logging.getLogger(name).setLevel(level)
