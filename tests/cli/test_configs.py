from __future__ import annotations

from pathlib import Path

import pytest

from detection.cli.main import main
from detection.config import Config
from detection.runs.config_io import apply, config_to_dict, read_config_file

CONFIGS = Path(__file__).parents[2] / "configs"
ALL_FILES = sorted(path.relative_to(CONFIGS).as_posix() for path in CONFIGS.rglob("*.yaml"))
OTHERS = ("classification/", "images/", "trunks/")
"""Folders of files that train no detector."""
FILES = [name for name in ALL_FILES if not name.startswith(OTHERS)]
OF_PAPERS = [name for name in FILES if name.startswith(("paper/", "released_code/"))]


def load(name: str) -> Config:
    return apply(Config(), read_config_file(CONFIGS / name))


@pytest.mark.parametrize("name", FILES)
def test_every_file_is_a_configuration(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--config", str(CONFIGS / name), "--print_config"]) == 0
    assert "features:" in capsys.readouterr().out


@pytest.mark.parametrize("name", FILES)
def test_every_header_says_what_to_expect_and_how_to_run_it(name: str) -> None:
    header = [line for line in (CONFIGS / name).read_text().splitlines() if line.startswith("#")]
    assert any(f"detection train --config {name.removesuffix('.yaml')} " in line for line in header)
    expected = "Expected on VOC2007 test" if name in OF_PAPERS else "Not in any paper"
    assert any(expected in line for line in header)


@pytest.mark.parametrize("name", FILES)
def test_the_file_name_names_method_and_backbone(name: str) -> None:
    config = load(name)
    assert config.features.method in name
    if "synthetic" not in name:
        assert config.backbone.name.removeprefix("efficientnet_") in name


@pytest.mark.parametrize("name", [name for name in OF_PAPERS if "sppnet" in name])
def test_paper_and_released_code_differ_where_the_method_does(name: str) -> None:
    config = load(name)
    kind = name.split("/", maxsplit=1)[0]
    assert (config.features.scale_rule, config.features.projection) == (kind, kind)
    assert config.bbox.ridge == (1000 if kind == "paper" else 4000)
    assert config.data.train_difficult == (kind == "released_code")
    assert config.finetune.random_scale == (kind == "released_code")
    fourth = 864 if kind == "paper" else 874
    expected = (688,) if "1scale" in name else (480, 576, 688, fourth, 1200)
    assert config.features.scales == expected
    drops = [round(share * config.finetune.iterations, -3) for share in config.finetune.decay_at]
    assert drops == ([250_000] if kind == "paper" else [30_000, 60_000])


@pytest.mark.parametrize("name", OF_PAPERS)
def test_switches_after_the_authors_files(name: str) -> None:
    config = load(name)
    released = name.startswith("released_code")
    assert config.postprocess.ties == ("last" if released else "first")
    assert config.bbox.sizes == ("pixel_centres" if released else "edges")
    assert config.finetune.bias_decay == (released and config.features.method == "sppnet")
    assert config.proposals.order == "paper"
    drops = not released and config.features.method == "sppnet"
    assert config.svm.negative_overlap == (0.7 if drops else 1.0)


@pytest.mark.parametrize("name", [name for name in FILES if "vgg16" in name and "sppnet" in name])
def test_pool5_of_vgg16_is_what_its_fc6_reads(name: str) -> None:
    assert 512 * sum(level**2 for level in load(name).features.levels) == 25_088


@pytest.mark.parametrize("name", [name for name in OF_PAPERS if "rcnn" in name])
def test_rcnn_has_the_constants_of_its_release(name: str) -> None:
    config = load(name)
    assert config.finetune.negative_iou == (0.0, 0.5)
    assert (config.bbox.ridge, config.bbox.min_iou) == (1000, 0.6)
    drops = [round(share * config.finetune.iterations, -3) for share in config.finetune.decay_at]
    assert drops == [20_000, 40_000, 60_000]
    assert config.finetune.batch_size == (24 if "vgg16" in name else 128)


@pytest.mark.parametrize("name", FILES)
def test_a_file_holds_departures_only_besides_what_names_the_experiment(name: str) -> None:
    defaults, values = config_to_dict(Config()), config_to_dict(load(name))
    same = {
        f"{section}.{option}"
        for section, options in read_config_file(CONFIGS / name).items()
        for option in options
        if values[section][option] == defaults[section][option]
    }
    names = {"backbone.name", "backbone.weights"}
    assert same <= names | {"features.method", "features.layer", "features.scales"}
