import pytest
import torch

from detection.classification.training import count_right, make_optimiser
from detection.pretrain_config import PretrainConfig

pytestmark = pytest.mark.usefixtures("tiny_network")


def test_biases_learn_faster_and_do_not_decay():
    layer = torch.nn.Linear(2, 2)
    weights, biases = make_optimiser(layer, PretrainConfig()).param_groups
    assert weights["params"] == [layer.weight]
    assert (weights["multiplier"], weights["weight_decay"]) == (1.0, 5e-4)
    assert biases["params"] == [layer.bias]
    assert (biases["multiplier"], biases["weight_decay"]) == (2.0, 0.0)


def test_right_answers_are_counted_first_and_among_five():
    scores = torch.tensor([[9.0, 8, 7, 6, 5, 4], [9, 8, 7, 6, 5, 4], [9, 8, 7, 6, 5, 4]])
    assert count_right(scores, torch.tensor([0, 4, 5])).tolist() == [1, 2]
