"""From rows to configurations and command lines that stand for each other."""

import shlex
from dataclasses import replace

import pytest

from detection.cli.commands import COMMANDS
from detection.cli.main import build_parser
from detection.cli.parser import resolve_config
from detection.config import Config
from detection.errors import ConfigError
from detection.reproduce.settings import (
    Choices,
    chain,
    choose_rows,
    commands,
    find_table,
    option_words,
    other_trunk,
    read_options,
    training_config,
)
from detection.reproduce.table import SVM_TASKS
from detection.reproduce.tables import TABLES
from detection.reproduce.trainings import TRAININGS
from detection.reproduce.trunks import find_trunk
from detection.runs.config_io import read_config_file
from detection.runs.presets import find_preset

ROWS = [(table, row) for table in TABLES.values() for row in table.rows]
IDS = [f"{table.name}: {row.name}" for table, row in ROWS]
BUDGET = {
    "features": {"scales": (480, 600), "device": "cpu"},
    "finetune": {"negative_iou": (0.0, 0.5)},
    "data": {"class_names": ("a, b", "c"), "train_difficult": False},
}


def parsed(line):
    """The verb of a command line, and the configuration that it stands for."""
    program, verb, *words = shlex.split(line)
    assert program == "detection"
    options = build_parser(verb).parse(words)
    return verb, options, resolve_config(options, Config(), COMMANDS[verb].sections)


@pytest.mark.parametrize("data", ["voc", "subset", "synthetic"])
@pytest.mark.parametrize(("table", "row"), ROWS, ids=IDS)
def test_the_commands_of_a_row_stand_for_its_trainings(table, row, data, tmp_path):
    check_commands(table, row, Choices(out=tmp_path, data=data, given=BUDGET))


@pytest.mark.parametrize(("table", "row"), ROWS, ids=IDS)
def test_they_do_on_another_trunk_too(table, row, tmp_path):
    if not table.own_trunk:
        trunk = find_trunk("squeezenet")
        files = ("subset_sppnet_squeezenet_fc",)
        settings = read_config_file(find_preset(files[0]))
        check_commands(
            table, row, Choices(out=tmp_path, files=files, from_files=settings, trunk=trunk)
        )
        check_commands(table, row, Choices(out=tmp_path, given=BUDGET, trunk=trunk))


def check_commands(table, row, choices):
    lines = commands(table, row, choices)
    alone = table.task in SVM_TASKS  # one command trains and tests
    lines = lines if alone else lines[:-1]
    trainings = dict.fromkeys(one for name in row.trainings for one in chain(name))
    for line, training in zip(lines, trainings, strict=True):
        verb, options, config = parsed(line)
        verbs = {"detection": "train", "classification": "pretrain"}
        assert verb == verbs.get(training.task, "classify-eval")
        assert options.out == choices.run_folder(training.name)
        assert alone or options.resume
        assert config == training_config(training, choices)


@pytest.mark.parametrize(("table", "row"), ROWS, ids=IDS)
def test_the_commands_of_a_row_end_with_its_test(table, row, tmp_path):
    choices = Choices(out=tmp_path)
    *_, line = commands(table, row, choices)
    if table.task in SVM_TASKS:
        return
    program, verb, *words = shlex.split(line)
    options = build_parser(verb).parse(words)
    assert [options.run, *getattr(options, "others", [])] == [
        choices.run_folder(name) for name in row.trainings
    ]
    assert options.out == choices.row_folder(row)
    assert program == "detection"


def test_what_a_row_is_outlives_a_file_with_another_budget_but_not_an_option(tmp_path):
    training = TRAININGS["sppnet-zf5-5scale-second"]
    files = read_config_file(find_preset("subset_sppnet_squeezenet"))
    choices = Choices(out=tmp_path, from_files=files)
    config = training_config(training, choices)
    assert config.backbone.name == "squeezenet"
    assert config.backbone.weights.endswith("squeezenet1_0_imagenet_caffe.safetensors")
    assert config.svm.max_hard == 30
    assert config.features.layer == "fc7"
    assert config.features.scales == (480, 576, 688, 864, 1200)
    assert config.finetune.enabled
    smaller = Choices(out=tmp_path, from_files=files, given={"features": {"scales": (320,)}})
    assert training_config(training, smaller).features.scales == (320,)


def test_another_network_than_the_first_is_named_where_nobody_names_one(tmp_path):
    training = TRAININGS["sppnet-zf5-5scale-second"]
    config = training_config(training, Choices(out=tmp_path))
    assert config.backbone.weights == "data/weights/zf5_second.safetensors"
    given = {"backbone": {"weights": "mine.safetensors"}}
    config = training_config(training, Choices(out=tmp_path, given=given))
    assert config.backbone.weights == "mine.safetensors"


def test_options_are_typed_and_read_back():
    assert read_options(shlex.join(option_words(BUDGET))) == BUDGET


def test_an_unknown_table_is_answered_with_a_near_one():
    with pytest.raises(ConfigError, match="spp-table9: expected a table; did you mean spp-table-9"):
        find_table("spp-table9")


def test_rows_are_chosen_by_parts_of_their_names():
    table = TABLES["rcnn-table-2"]
    assert [row.name for row in choose_rows(table, ["ft fc6", "bb"]).rows] == [
        "R-CNN, ft fc6",
        "R-CNN, ft fc7 bb",
    ]
    assert choose_rows(table, []) == table
    with pytest.raises(ConfigError, match="--rows: expected a part of a row's name"):
        choose_rows(table, ["fc8"])


def test_a_network_that_is_not_the_papers_is_named(tmp_path):
    row = TABLES["rcnn-table-2"].rows[0]
    config = training_config(TRAININGS[row.training], Choices(out=tmp_path))
    assert other_trunk(row, config) == ""
    for name, expected in (("caffenet", ""), ("squeezenet", "squeezenet"), ("zf5", "zf5")):
        other = replace(config, backbone=replace(config.backbone, name=name))
        assert other_trunk(row, other) == expected


def test_rows_of_several_tables_that_test_the_same_share_it(tmp_path):
    choices = Choices(out=tmp_path)
    row = TABLES["spp-table-9"].rows[9]
    assert row.name == "SPPnet, 5 scales, ft fc7 bb"
    folder = choices.row_folder(row)
    assert folder == tmp_path / "tests/sppnet-zf5-5scale-ft-fc7/as-trained"
    for name, place in (("spp-table-10", 3), ("spp-table-11", 5), ("spp-table-12", 0)):
        assert choices.row_folder(TABLES[name].rows[place]) == folder
    assert choices.row_folder(TABLES["spp-table-9"].rows[8]) == (
        folder.parent / "postprocess.regression-false"
    )
    both = choices.row_folder(TABLES["spp-table-12"].rows[2])
    assert both.parent.name == "sppnet-zf5-5scale-ft-fc7-and-sppnet-zf5-5scale-second"


def test_two_rows_share_a_test_only_where_they_test_the_same(tmp_path):
    choices, tested = Choices(out=tmp_path), {}
    for _, row in ROWS:
        what = (row.trainings, row.test, row.view)
        assert tested.setdefault(choices.row_folder(row), what) == what
