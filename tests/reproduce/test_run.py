"""Making a table: shared trainings, what is done is skipped, what is missing is said."""

import json
from dataclasses import replace

import pytest

from detection.errors import ConfigError, DataError
from detection.io.files import FolderLock
from detection.reproduce import run
from detection.reproduce.run import reproduce
from detection.reproduce.settings import chain
from detection.reproduce.table import Row, Training
from detection.reproduce.trainings import TRAININGS
from detection.runs.folder import read_run_config
from tests.reproduce.small import TABLE, values_of


def row_of(results, name):
    return next(result for result in results if result.row.name == name)


def never(*arguments, **options):
    raise AssertionError("nothing is to be done")


def test_rows_have_numbers_with_intervals_and_images(made):
    _, results = made
    for name in ("pool5", "ft fc7", "ft fc7 bb", "ft fc6", "both"):
        result = row_of(results, name)
        assert result.state == "done"
        low, high = result.interval
        assert 0 <= low <= high <= 100
        assert 0 <= result.value <= 100
        assert result.num_images == 5
        assert not result.official
        assert set(result.classes) == {"red", "blue"}


def found(choices, row):
    folder = choices.row_folder(row.row)
    return json.loads((folder / "detections" / "coco.json").read_text(encoding="utf-8"))


def test_rows_that_differ_at_test_time_share_a_training(made):
    choices, results = made
    folders = {path.name for path in (choices.out / "trainings").iterdir() if path.is_dir()}
    assert folders == {"tiny-pool5", "tiny-ft-fc7", "tiny-ft-fc6", "tiny-again"}
    plain, moved = row_of(results, "ft fc7"), row_of(results, "ft fc7 bb")
    assert plain.training == moved.training
    assert found(choices, plain) != found(choices, moved)


def test_a_fine_tuned_network_that_is_taken_over_is_the_same_network(made):
    choices, results = made
    first, again = row_of(results, "ft fc7 bb"), row_of(results, "ft fc7 again")
    assert found(choices, again) == found(choices, first)
    assert found(choices, row_of(results, "ft fc6")) != found(choices, first)


def test_training_and_testing_are_timed(made):
    _, results = made
    for result in results[:-1]:
        assert result.training.seconds > 0
        assert result.training.whole
        assert result.training.cpu_seconds > 0
        assert result.training.peak_gib is None or result.training.peak_gib > 0.05
        assert result.seconds > 0


def test_a_row_without_its_weights_says_where_they_go(made):
    _, results = made
    result = row_of(results, "elsewhere")
    assert result.state == "missing"
    (line,) = result.missing
    assert line.startswith("nowhere.safetensors: no such file; weights of tiny go there")


def test_what_is_done_is_not_done_again(made, monkeypatch):
    choices, _ = made
    before = values_of(choices)
    for name in ("train", "evaluate", "load_detector", "propose_dataset"):
        monkeypatch.setattr(run, name, never)
    reproduce(TABLE, choices)
    assert values_of(choices) == before


def test_a_test_that_is_older_than_its_model_is_made_again(made, monkeypatch):
    choices, _ = made
    row = TABLE.rows[0]
    config = run.row_config(row, read_run_config(choices.run_folder("tiny-pool5")))
    metrics = choices.row_folder(row) / "metrics.json"
    model = choices.run_folder("tiny-pool5") / "model.safetensors"
    assert run._kept(metrics, config, [model]) is not None
    other = replace(config, postprocess=replace(config.postprocess, nms_iou=0.4))
    assert run._kept(metrics, other, [model]) is None
    newer = metrics.with_name("newer")
    newer.write_text("")
    assert run._kept(metrics, config, [model, newer]) is None
    newer.unlink()


def test_other_settings_in_the_same_folder_stop_before_any_work(made, monkeypatch):
    choices, _ = made
    monkeypatch.setattr(run, "_made", never)
    changed = replace(choices, given={**choices.given, "svm": {"c": 0.5}})
    with pytest.raises(ConfigError, match=r"tiny-pool5: expected the settings .*svm\.c"):
        reproduce(TABLE, changed)


def test_a_row_that_fails_is_said_and_the_others_go_on(made, tmp_path):
    choices, _ = made
    table = replace(TABLE, rows=(TABLE.rows[3], TABLE.rows[6]))
    elsewhere = replace(
        choices,
        out=tmp_path,
        given={**choices.given, "data": {"root": str(tmp_path / "voc")}},
    )
    results = reproduce(table, elsewhere)
    assert [result.state for result in results] == ["missing", "missing"]
    assert all("voc: no such folder" in result.missing[0] for result in results)


def test_a_chain_begins_with_the_network_that_is_taken_over(made):
    assert [training.name for training in chain("tiny-ft-fc6")] == ["tiny-ft-fc7", "tiny-ft-fc6"]


def test_a_second_call_in_the_same_folder_is_refused_and_changes_nothing(made):
    choices, _ = made
    before = values_of(choices)
    with FolderLock(choices.out), pytest.raises(DataError, match="locked by pid"):
        reproduce(TABLE, choices)
    assert values_of(choices) == before


def test_rows_say_that_their_network_is_not_that_of_the_preset(made):
    _, results = made
    assert {result.trunk for result in results if result.state == "done"} == {"tiny"}


def test_a_layer_that_nothing_makes_is_left_out_without_any_work(made, tmp_path, monkeypatch):
    choices, _ = made
    options = "--features.layer fc6 --finetune.enabled false --backbone.name squeezenet"
    never_made = Training(name="tiny-never", preset="synthetic_sppnet", options=options)
    monkeypatch.setitem(TRAININGS, never_made.name, never_made)
    monkeypatch.setattr(run, "train", never)
    table = replace(TABLE, rows=(Row(name="fc6", training=never_made.name),))
    (result,) = reproduce(table, replace(choices, out=tmp_path))
    assert result.state == "impossible"
    assert result.missing == (
        "the weights of squeezenet have no fc6, and only fine-tuning makes one",
    )
