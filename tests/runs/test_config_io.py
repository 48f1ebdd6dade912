from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection.config import Config, FeatureConfig, PostprocessConfig, SvmConfig
from detection.errors import ConfigError
from detection.io.tensors import load_tensors, save_tensors
from detection.runs.config_io import (
    apply,
    config_from_dict,
    config_to_dict,
    difference,
    merge,
    read_config_file,
    read_departures,
    read_option,
    section_hints,
    write_config,
)

CHANGED = Config(
    features=FeatureConfig(method="rcnn", scales=(480, 576), levels=(1, 2)),
    svm=SvmConfig(c=1e-7),
    postprocess=PostprocessConfig(score_threshold=-float("inf")),
)


@pytest.mark.parametrize("config", [Config(), CHANGED], ids=["default", "changed"])
def test_a_configuration_survives_dictionary_yaml_and_tensor_file(
    config: Config, tmp_path: Path
) -> None:
    assert config_from_dict(config_to_dict(config)) == config
    (tmp_path / "c.yaml").write_text(write_config(config))
    assert apply(Config(), read_config_file(tmp_path / "c.yaml")) == config
    save_tensors(tmp_path / "m", {}, {"config": config_to_dict(config)})
    assert config_from_dict(load_tensors(tmp_path / "m")[1]["config"]) == config


@given(
    c=st.floats(min_value=1e-300, max_value=1e300),
    scales=st.lists(st.integers(32, 4000), min_size=1, max_size=5),
    names=st.lists(
        st.text(st.characters(exclude_categories=("C", "Z")), min_size=1), unique=True, max_size=4
    ),
)
def test_any_values_survive_yaml(c: float, scales: list[int], names: list[str]) -> None:
    import yaml

    departures = {
        "svm": {"c": c},
        "features": {"scales": scales},
        "data": {"class_names": names},
    }
    config = config_from_dict(departures)
    assert config_from_dict(yaml.safe_load(write_config(config))) == config


def test_every_field_of_the_configuration_has_a_type_the_conversion_knows() -> None:
    defaults = config_to_dict(Config())
    for section, options in section_hints().items():
        for name in options:
            assert read_departures({section: {name: defaults[section][name]}}, "x")


