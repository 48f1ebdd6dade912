"""Tables on another trunk: what belongs to the network changes, what makes a row does not."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection.config import Config
from detection.errors import ConfigError
from detection.reproduce.settings import Choices, training_config
from detection.reproduce.tables import TABLES
from detection.reproduce.trainings import TRAININGS
from detection.reproduce.trunks import find_trunk, on_trunk, scaled, trunk_names
from detection.runs.config_io import apply, config_to_dict, read_config_file
from detection.runs.presets import find_preset

SQUEEZENET = find_trunk("squeezenet")
WEIGHTS = "data/weights/squeezenet1_0_imagenet_caffe.safetensors"
CONFIGS = Path(__file__).parents[2] / "configs"
ALLOWED = [name for name, table in TABLES.items() if not table.own_trunk]
TRAINED = {
    name: one
    for name, one in TRAININGS.items()
    if one.task == "detection" and not name.startswith(("tiny-", "ladder-lite0"))
}


def config_of(name, tmp_path, **choices):
    choices = Choices(out=tmp_path, trunk=SQUEEZENET, **choices)
    return training_config(TRAININGS[name], choices)


@pytest.mark.parametrize("name", TRAINED)
def test_every_training_is_of_the_trunk_and_stays_what_it_is(name, tmp_path):
    before = training_config(TRAININGS[name], Choices(out=tmp_path))
    config = config_of(name, tmp_path)
    assert config.backbone.name == "squeezenet"
    start = TRAININGS[name].network
    if start:
        assert config.backbone.weights == str(
            Choices(out=tmp_path, trunk=SQUEEZENET).run_folder(start)
        )
    else:
        assert (config.backbone.weights, config.backbone.preprocessing) == (WEIGHTS, "caffe")
    assert config.features.maps == ()
    assert config.backbone.seed == before.backbone.seed
    for option in ("method", "layer", "levels", "pooling", "projection"):
        assert getattr(config.features, option) == getattr(before.features, option)
    assert len(config.features.scales) == len(before.features.scales)
    assert config.finetune.enabled == before.finetune.enabled
    assert config.finetune.scores == before.finetune.scores
    assert (config.data, config.bbox) == (before.data, before.bbox)


def test_the_settings_are_those_that_were_chosen_for_the_trunk(tmp_path):
    """On a fold of the subset's train, for the presets of this name."""
    preset = read_config_file(find_preset("subset_sppnet_squeezenet"))
    chosen = apply(Config(), preset)
    config = config_of("sppnet-zf5-1scale-pool5", tmp_path)
    assert config.svm.negative_overlap == 0.7  # of the paper
    for option in preset["svm"]:
        assert getattr(config.svm, option) == getattr(chosen.svm, option)
    assert config.backbone == chosen.backbone
    for option in ("scales", "power", "dtype"):
        assert getattr(config.features, option) == getattr(chosen.features, option)


def test_five_scales_stand_to_the_trunks_own_as_those_of_the_paper(tmp_path):
    assert config_of("sppnet-zf5-5scale-pool5", tmp_path).features.scales == (
        336,
        400,
        480,
        608,
        832,
    )


@given(own=st.integers(32, 2000))
def test_the_papers_one_scale_becomes_the_trunks(own):
    assert scaled((688,), own) == (own,)
    others = scaled((480, 864, 1200), own)
    assert all(side % 16 == 0 and side >= 32 for side in others)
    assert list(others) == sorted(others)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, (WEIGHTS, "caffe")),
        (
            {"weights": f"elsewhere/{Path(WEIGHTS).name}"},
            (f"elsewhere/{Path(WEIGHTS).name}", "caffe"),
        ),
        ({"weights": "torchvision"}, ("torchvision", "auto")),
        ({"weights": "mine.pt", "preprocessing": "torchvision"}, ("mine.pt", "torchvision")),
    ],
)
def test_pixel_values_go_with_the_weights(options, expected, tmp_path):
    given_options = {"backbone": options} if options else {}
    backbone = config_of("rcnn-zf5-ft-fc7", tmp_path, given=given_options).backbone
    assert (backbone.weights, backbone.preprocessing) == expected


def test_a_file_changes_the_budget_and_no_trunk(tmp_path):
    files = read_config_file(find_preset("subset_sppnet_lite0"))
    config = config_of("sppnet-zf5-1scale-ft-fc7", tmp_path, from_files=files)
    assert config.backbone.name == "squeezenet"
    assert config.features.maps == ()
    assert config.finetune.optimizer == "adamw"


