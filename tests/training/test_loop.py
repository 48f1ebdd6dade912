import csv
import json
import os
import signal

import pytest
import torch

from detection.errors import CheckpointError, DataError
from detection.training.log import StepLog, read_rows
from detection.training.loop import GracefulStop, LoopConfig, check_finite, run_steps


class Toy:
    """A least-squares problem whose steps depend on their number alone."""

    def __init__(self):
        torch.manual_seed(0)
        self.model = torch.nn.Linear(4, 1)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1, momentum=0.9)
        self.parts = {"model": self.model, "optimizer": self.optimizer}
        self.done = []

    def step(self, index):
        random = torch.Generator().manual_seed(index)
        x = torch.randn(8, 4, generator=random)
        loss = (self.model(x) - x.sum(dim=1, keepdim=True)).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.done.append(index)
        return {"loss": float(loss.detach())}


CONFIG = LoopConfig(iterations=10, checkpoint_every=3, log_every=2)


def uninterrupted(tmp_path):
    toy = Toy()
    run_steps(toy.step, toy.parts, CONFIG, tmp_path / "straight")
    return toy.model.state_dict()


@pytest.mark.parametrize("stop_at", [0, 1, 3, 5, 9])
def test_a_training_that_breaks_off_and_resumes_ends_bit_equal(tmp_path, stop_at):
    broken = Toy()

    def step(index):
        if index == stop_at:
            message = "power cut"
            raise OSError(message)
        return broken.step(index)

    with pytest.raises(OSError, match="power cut"):
        run_steps(step, broken.parts, CONFIG, tmp_path / "run")
    resumed = Toy()
    run_steps(resumed.step, resumed.parts, CONFIG, tmp_path / "run", resume=True)
    assert resumed.done == list(range(stop_at // 3 * 3, 10))
    expected = uninterrupted(tmp_path)
    for name, value in resumed.model.state_dict().items():
        assert torch.equal(value, expected[name])


def test_a_finished_training_is_loaded_and_does_no_step(tmp_path):
    expected = uninterrupted(tmp_path)
    toy = Toy()
    run_steps(toy.step, toy.parts, CONFIG, tmp_path / "straight", resume=True)
    assert toy.done == []
    assert torch.equal(toy.model.weight, expected["weight"])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_step_saves_and_exits(tmp_path, number, code):
    toy = Toy()

    def step(index):
        if index == 4:
            os.kill(os.getpid(), number)
        return toy.step(index)

    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as stopped:
        run_steps(step, toy.parts, CONFIG, tmp_path / "run")
    assert stopped.value.code == code
    assert signal.getsignal(number) is before
    assert toy.done == [0, 1, 2, 3, 4]
    resumed = Toy()
    run_steps(resumed.step, resumed.parts, CONFIG, tmp_path / "run", resume=True)
    assert resumed.done == [5, 6, 7, 8, 9]
    assert torch.equal(resumed.model.weight, uninterrupted(tmp_path)["weight"])


def test_without_resume_the_old_checkpoints_are_not_used(tmp_path):
    uninterrupted(tmp_path)
    toy = Toy()
    run_steps(toy.step, toy.parts, CONFIG, tmp_path / "straight")
    assert toy.done == list(range(10))


def test_a_checkpoint_of_another_network_stops(tmp_path):
    uninterrupted(tmp_path)
    other = torch.nn.Linear(5, 1)
    parts = {"model": other, "optimizer": torch.optim.SGD(other.parameters(), lr=1.0)}
    with pytest.raises(CheckpointError, match="expected a checkpoint of this network"):
        run_steps(lambda index: {}, parts, CONFIG, tmp_path / "straight", resume=True)
    with pytest.raises(CheckpointError, match=r"expected a checkpoint of \['model'\]"):
        run_steps(lambda i: {}, {"model": other}, CONFIG, tmp_path / "straight", resume=True)


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_naming_step_rate_and_images(loss):
    with pytest.raises(DataError, match=r"step 8: .*rate 0\.5, images a, b\)"):
        check_finite(loss, step=7, learning_rate=0.5, image_ids=["a", "b"])
    with pytest.raises(DataError, match="h and 2 more"):
        check_finite(loss, step=7, learning_rate=0.5, image_ids=list("abcdefghij"))


def test_a_finite_loss_goes_on():
    check_finite(1e30, step=0, learning_rate=1.0)


def test_rows_are_means_over_their_steps(tmp_path):
    with StepLog(tmp_path, 0, 2) as log:
        for step, value in ((1, 1.0), (2, 3.0), (3, 10.0), (4, 20.0)):
            log.add(step, {"loss": value} | ({"error": 0.5} if step == 4 else {}))
    rows = read_rows(tmp_path)
    assert [(row["step"], row["loss"]) for row in rows] == [(2, 2.0), (4, 15.0)]
    with (tmp_path / "training.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [row["loss"] for row in table] == ["2.0", "15.0"]
    assert [row["error"] for row in table] == ["", "0.5"]


def test_a_resumed_log_has_each_step_once(tmp_path):
    with StepLog(tmp_path, 0, 1) as log:
        for step in (1, 2, 3):
            log.add(step, {"loss": 1.0})
    with (tmp_path / "training.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')
    with StepLog(tmp_path, 2, 1) as log:
        for step in (3, 4):
            log.add(step, {"loss": 2.0})
    lines = (tmp_path / "training.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [(row["step"], row["loss"]) for row in rows] == [(1, 1.0), (2, 1.0), (3, 2.0), (4, 2.0)]


def test_event_files_are_written_on_demand(tmp_path):
    pytest.importorskip("tensorboard")
    with StepLog(tmp_path, 0, 1, tensorboard=True) as log:
        log.add(1, {"loss": 1.0})
    assert len(list(tmp_path.glob("events.out.tfevents.*"))) == 1


@pytest.mark.usefixtures("interruptible")
def test_a_second_signal_is_not_held_back():
    before = signal.getsignal(signal.SIGINT)
    with GracefulStop() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.signal == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
