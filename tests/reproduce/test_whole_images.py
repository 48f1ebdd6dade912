"""The tables of SVMs on whole images: as data, and made of tiny images."""

import json
from dataclasses import replace

import pytest

from detection.cli.main import main
from detection.reproduce import run
from detection.reproduce.run import reproduce
from detection.reproduce.settings import Choices, choose_rows, training_config
from detection.reproduce.trainings import TRAININGS
from detection.reproduce.trunks import find_trunk, on_trunk
from detection.reproduce.whole_images import IMAGE_TRAININGS, SPP_6, SPP_7_TO_8
from detection.runs.presets import list_presets
from tests.classification.tiny_classifier import use_tiny_network, write_class_folders, write_voc

ROWS = [*SPP_6.rows, *SPP_7_TO_8.rows]
SQUEEZENET = find_trunk("squeezenet")


def config_of(row, tmp_path, **choices):
    return training_config(TRAININGS[row.training], Choices(out=tmp_path, **choices))


@pytest.mark.parametrize("row", ROWS, ids=[row.training for row in ROWS])
def test_a_row_is_what_its_name_says(row, tmp_path):
    config = config_of(row, tmp_path)
    model, shown, layer = row.name.split(", ")
    *words, side = shown.split()
    assert config.backbone.name == ("overfeat7" if "Overfeat-7" in model else "zf5")
    pool = "last_pool" if model.startswith("no SPP") else "pyramid"
    assert config.classify.svm_pool == pool
    view = {"crop": "crop", "full image": "full", "warped": "warp"}[" ".join(words)]
    assert config.classify.svm_view == view
    assert config.features.scales == (int(side),)
    assert config.features.layer == ("pool5" if layer == "pyramid" else layer)
    assert config.features.levels == ((6,) if layer == "pool5" else (1, 2, 3, 6))
    assert config.features.method == "sppnet"
    weights = {"no SPP (ZF-5)": "zf5_no_spp", "SPP (ZF-5)": "zf5"}.get(model, "overfeat7_multi")
    assert config.backbone.weights == f"data/weights/{weights}.safetensors"


def test_voc_is_ranked_and_caltech_is_split_as_in_the_paper(tmp_path):
    for row in SPP_6.rows:
        config = config_of(row, tmp_path)
        assert config.classify.svm_source == "images"
        assert (config.data.year, config.data.train_split, config.data.test_split) == (
            *(2007, "trainval", "test"),
        )
    for row in SPP_7_TO_8.rows:
        classify = config_of(row, tmp_path).classify
        assert (classify.svm_source, classify.svm_root) == ("folder", "data/caltech101")
        counts = (classify.svm_train_images, classify.svm_test_images, classify.svm_splits)
        assert (*counts, classify.seed) == (30, 50, 10, 0)


def test_the_gains_are_those_that_the_text_states():
    """SPP §3.2: the full image is better than its crop; §3.3: the warped image is worse."""
    fc7 = [row.paper for row in SPP_6.rows if row.name.endswith("fc7")]
    assert fc7 == [None, 76.45, 78.39, 80.10, None]
    pyramid = [row.paper for row in SPP_7_TO_8.rows if row.name.endswith("pyramid")]
    assert pyramid == [None, 91.44, 89.91, 93.42]


def test_the_preset_expects_the_best_row_of_its_network():
    published = {preset.name: preset.published for preset in list_presets()}
    best = max(
        row.paper
        for row in SPP_6.rows
        if row.paper and TRAININGS[row.training].preset == "images/zf5"
    )
    assert published["images/zf5"] == f"classification mAP: {best:.2f} on VOC2007 test"
    assert not published["images/overfeat7"]  # at a side that is not certain


@pytest.mark.parametrize(("table", "count"), [(SPP_6, 15), (SPP_7_TO_8, 12)])
def test_on_another_trunk_the_networks_are_one_and_the_sizes_stay(table, count, tmp_path):
    other = on_trunk(table, SQUEEZENET, {})
    assert len(other.rows) == count
    assert "One scale is" not in other.note
    for row in other.rows:
        config = config_of(row, tmp_path, trunk=SQUEEZENET)
        assert config.backbone.name == "squeezenet"
        assert config.features.scales == (int(row.name.split(", ")[1].split()[-1]),)


def test_trainings_that_differ_in_the_network_alone_share_a_folder(tmp_path):
    choices = Choices(out=tmp_path, trunk=SQUEEZENET)
    folders = {}
    for training in IMAGE_TRAININGS:
        config = training_config(training, choices)
        same = replace(config, classify=replace(config.classify, views=("full",)))
        assert folders.setdefault(choices.run_folder(training.name), same) == same
    assert not any(word in str(folder) for folder in folders for word in ("zf5", "overfeat7"))