def test_a_file_holds_departures_only_and_1e_4_is_a_number(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("# header\nsvm:\n  c: 1e-4\nfeatures: {scales: [480, 576]}\n")
    assert read_config_file(tmp_path / "c.yaml") == {
        "svm": {"c": 1e-4},
        "features": {"scales": (480, 576)},
    }


def test_an_empty_file_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("# nothing\n")
    assert apply(Config(), read_config_file(tmp_path / "c.yaml")) == Config()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "featurs: {method: rcnn}",
            "c.yaml: featurs: unknown section; did you mean features?",
        ),
        (
            "features: {metod: rcnn}",
            "c.yaml: features.metod: unknown option; did you mean features.method?",
        ),
        ("svm: 3", "c.yaml: svm: expected options and values, got 3"),
        (
            "features: {method: rcn}",
            "features.method: expected one of sppnet, rcnn, got 'rcn'; did you mean rcnn?",
        ),
        ("svm: {c: many}", "c.yaml: svm.c: expected a number, got 'many'"),
        ("svm: {c: .nan}", "c.yaml: svm.c: expected a number, got nan"),
        ("svm: {c: true}", "c.yaml: svm.c: expected a number, got True"),
        ("svm: {epochs: 1.5}", "c.yaml: svm.epochs: expected a whole number, got 1.5"),
        ("svm: {epochs: yes}", "c.yaml: svm.epochs: expected a whole number, got True"),
        ("bbox: {enabled: 1}", "c.yaml: bbox.enabled: expected true or false, got 1"),
        ("features: {scales: 688}", "features.scales: expected a list of whole numbers, got 688"),
        ("features: {scales: [a]}", "c.yaml: features.scales: expected a whole number, got 'a'"),
        ("finetune: {negative_iou: [0.1]}", "finetune.negative_iou: expected 2 values, got [0.1]"),
        ("data: {class_names: [no]}", "c.yaml: data.class_names: expected a text, got False"),
        ("data: {class_names: person}", "data.class_names: expected a list of texts, got 'person'"),
        (
            "evaluation: {similar_classes: cat}",
            "evaluation.similar_classes: expected a list of lists of texts, got 'cat'",
        ),
        (
            "evaluation: {similar_classes: [cat]}",
            "evaluation.similar_classes: expected a list of texts, got 'cat'",
        ),
        ("svm: [", "c.yaml: expected YAML, got an error: "),
        ("- svm", "c.yaml: expected section: {option: value}, got ['svm']"),
        ("!!python/object/apply:os.getcwd []", "c.yaml: expected YAML, got an error: "),
    ],
)
def test_a_mistake_in_a_file_is_one_line_that_names_file_and_option(
    text: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_config_file(tmp_path / "c.yaml")
    assert message in str(caught.value)
    assert str(tmp_path / "c.yaml") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone.yaml: cannot be read: No such file"):
        read_config_file(tmp_path / "gone.yaml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        read_config_file(tmp_path)


@pytest.mark.parametrize(
    ("option", "text", "value"),
    [
        ("svm.c", "1e-4", 1e-4),
        ("svm.c", "2", 2.0),
        ("postprocess.score_threshold", "-inf", -float("inf")),
        ("svm.epochs", "3", 3),
        ("bbox.enabled", "false", False),
        ("data.root", "1e-4", "1e-4"),
        ("data.root", "[x]: {y", "[x]: {y"),
        ("features.method", "rcnn", "rcnn"),
        ("features.scales", "480,576", (480, 576)),
        ("features.scales", "[480, 576]", (480, 576)),
        ("features.scales", "688", (688,)),
        ("data.class_names", "cat, dog", ("cat", "dog")),
        ("data.class_names", "[]", ()),
        ("finetune.negative_iou", "0,0.5", (0.0, 0.5)),
    ],
)
def test_options_are_read_as_their_type(option: str, text: str, value: Any) -> None:
    assert read_option(*option.split("."), text) == value


def test_of_two_sources_the_later_one_holds() -> None:
    first = {"svm": {"c": 1.0, "epochs": 2}}
    assert merge(first, {"svm": {"c": 2.0}}, {"bbox": {"ridge": 1.0}}) == {
        "svm": {"c": 2.0, "epochs": 2},
        "bbox": {"ridge": 1.0},
    }
    assert first == {"svm": {"c": 1.0, "epochs": 2}}


def test_a_value_out_of_range_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^svm.c: expected a positive number, got -1.0$"):
        config_from_dict({"svm": {"c": -1}})


def test_difference_lists_what_changed() -> None:
    assert difference(Config(), Config()) == []
    assert difference(Config(), CHANGED)[0] == "features.method: 'sppnet' -> 'rcnn'"
    assert len(difference(Config(), CHANGED)) == 5


def test_every_section_is_frozen() -> None:
    for section in dataclasses.fields(Config):
        value = getattr(Config(), section.name)
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, dataclasses.fields(value)[0].name, None)


def test_reading_a_configuration_does_not_import_torch() -> None:
    code = "import detection.runs.config_io, sys; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
options = st.sampled_from(
    [(section, name) for section, names in section_hints().items() for name in names]
)


def known_values(hint: Any) -> st.SearchStrategy[Any]:
    """Return a strategy for values of an option's type, in or out of its range."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin is tuple and arguments[-1] is Ellipsis:
        return st.lists(known_values(arguments[0]), max_size=3)
    if origin is tuple:
        return st.tuples(*map(known_values, arguments)).map(list)
    kinds = {
        int: st.integers(-3, 3000),
        float: st.floats(-2, 2) | st.sampled_from([1e-7, 1e9, -1e9]),
        bool: st.booleans(),
        str: st.text(max_size=8),
    }
    return kinds.get(hint, plain)


@given(st.dictionaries(st.sampled_from([*section_hints(), "other"]) | st.text(max_size=5), plain))
def test_any_content_is_a_configuration_or_refused_by_name(values: dict[str, Any]) -> None:
    try:
        config = config_from_dict(values, "c.yaml")
    except ConfigError as error:
        config, message = None, str(error)
    if config is None:
        assert "expected" in message or "unknown" in message
    else:
        assert config_from_dict(config_to_dict(config)) == config


@given(options.flatmap(lambda o: st.tuples(st.just(o), known_values(section_hints()[o[0]][o[1]]))))
def test_any_value_of_an_options_type_is_taken_as_it_is_or_refused(
    option: tuple[tuple[str, str], Any],
) -> None:
    (section, name), value = option
    try:
        config = config_from_dict({section: {name: value}})
    except ConfigError as error:
        config, message = None, str(error)
    if config is None:
        assert section in message
        assert "expected" in message
    else:
        got = config_to_dict(config)[section][name]
        assert got == value
        assert config_from_dict(config_to_dict(config)) == config
        changes = difference(Config(), config)
        assert [change.split(": ", 1)[0] for change in changes] in ([], [f"{section}.{name}"])


@given(options, st.text(max_size=12))
def test_any_text_of_an_option_is_read_or_refused_by_name(
    option: tuple[str, str], text: str
) -> None:
    refused = False
    try:
        value = read_option(*option, text)
    except ConfigError as error:
        refused, message = True, str(error)
    if refused:
        assert message.startswith(f"--{option[0]}.{option[1]}: expected ")
    else:
        assert read_departures({option[0]: {option[1]: value}}, "x")


departures = st.dictionaries(
    st.sampled_from("ab"), st.dictionaries(st.sampled_from("xyz"), st.integers())
)


@given(departures, departures, departures)
def test_merging_is_associative_and_the_last_word_holds(
    first: dict[str, Any], second: dict[str, Any], third: dict[str, Any]
) -> None:
    merged = merge(first, second, third)
    assert merged == merge(merge(first, second), third) == merge(first, merge(second, third))
    assert merge(merged, third) == merged
    assert merge({}, first) == merge(first, {}) == first
