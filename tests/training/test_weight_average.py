from fractions import Fraction

import pytest
import torch
from torch import nn

from detection.training.weight_average import WeightAverage


def network(value=0.0):
    layer = nn.Linear(1, 1)
    with torch.no_grad():
        layer.weight.fill_(value)
        layer.bias.fill_(-value)
    return layer


def test_the_average_is_the_sum_written_out_in_exact_arithmetic():
    layer = network(0.0)
    average = WeightAverage(layer, 0.75)
    expected = Fraction(0)
    for step, value in enumerate([4, 8, 2, -6, 1, 3] * 8, start=1):
        with torch.no_grad():
            layer.weight.fill_(value)
        average.update()
        decay = min(Fraction(3, 4), Fraction(1 + step, 10 + step))
        expected = decay * expected + (1 - decay) * value
        with average.applied():
            assert layer.weight.item() == pytest.approx(float(expected), abs=1e-5)
        assert layer.weight.item() == value


def test_the_initial_weights_leave_a_short_training():
    layer = network(1000.0)
    average = WeightAverage(layer, 0.999)
    with torch.no_grad():
        layer.weight.fill_(1.0)
    for _ in range(100):
        average.update()
    average.swap()
    assert layer.weight.item() == pytest.approx(1.0, abs=1e-3)  # 0.999 ** 100 alone leaves 905


def test_frozen_parameters_are_left_alone():
    layer = network(1.0)
    layer.bias.requires_grad_(False)
    average = WeightAverage(layer, 0.5)
    with torch.no_grad():
        layer.bias.fill_(7.0)
    average.update()
    with average.applied():
        assert layer.bias.item() == 7.0
    assert average.state_dict()["averages"].keys() == {"weight"}


def test_no_decay_averages_nothing():
    layer = network(1.0)
    average = WeightAverage(layer, 0.0)
    with torch.no_grad():
        layer.weight.fill_(7.0)
    average.update()
    with average.applied():
        assert layer.weight.item() == 7.0


def test_the_network_gets_its_weights_back_after_an_error():
    layer = network(1.0)
    average = WeightAverage(layer, 0.5)
    with torch.no_grad():
        layer.weight.fill_(7.0)
    with pytest.raises(KeyError), average.applied():
        raise KeyError
    assert layer.weight.item() == 7.0


def test_an_average_continues_from_its_state():
    layer = network(1.0)
    whole = WeightAverage(layer, 0.9)
    broken = WeightAverage(layer, 0.9)
    for step in range(20):
        with torch.no_grad():
            layer.weight.fill_(float(step))
        whole.update()
        broken.update()
        if step == 7:
            saved = broken.state_dict()
            saved["averages"] = {n: t.clone() for n, t in saved["averages"].items()}
            broken = WeightAverage(layer, 0.9)
            broken.load_state_dict(saved)
    assert whole.state_dict()["averages"]["weight"].equal(broken.state_dict()["averages"]["weight"])
