"""Every training that a row of the tables tests, by its name.

What makes a training what it is (method, layer, scales, fine-tuning) is said here, so that a file
with a smaller budget or another trunk does not change it.
"""

from __future__ import annotations

from detection.reproduce.table import Training
from detection.reproduce.whole_images import IMAGE_TRAININGS

_FROZEN = "--finetune.enabled false"
_TUNED = "--finetune.enabled true"
_SCALES = {"1": "--features.scales 688", "5": "--features.scales 480,576,688,864,1200"}
_ONE_SCALE = "--features.scales 600 --features.max_long_side 1000"
_JOINT = (
    "--finetune.scores softmax --finetune.joint_bbox true --finetune.images_per_batch 2 "
    "--finetune.iterations 40000 --finetune.learning_rate 0.001 --finetune.decay_at 0.75"
)
_ONE_LEVEL = "--features.levels 7 --features.projection fast_rcnn"


def _sppnet(number: str) -> tuple[Training, ...]:
    """Return what Table 9 of SPPnet has in one of its columns."""
    preset, name = f"paper/sppnet_zf5_{number}scale", f"sppnet-zf5-{number}scale"
    method = f"--features.method sppnet {_SCALES[number]}"
    return _layers(preset, name, method, ("pool5", "fc6"), ("fc6",))


def _rcnn(preset: str, name: str) -> tuple[Training, ...]:
    """Return what Table 2 of R-CNN has, on one network."""
    method = "--features.method rcnn"
    return _layers(preset, name, method, ("pool5", "fc6", "fc7"), ("pool5", "fc6"))


def _layers(
    preset: str, name: str, method: str, frozen: tuple[str, ...], others: tuple[str, ...]
) -> tuple[Training, ...]:
    """Return trainings on layers as published, then on fc7 and other layers as fine-tuned."""
    tuned = f"{name}-ft-fc7"
    return (
        *(
            Training(
                name=f"{name}-{layer}",
                preset=preset,
                options=f"{method} --features.layer {layer} {_FROZEN}",
            )
            for layer in frozen
        ),
        Training(name=tuned, preset=preset, options=f"{method} --features.layer fc7 {_TUNED}"),
        *(
            Training(
                name=f"{name}-ft-{layer}",
                preset=preset,
                options=f"{method} --features.layer {layer} {_FROZEN}",
                network=tuned,
            )
            for layer in others
        ),
    )


def _crop(warp: str, context: int) -> Training:
    """Return R-CNN on one kind of crop (RC Appendix A)."""
    options = (
        f"--features.method rcnn --features.warp {warp} --features.context {context} "
        f"--features.layer fc7 {_FROZEN}"
    )
    return Training(
        name=f"rcnn-alexnet-{warp}-{context}", preset="paper/rcnn_alexnet", options=options
    )


def _step(name: str, options: str) -> Training:
    """Return one step from SPPnet to Fast R-CNN, on VGG16."""
    options = f"--features.method sppnet --features.layer fc7 {_TUNED} {_ONE_SCALE} {options}"
    return Training(name=f"ladder-{name}", preset="paper/sppnet_vgg16_5scale", options=options)


def _lite0_step(name: str, preset: str, options: str) -> Training:
    """Return one step from R-CNN to RoIAlign, on EfficientNet-Lite0."""
    options = f"--features.layer fc6 {_TUNED} {options}"
    return Training(name=f"ladder-lite0-{name}", preset=f"ladder/{preset}", options=options)


_LITE0_PYRAMID = "--features.method sppnet --features.levels 1,2,3 --features.pooling max"
_LITE0_LEVEL = "--features.method sppnet --features.levels 7 --features.pooling"
_LITE0_JOINT = "--finetune.scores softmax --finetune.joint_bbox true --finetune.open_layers"
_PYRAMID = "--features.levels 1,2,3,6 --finetune.resample_fc true"

_ALL = (
    *_sppnet("1"),
    *_sppnet("5"),
    Training(
        name="sppnet-zf5-5scale-second",
        preset="paper/sppnet_zf5_5scale",
        options=f"--features.method sppnet {_SCALES['5']} --features.layer fc7 {_TUNED} "
        "--backbone.seed 1 --finetune.seed 1",
        weights="data/weights/zf5_second.safetensors",
    ),
    *_rcnn("paper/rcnn_alexnet", "rcnn-alexnet"),
    *_rcnn("paper/rcnn_zf5", "rcnn-zf5")[3:4],
    *_rcnn("paper/rcnn_vgg16", "rcnn-vgg16")[3:4],
    *(_crop(warp, context) for warp in ("warp", "square") for context in (16, 0)),
    Training(
        name="rcnn-alexnet-softmax",
        preset="paper/rcnn_alexnet",
        options=f"--features.method rcnn --features.layer fc7 {_TUNED} --finetune.scores softmax",
    ),
    Training(
        name="sppnet-vgg16-5scale-ft-fc7",
        preset="paper/sppnet_vgg16_5scale",
        options=f"--features.method sppnet {_SCALES['5']} --features.layer fc7 {_TUNED}",
    ),
    _step("sppnet", f"{_PYRAMID} --finetune.open_layers 0"),
    _step("joint", f"{_PYRAMID} {_JOINT} --finetune.open_layers 0"),
    _step("open", f"{_PYRAMID} {_JOINT} --finetune.open_layers 9"),
    _step("fast-rcnn", f"{_ONE_LEVEL} {_JOINT} --finetune.open_layers 9"),
    _step("fast-rcnn-frozen", f"{_ONE_LEVEL} {_JOINT} --finetune.open_layers 0"),
    _lite0_step("rcnn", "rcnn_lite0", f"--features.method rcnn {_LITE0_JOINT} 5"),
    _lite0_step(
        "sppnet",
        "sppnet_lite0",
        f"{_LITE0_PYRAMID} --finetune.scores svm --finetune.joint_bbox false "
        "--finetune.open_layers 0",
    ),
    _lite0_step("joint", "sppnet_lite0_joint", f"{_LITE0_PYRAMID} {_LITE0_JOINT} 0"),
    _lite0_step("open", "sppnet_lite0_open", f"{_LITE0_PYRAMID} {_LITE0_JOINT} 5"),
    _lite0_step("fast-rcnn", "sppnet_lite0_fast_rcnn", f"{_LITE0_LEVEL} max {_LITE0_JOINT} 5"),
    _lite0_step("roi-align", "sppnet_lite0_roi_align", f"{_LITE0_LEVEL} align {_LITE0_JOINT} 5"),
    *(
        Training(
            name=f"{network}-{head}",
            preset=f"classification/{network}_{head}",
            task="classification",
        )
        for network in ("zf5", "convnet5", "overfeat5", "overfeat7")
        for head in ("no_spp", "single", "multi")
    ),
    *IMAGE_TRAININGS,
)

TRAININGS = {training.name: training for training in _ALL}
