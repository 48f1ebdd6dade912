import PIL.Image
import pytest
import torch

from detection.benchmark.clock import StageClock
from detection.benchmark.speed import format_benchmark, ratios, read_timed_image, spread, summarise
from detection.config import Config, ProposalConfig
from detection.errors import DataError


def row(**seconds):
    return {"decode": 1.0, "proposals": 2.0, "conv": 4.0, "fc": 8.0, "suppression": 16.0, **seconds}


def test_sums_of_stages_by_hand():
    sums = summarise([row()])
    medians = {name: sums[name]["median"] for name in sums if name != "stages"}
    assert medians == {
        "conv_s": 4.0,
        "network_s": 4.0 + 8.0,
        "without_proposals_s": 4.0 + 8.0 + 16.0,
        "with_proposals_s": 1.0 + 2.0 + 4.0 + 8.0 + 16.0,
    }
    assert list(sums["stages"]) == ["decode", "proposals", "conv", "fc", "suppression"]


def test_the_median_of_a_sum_is_not_the_sum_of_medians():
    sums = summarise([row(conv=1.0, fc=9.0), row(conv=5.0, fc=1.0), row(conv=9.0, fc=2.0)])
    assert sums["network_s"]["median"] == sorted([1 + 9, 5 + 1, 9 + 2])[1]


def test_ratios_are_those_of_rcnn_to_sppnet():
    methods = {"sppnet": summarise([row()]), "rcnn": summarise([row(conv=40.0)])}
    flops = {"sppnet": {"conv": 2e9, "fc": 1.0}, "rcnn": {"conv": 3e10, "fc": 1.0}}
    found = ratios(methods, flops)
    assert found["conv_s"] == 40 / 4
    assert found["network_s"] == 48 / 12
    assert found["without_proposals_s"] == 64 / 28
    assert found["conv_flops"] == 15
    table = format_benchmark(
        {
            "backbone": "zf5", "dtype": "float32", "device": "cpu", "threads": 1, "scales": [688],
            "layer": "fc7", "num_images": 1, "median_boxes": 2000, "repeats": 1,
            "methods": methods, "flops": flops, "ratios": found,
        }
    )  # fmt: skip
    last = table.splitlines()[-1].split()
    assert last == ["conv", "GFLOP", "2.0", "30.0", "15.0x"]
    assert "conv only" in table
    assert "4000.0 [4000.0-4000.0]" in table


@pytest.mark.parametrize(
    ("count", "expected"), [(1, [0]), (2, [0, 5]), (3, [0, 3, 6]), (10, [*range(10)])]
)
def test_images_are_spread_evenly(tmp_path, count, expected):
    paths = [tmp_path / str(number) for number in range(10)]
    assert spread(paths, count) == [paths[number] for number in expected]


def test_an_image_of_too_few_boxes_is_refused(tmp_path):
    path = tmp_path / "flat.png"
    PIL.Image.new("RGB", (9, 9)).save(path)
    config = Config(proposals=ProposalConfig(backend="native"))
    with pytest.raises(DataError, match=r"flat\.png: expected an image with two boxes or more"):
        read_timed_image(path, config, StageClock(torch.device("cpu")))
