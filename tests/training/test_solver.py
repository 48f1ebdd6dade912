import pytest
import torch
from torch import nn

from detection.config import FineTuneConfig
from detection.features.factory import make_extractor
from detection.training.finetune_model import FineTuneModel
from detection.training.solver import (
    Snapshot,
    learning_rate,
    make_optimizer,
    parameter_groups,
)
from tests.training import tiny


def test_the_rate_falls_tenfold_after_each_fraction():
    config = FineTuneConfig(iterations=100, learning_rate=1.0, decay_at=(0.5, 0.8))
    rates = [learning_rate(step, config) for step in (0, 49, 50, 79, 80, 99)]
    assert rates == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


@pytest.mark.parametrize(("iterations", "warmup"), [(100, 0.1), (57, 0.25)])
def test_one_cycle_is_that_of_torch(iterations, warmup):
    config = FineTuneConfig(
        iterations=iterations, learning_rate=0.3, schedule="one_cycle", warmup=warmup
    )
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        0.3,
        total_steps=iterations,
        pct_start=warmup,
        final_div_factor=4000,
        cycle_momentum=False,
    )
    expected = []
    for _ in range(iterations):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    rates = [learning_rate(step, config) for step in range(iterations)]
    assert rates == pytest.approx(expected, rel=1e-6)


def test_one_cycle_of_a_single_step_has_a_rate():
    config = FineTuneConfig(iterations=1, learning_rate=0.3, schedule="one_cycle")
    assert learning_rate(0, config) > 0


def test_adamw_has_the_groups_of_sgd():
    config = tiny.config(open_layers=1, optimizer="adamw", weight_decay=0.02)
    extractor = make_extractor(tiny.backbone(), config.features)
    network = FineTuneModel(extractor, 2, 1.0, config.finetune)
    optimizer = make_optimizer(network, config.finetune)
    assert isinstance(optimizer, torch.optim.AdamW)
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.02, 0}
    named = [p for group in optimizer.param_groups for p in group["params"]]
    assert len(named) == len([p for p in network.parameters() if p.requires_grad])


def test_biases_learn_twice_as_fast_without_decay_and_new_layers_by_their_multiplier():
    config = tiny.config(
        open_layers=1, joint_bbox=True, new_layer_multiplier=10.0, conv_multiplier=0.5
    )
    extractor = make_extractor(tiny.backbone(), config.features)
    network = FineTuneModel(extractor, 2, 1.0, config.finetune)
    groups = parameter_groups(network, config.finetune)
    actual = {
        name: (group["multiplier"], group["weight_decay"])
        for name, parameter in network.named_parameters()
        for group in groups
        if any(parameter is member for member in group["params"])
    }
    assert actual == {
        "opened.0.weight": (0.5, 5e-4),
        "opened.0.bias": (1.0, 0),
        "fc.fc6.weight": (1.0, 5e-4),
        "fc.fc6.bias": (2.0, 0),
        "fc.fc7.weight": (1.0, 5e-4),
        "fc.fc7.bias": (2.0, 0),
        "fc8.weight": (10.0, 5e-4),
        "fc8.bias": (20.0, 0),
        "bbox.weight": (10.0, 5e-4),
        "bbox.bias": (20.0, 0),
    }


def test_the_best_snapshot_is_put_back():
    network = nn.Linear(1, 1, bias=False)
    snapshot = Snapshot(network)
    for step, (error, weight) in enumerate([(0.5, 1.0), (0.2, 2.0), (0.2, 3.0), (0.4, 4.0)]):
        network.weight.data.fill_(weight)
        snapshot.offer(error, step)
    copy = Snapshot(network)
    copy.load_state_dict(snapshot.state_dict())
    copy.restore()
    assert network.weight.item() == 2.0


def test_without_held_out_images_the_last_weights_stay():
    network = nn.Linear(1, 1, bias=False)
    network.weight.data.fill_(7.0)
    Snapshot(network).restore()
    assert network.weight.item() == 7.0


def test_a_checkpoint_of_another_measure_does_not_count():
    network = nn.Linear(1, 1, bias=False)
    by_error = Snapshot(network)
    network.weight.data.fill_(1.0)
    by_error.offer(0.01, 5)
    by_map = Snapshot(network, "map")
    by_map.load_state_dict(by_error.state_dict())
    network.weight.data.fill_(2.0)
    by_map.offer(0.6, 10)
    by_map.restore()
    assert network.weight.item() == 2.0
    older = {"error": 0.01, "step": 5, "weights": {"weight": torch.tensor([[3.0]])}}
    by_error.load_state_dict(older)  # of a version that had one measure only
    by_error.restore()
    assert network.weight.item() == 3.0
