from __future__ import annotations

import re
from typing import Any

import pytest

from detection.config import Config
from detection.errors import ConfigError
from detection.runs.config_io import config_from_dict, config_to_dict, section_hints

WRONG: list[tuple[str, Any]] = [
    ("data.max_pixels", 0),
    ("data.max_skipped", 1.5),
    ("data.class_names", ["cat", "cat"]),
    ("data.class_names", ["cat", " "]),
    ("proposals.base_k", 0),
    ("proposals.inc_k", -1),
    ("proposals.sigma", 0),
    ("proposals.min_side", -1),
    ("proposals.max_boxes", -1),
    ("proposals.workers", -1),
    ("proposals.time_limit", -1),
    ("backbone.name", ""),
    ("backbone.weights", ""),
    ("backbone.output_stride", 8),
    ("features.scales", []),
    ("features.scales", [16]),
    ("features.levels", [0]),
    ("features.levels", []),
    ("features.context", 100),
    ("features.crop_size", 31),
    ("features.crop_size", 10_001),
    ("features.batch_size", -1),
    ("features.max_long_side", -1),
    ("features.memory_gib", -1),
    ("svm.c", 0),
    ("svm.positive_weight", 0),
    ("svm.bias_multiplier", 0),
    ("svm.negative_iou", 0),
    ("svm.easy_score", 0),
    ("svm.epochs", 0),
    ("svm.tolerance", 1),
    ("svm.loss", "hinge"),
    ("bbox.ridge", 0),
    ("bbox.min_iou", 1),
    ("postprocess.nms_iou", 0),
    ("postprocess.max_per_class", 0),
    ("finetune.iterations", 0),
    ("finetune.learning_rate", -1),
    ("finetune.decay_at", [2]),
    ("finetune.batch_size", 0),
    ("finetune.images_per_batch", -1),
    ("finetune.positive_fraction", 1),
    ("finetune.positive_iou", 0),
    ("finetune.negative_iou", [0.5, 0.1]),
    ("finetune.momentum", 1),
    ("finetune.weight_decay", -1),
    ("finetune.dropout", 1),
    ("finetune.open_layers", -2),
    ("finetune.validation_fraction", 1),
    ("finetune.checkpoint_every", 0),
    ("finetune.validate_map_every", -1),
    ("evaluation.iou", 5),
    ("evaluation.bootstrap", -1),
    ("evaluation.similar_classes", [["cat"]]),
    ("evaluation.similar_classes", [["cat", "dog"], ["cow", "cow"]]),
]


@pytest.mark.parametrize(("option", "value"), WRONG, ids=[f"{o}={v}" for o, v in WRONG])
def test_a_value_out_of_range_is_refused_by_name(option: str, value: Any) -> None:
    section, name = option.split(".")
    with pytest.raises(ConfigError, match=rf"^{re.escape(option)}: expected .*, got "):
        config_from_dict({section: {name: value}})


def test_without_held_out_images_there_is_no_map_to_choose_by() -> None:
    expected = "^finetune.validate_map_every: expected 0 without validation_fraction, got 2"
    values = {"validate_map_every": 2, "validation_fraction": 0.0}
    with pytest.raises(ConfigError, match=expected):
        config_from_dict({"finetune": values})
    held_out = config_from_dict({"finetune": values | {"validation_fraction": 0.1}})
    assert held_out.finetune.validate_map_every == 2


@pytest.mark.parametrize("section", [s for s, hints in section_hints().items() if "seed" in hints])
def test_no_seed_is_negative(section: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{section}.seed: expected"):
        config_from_dict({section: {"seed": -1}})


def test_the_defaults_are_the_papers_values() -> None:
    values = config_to_dict(Config())
    assert values["features"]["levels"] == [1, 2, 3, 6]
    assert values["features"]["context"] == 16
    assert values["svm"]["c"] == 1e-3
    assert values["svm"]["negative_iou"] == 0.3
    assert values["bbox"]["ridge"] == 1000
    assert values["postprocess"]["nms_iou"] == 0.3
    assert values["finetune"]["positive_fraction"] == 0.25
    assert values["evaluation"]["iou"] == 0.5
