"""Settings of classifiers: how a trunk is trained on ImageNet or cut-out objects, and tested.

Like ``detection.config``, this module imports no torch. ``SPP`` is He et al. 2015 (arXiv
1406.4729); *released code* is the prototxt Zeiler_conv5 of ShaoqingRen/SPP_net.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from detection.errors import require

VIEWS = ("centre", "ten", "full", "ten_maps", "all_maps", "all_maps_full")
"""Ways to look at a test image: see ``ClassifyConfig.views``."""

_NOT_NEGATIVE = (
    "context",
    "colour",
    "weight_decay",
    "workers",
    "pooled_gib",
    "checkpoint_every",
    "seed",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainConfig:
    """Training a classifier (SPP §3.1; the released code).

    Attributes:
        source: ``folder`` is one folder per class, as ImageNet is laid out; ``objects`` are the
            objects of the ``data`` section's data set, each cut out.
        root: folder: holds the folders ``train`` and ``val``.
        train_folder: folder: below ``root``, the images to train on.
        test_folder: folder: below ``root``, the images to test on.
        context: objects: added at each side of a box, as a fraction of its longer side (ours).
        head: ``spp`` pools the conv map into a pyramid; ``no_spp`` keeps the network's own last
            pool, and with it one size of input.
        levels: spp: sides of the pyramid's grids. 1, 2, 3, 6 make 50 bins and 1, 2, 3, 4 make 30
            (SPP §3.1.2). The order is that of fc6's input: a detector that takes over fc6 needs
            ``features.levels`` equal to this.
        sizes: sides of the network's input. The crop is as large as the largest and is resized to
            the others: 224 for single-size, 224, 180 for multi-size training (SPP §3.1.3).
        size_rule: with several sizes: ``alternate`` takes the next one each epoch, ``uniform``
            draws one between the smallest and the largest each epoch (SPP §3.1.3).
        short_side: images are resized to this shorter side, and crops taken from them; 256 (SPP
            §3.1).
        crops: ``corners`` takes one of the centre and the four corners of the whole image (SPP
            §3.1), ``random`` anywhere.
        flip: mirror half of the images (SPP §3.1).
        colour: standard deviation of the colour altering, 0.1; 0 for none (Krizhevsky et al. 2012
            §4.1, by SPP §3.1).
        fc_size: width of fc6 and fc7, 4096.
        dropout: after fc6 and fc7, 0.5.
        init: of layers without weights: ``paper`` draws from N(0, 0.01), with the released code's
            biases; ``kaiming`` keeps the variance of any network (He et al. 2015b).
        open_layers: how many conv layers, from the last, are trained; -1 for all. Layers that are
            not need weights.
        epochs: passes over the images; 70 for ZF-5, 90 for the larger networks (SPP §3.1).
        batch_size: images per step, 128 (the released code).
        learning_rate: at the start, 0.01 (SPP §3.1).
        decay_at: fractions of the training after which the rate falls tenfold. SPP §3.1 lowers it
            twice, when the error no longer falls; the fixed steps are ours.
        momentum: 0.9 (the released code).
        weight_decay: of weights, not of biases, 5e-4 (the released code).
        bias_multiplier: learning-rate multiplier of biases, 2 (the released code).
        mixed_precision: on a GPU, compute in bfloat16; the weights stay float32.
        workers: processes that read images; 0 reads in the main process.
        memory_gib: resized images are kept in memory up to this size (ours).
        pooled_gib: with ``open_layers`` 0, what was pooled from each crop is kept in memory up to
            this size, so that the conv layers run once a crop and not once an epoch; 0 for never.
            Needs crops that come again: ``corners``, no ``colour``, ``alternate`` sizes (ours).
        checkpoint_every: steps between checkpoints; 0 makes one after each epoch only.
        tensorboard: write TensorBoard logs too; needs the extra ``log``.
        seed: of the initial weights, the order, the augmentation and dropout.
    """

    source: Literal["folder", "objects"] = "folder"
    root: str = "data/imagenet"
    train_folder: str = "train"
    test_folder: str = "val"
    context: float = 0.15
    head: Literal["spp", "no_spp"] = "spp"
    levels: tuple[int, ...] = (1, 2, 3, 6)
    sizes: tuple[int, ...] = (224,)
    size_rule: Literal["alternate", "uniform"] = "alternate"
    short_side: int = 256
    crops: Literal["corners", "random"] = "corners"
    flip: bool = True
    colour: float = 0.1
    fc_size: int = 4096
    dropout: float = 0.5
    init: Literal["paper", "kaiming"] = "paper"
    open_layers: int = -1
    epochs: int = 70
    batch_size: int = 128
    learning_rate: float = 0.01
    decay_at: tuple[float, ...] = (0.5, 0.8)
    momentum: float = 0.9
    weight_decay: float = 5e-4
    bias_multiplier: float = 2.0
    mixed_precision: bool = True
    workers: int = 0
    memory_gib: float = 1.0
    pooled_gib: float = 0.0
    checkpoint_every: int = 1000
    tensorboard: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the ranges."""
        sides = len(self.sizes) > 0 and all(side >= 16 for side in self.sizes)
        require(sides, "pretrain.sizes", "one or more sides >= 16", list(self.sizes))
        require(
            self.short_side >= max(self.sizes),
            "pretrain.short_side",
            f"at least the largest of pretrain.sizes, {max(self.sizes)}",
            self.short_side,
        )
        one_size = self.head == "spp" or len(self.sizes) == 1
        require(one_size, "pretrain.sizes", "one size with head no_spp", list(self.sizes))
        levels = len(self.levels) > 0 and all(1 <= n <= 32 for n in self.levels)
        require(levels, "pretrain.levels", "one or more levels in 1..32", list(self.levels))
        fractions = all(0 < part < 1 for part in self.decay_at)
        require(fractions, "pretrain.decay_at", "fractions in (0, 1)", list(self.decay_at))
        for name in ("fc_size", "epochs", "batch_size", "learning_rate"):
            value = getattr(self, name)
            require(value > 0, f"pretrain.{name}", "a positive number", value)
        for name in _NOT_NEGATIVE:
            value = getattr(self, name)
            require(value >= 0, f"pretrain.{name}", "a number >= 0", value)
        for name in ("dropout", "momentum"):
            value = getattr(self, name)
            require(0 <= value < 1, f"pretrain.{name}", "in [0, 1)", value)
        require(self.open_layers >= -1, "pretrain.open_layers", "a number >= -1", self.open_layers)
        again = self.colour == 0 and (self.crops, self.size_rule) == ("corners", "alternate")
        require(
            self.pooled_gib == 0 or (self.open_layers == 0 and again),
            "pretrain.pooled_gib",
            "0 unless open_layers and colour are 0, crops corners and size_rule alternate",
            self.pooled_gib,
        )

    @property
    def crop(self) -> int:
        """Side of the crop: the largest input."""
        return max(self.sizes)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifyConfig:
    """Testing classifiers (SPP §3.1.4, §3.1.5), and linear SVMs on their features (SPP §3.2).

    Attributes:
        views: which tests to make. ``centre``: one crop. ``ten``: centre, corners and their mirror
            images. ``full``: the whole image in one view. ``ten_maps``: the ten views, each a
            window of the whole image's conv map. ``all_maps``: windows of the maps of all
            ``scales``, 96 views with the paper's. ``all_maps_full``: two views of the whole image
            besides. Without a pyramid only the first two are possible.
        scales: short sides of ``all_maps``: 224, 256, 300, 360, 448 and 560 (SPP §3.1.5). At the
            crop's own side there are 6 views, at the others 18.
        full_short_side: of the whole image; 0 takes ``pretrain.short_side``, 256 (SPP §3.1.4).
        svm_source: SVMs: ``images`` are the ``data`` section's, each with all classes that it
            shows, scored by mAP (SPP §3.2); ``folder`` is one folder per class, scored by the
            accuracy over random splits (SPP §3.3); ``objects``, scored like it, are the objects of
            the ``data`` section's training list, each cut out, the largest of its class in its
            image (ours).
        svm_root: SVMs: folder: holds the class folders.
        svm_train_images: SVMs: splits: of each class, to train on; 30 (SPP §3.3).
        svm_test_images: SVMs: splits: of each class, to test at most; 50 (SPP §3.3).
        svm_splits: SVMs: splits: how many random ones; 10 (SPP §3.3).
        svm_view: SVMs: ``full`` is the whole image with shorter side ``features.scales``, ``crop``
            its central square (SPP §3.2, Table 6), ``warp`` the whole image stretched to a square
            of that side (SPP §3.3).
        svm_pool: SVMs: how the conv map becomes a vector. ``pyramid``: by ``features.levels``.
            ``last_pool``: by the network's own last pool, for squares alone ("no SPP", Table 6).
        svm_c: SVMs: the weight of the loss (ours; not in the paper).
        seed: SVMs: splits: of the first one; each other one has the next.
    """

    views: tuple[str, ...] = ("centre", "full")
    scales: tuple[int, ...] = (224, 256, 300, 360, 448, 560)
    full_short_side: int = 0
    svm_source: Literal["images", "folder", "objects"] = "images"
    svm_root: str = "data/caltech101"
    svm_train_images: int = 30
    svm_test_images: int = 50
    svm_splits: int = 10
    svm_view: Literal["full", "crop", "warp"] = "full"
    svm_pool: Literal["pyramid", "last_pool"] = "pyramid"
    svm_c: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the ranges."""
        known = len(self.views) > 0 and set(self.views) <= set(VIEWS)
        require(known, "classify.views", f"some of {', '.join(VIEWS)}", list(self.views))
        sides = len(self.scales) > 0 and all(side >= 16 for side in self.scales)
        require(sides, "classify.scales", "one or more short sides >= 16", list(self.scales))
        require(
            self.full_short_side >= 0,
            "classify.full_short_side",
            "a number >= 0",
            self.full_short_side,
        )
        for name in ("svm_train_images", "svm_test_images", "svm_splits", "svm_c"):
            value = getattr(self, name)
            require(value > 0, f"classify.{name}", "a positive number", value)
        require(self.seed >= 0, "classify.seed", "a number >= 0", self.seed)