@pytest.mark.parametrize("data", ["subset", "synthetic"])
def test_other_data_has_objects_in_the_place_of_class_folders(data, tmp_path):
    for row in SPP_7_TO_8.rows:
        config = config_of(row, tmp_path, data=data)
        assert (config.classify.svm_source, config.classify.svm_train_images) == ("objects", 10)
    assert config_of(SPP_6.rows[0], tmp_path, data=data).classify.svm_source == "images"


@pytest.fixture
def choices(tmp_path, monkeypatch):
    use_tiny_network(monkeypatch)
    given = {
        "backbone": {"name": "tiny", "weights": "none"},
        "features": {"scales": (64,), "device": "cpu"},
        "data": {
            "root": str(write_voc(tmp_path / "voc")),
            "year": 0,
            "train_split": "train",
        },
        "classify": {
            "svm_root": str(write_class_folders(tmp_path / "classes") / "train"),
            "svm_train_images": 3,
            "svm_splits": 2,
        },
        "evaluation": {"bootstrap": 20},
    }
    return Choices(out=tmp_path / "out", given=given)


def values_of(choices, table):
    return json.loads((choices.out / f"{table.name}.json").read_text(encoding="utf-8"))


def never(*arguments, **options):
    raise AssertionError("nothing is to be done")


def test_images_are_ranked_once_and_a_layer_that_is_not_there_is_said(choices, monkeypatch):
    table = choose_rows(SPP_6, ["SPP (ZF-5), crop 224, pool5", "(ZF-5), full image 224, fc6"])
    pool5, fc6 = reproduce(replace(table, rows=table.rows[-2:]), choices)
    assert (pool5.state, fc6.state) == ("done", "missing")
    assert "tiny brings no fc layers" in fc6.missing[0]
    assert pool5.value == 100
    assert pool5.interval == (100, 100)
    assert (pool5.num_images, pool5.official) == (15, False)
    assert pool5.trunk == "tiny"
    assert pool5.notes == ("conv layers of random weights",)
    (command,) = pool5.commands
    assert command.startswith("detection classify-eval --config images/zf5 ")
    before = values_of(choices, table)
    monkeypatch.setattr(run, "classify_eval", never)
    reproduce(replace(table, rows=table.rows[-2:-1]), choices)
    assert values_of(choices, table)["rows"] == before["rows"][:1]


def test_what_was_ended_early_is_made_anew(choices):
    table = choose_rows(SPP_6, ["SPP (ZF-5), full image 224, pool5"])
    table = replace(table, rows=table.rows[-1:])
    (first,) = reproduce(table, choices)
    folder = choices.run_folder(table.rows[0].training)
    (folder / "metrics.json").unlink()
    (again,) = reproduce(table, choices)
    assert again == first


def test_class_folders_have_a_mean_and_a_deviation(choices):
    table = choose_rows(SPP_7_TO_8, ["warped"])
    (result,) = reproduce(table, choices)
    assert result.state == "done"
    assert 50 < result.value <= 100
    assert result.deviation >= 0
    assert result.interval is None
    assert (result.num_images, result.official) == (24, False)
    values = values_of(choices, table)
    assert values["heading"].endswith("Not Caltech101 numbers: train, 24 images")
    assert values["rows"][0]["deviation"] == result.deviation
    page = (choices.out / f"{table.name}.html").read_text(encoding="utf-8")
    assert "one standard deviation over the splits" in page
    assert "std. dev." in page


def test_objects_in_the_place_of_class_folders_are_noted(choices):
    table = choose_rows(SPP_7_TO_8, ["warped"])
    given = choices.given | {"classify": {"svm_train_images": 3}}
    (result,) = reproduce(table, replace(choices, data="synthetic", given=given))
    assert result.state == "done"
    assert result.tested_on.startswith("objects of ")
    assert result.notes[-1] == "objects cut out of images, 3 of each class to train on"


def test_folders_that_are_not_there_are_said_with_what_goes_where(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["reproduce", "spp-tables-7-8", "--rows", "warped"]) == 1
    text = capsys.readouterr().out
    assert "cannot run here: data/caltech101: no such folder; Caltech101 goes there" in text
    assert "cannot run here: data/weights/zf5.safetensors: no such file" in text
    words = ["reproduce", "spp-table-6", "--trunk", "squeezenet", "--rows", "full image 224, fc"]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert text.count("not possible: the weights of squeezenet have no fc") == 2
