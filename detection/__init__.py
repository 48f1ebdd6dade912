"""R-CNN and SPPnet, the two classic region detectors.

``detection.load(run)`` returns a trained detector, ``detect(image)`` applies it;
``detection.train(config, run)`` trains one. The pipeline in order, one module per line::

    data            images and their annotations: VOC, COCO, synthetic
    proposals       about 2,000 boxes per image by selective search
    backbones       the conv layers, and the weights that they need
    features        one vector per box: SPPnet pools a shared map, R-CNN runs on each warped crop
    heads           fc6 and fc7, feature normalisation, linear SVMs, bounding-box regressors
    postprocess     threshold, suppression, the best of each class
    detector        all of the above, one line per step
    ensemble        several detectors as one, and the mirrored image
    model_io        a trained detector in one file
    evaluation      VOC and COCO average precision
    training        fine-tuning, SVMs with hard negatives, regressors
    inference       a trained detector on data sets and folders
    classification  SPPnet the classifier
    benchmark       seconds per stage, R-CNN against SPPnet
    report          drawings and the HTML report
    export          one graph for other runtimes
    serving         a page in the browser

Below the method, and to be skipped at first: ``structures`` and ``boxes`` (the values and their
algebra), ``config``, ``runs`` (run folders), ``io`` (files, devices, processes) and ``kernels``
(compiled loops).
"""

from __future__ import annotations

from importlib import import_module

from detection.errors import CheckpointError, ConfigError, DataError, DetectionError
from detection.version import VERSION as __version__  # noqa: N811

TYPE_CHECKING = False  # as typing has it, whose import would be most of the time of this one
if TYPE_CHECKING:
    from typing import Any

    from detection.data.images import read_image
    from detection.detector import Detector
    from detection.model_io import load
    from detection.training.pipeline import train

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DataError",
    "DetectionError",
    "Detector",
    "__version__",
    "load",
    "read_image",
    "train",
]


_LAZY = {
    "Detector": "detection.detector",
    "load": "detection.model_io",
    "read_image": "detection.data.images",
    "train": "detection.training.pipeline",
}
"""What needs torch is imported only when it is asked for."""


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
