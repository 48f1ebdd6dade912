from pathlib import Path

import pytest

from detection.cli.main import main
from detection.config import Config
from detection.runs.config_io import apply, config_to_dict, read_config_file

CONFIGS = Path(__file__).parents[2] / "configs"
FILES = sorted(p.relative_to(CONFIGS).as_posix() for p in (CONFIGS / "classification").iterdir())


def load(name: str) -> Config:
    return apply(Config(), read_config_file(CONFIGS / name))


@pytest.mark.parametrize("name", FILES)
def test_every_file_is_a_configuration_of_a_classifier(name, capsys):
    assert main(["pretrain", "--config", str(CONFIGS / name), "--print_config"]) == 0
    assert "pretrain:" in capsys.readouterr().out


@pytest.mark.parametrize("name", FILES)
def test_every_header_says_what_to_expect_and_how_to_run_it(name):
    header = [line for line in (CONFIGS / name).read_text().splitlines() if line.startswith("#")]
    assert any(
        f"detection pretrain --config {name.removesuffix('.yaml')} " in line for line in header
    )
    of_paper = not any(word in name for word in ("subset", "synthetic"))
    expected = "Expected on ImageNet 2012 val" if of_paper else "Not in any paper"
    assert any(expected in line for line in header)


@pytest.mark.parametrize("name", FILES)
def test_a_file_holds_departures_besides_what_names_the_experiment(name):
    defaults, values = config_to_dict(Config()), config_to_dict(load(name))
    same = {
        f"{section}.{option}"
        for section, options in read_config_file(CONFIGS / name).items()
        for option in options
        if values[section][option] == defaults[section][option]
    }
    assert same <= {
        "backbone.name",
        "pretrain.head",
        "pretrain.root",
        "data.test_split",
        "data.train_split",
    }


@pytest.mark.parametrize(
    ("network", "epochs"), [("zf5", 70), ("convnet5", 90), ("overfeat5", 90), ("overfeat7", 90)]
)
def test_the_three_heads_of_the_paper_differ_in_the_head_and_the_sizes_alone(network, epochs):
    configs = [
        load(f"classification/{network}_{kind}.yaml") for kind in ("no_spp", "single", "multi")
    ]
    assert {config.backbone.name for config in configs} == {network}
    no_spp, single, multi = (config.pretrain for config in configs)
    assert (no_spp.head, single.head, multi.head) == ("no_spp", "spp", "spp")
    assert (no_spp.sizes, single.sizes, multi.sizes) == ((224,), (224,), (224, 180))
    assert {(s.epochs, s.learning_rate, s.init) for s in (no_spp, single, multi)} == {
        (epochs, 0.01, "paper")
    }