def test_trainings_that_differ_in_the_network_alone_share_a_folder(tmp_path):
    choices = Choices(out=tmp_path, trunk=SQUEEZENET)
    folders = {}
    for name, training in TRAINED.items():
        folders.setdefault(choices.run_folder(name), []).append(training)
    for trainings in folders.values():
        assert len({str(training_config(one, choices)) for one in trainings}) == 1
    shared = {tuple(one.name for one in many) for many in folders.values() if len(many) > 1}
    assert shared == {("rcnn-alexnet-ft-fc7", "rcnn-zf5-ft-fc7")}
    assert all("squeezenet" in folder.name for folder in folders)
    assert not any("zf5" in folder.name or "alexnet" in folder.name for folder in folders)


@pytest.mark.parametrize("name", ALLOWED)
def test_a_table_on_another_trunk_cannot_be_taken_for_the_papers(name):
    table = on_trunk(TABLES[name], SQUEEZENET, {})
    assert table.name == f"{name}-squeezenet"
    assert table.title.endswith(", on squeezenet")
    assert "the published numbers are of other networks" in table.note
    names = [row.name for row in table.rows]
    assert len(set(names)) == len(names)
    assert not any(word in text for text in names for word in ("ZF-5", "AlexNet", "VGG16"))
    assert {row.training for row in table.rows} <= {row.training for row in TABLES[name].rows}


def test_a_row_that_two_networks_had_is_there_once():
    assert [row.name for row in on_trunk(TABLES["spp-table-11"], SQUEEZENET, {}).rows] == [
        "R-CNN, ft fc7",
        "SPPnet, 5 scales, ft fc7",
        "R-CNN, ft fc7 bb",
        "SPPnet, 5 scales, ft fc7 bb",
    ]


def test_tables_about_networks_keep_theirs():
    assert set(TABLES) - set(ALLOWED) == {"spp-tables-2-4", "rcnn-table-3", "ladder-lite0"}
    with pytest.raises(ConfigError, match="--trunk: expected none for rcnn-table-3"):
        on_trunk(TABLES["rcnn-table-3"], SQUEEZENET, {})


def test_two_names_of_a_network_are_refused():
    table = TABLES["spp-table-9"]
    assert on_trunk(table, SQUEEZENET, {"backbone": {"name": "squeezenet"}}).rows
    with pytest.raises(ConfigError, match=r"--backbone\.name: expected squeezenet, .*got alexnet"):
        on_trunk(table, SQUEEZENET, {"backbone": {"name": "alexnet"}})


def test_a_file_of_ones_own_is_a_trunk(tmp_path, monkeypatch):
    path = tmp_path / "mine.yaml"
    path.write_text("backbone: {name: resnet18_c4, weights: torchvision}\n")
    trunk = find_trunk(str(path))
    choices = Choices(out=tmp_path, trunk=trunk)
    assert choices.run_folder("sppnet-zf5-1scale-pool5").name == "sppnet-resnet18_c4-1scale-pool5"
    config = training_config(TRAININGS["sppnet-zf5-5scale-pool5"], choices)
    assert (config.backbone.name, config.backbone.preprocessing) == ("resnet18_c4", "auto")
    assert config.features.scales == (480, 576, 688, 864, 1200)
    assert "One scale is" not in on_trunk(TABLES["spp-table-9"], trunk, {}).note


def test_a_timm_network_has_a_folder_name(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("backbone: {name: timm/Some-Net.a1}\n")
    choices = Choices(out=tmp_path, trunk=find_trunk(str(path)))
    assert choices.run_folder("rcnn-alexnet-fc7").name == "rcnn-timm_some_net.a1-fc7"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("features: {scales: [480]}\n", "expected backbone.name, the trunk's network, got none"),
        (
            "backbone: {name: alexnet}\nfeatures: {scales: [480, 600]}\n",
            r"features.scales: expected one, got \[480, 600\]",
        ),
    ],
)
def test_a_file_that_is_no_trunk_is_refused(text, message, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        find_trunk(str(path))


def test_an_unknown_trunk_is_answered_with_those_that_are_there():
    with pytest.raises(ConfigError, match="got 'squeezenet1_0'; did you mean squeezenet"):
        find_trunk("squeezenet1_0")
    with pytest.raises(ConfigError, match="got 'zzz'; there is squeezenet"):
        find_trunk("zzz")


@pytest.mark.parametrize("name", trunk_names())
def test_a_file_of_the_package_says_what_it_is_for(name):
    text = (CONFIGS / f"trunks/{name}.yaml").read_text(encoding="utf-8")
    assert "\n# Not in any paper" in text
    assert f"\n# detection reproduce spp-table-9 --trunk {name} " in text
    assert apply(Config(), find_trunk(name).settings).backbone.name == name
    assert config_to_dict(apply(Config(), find_trunk(name).settings))["data"]["root"]
