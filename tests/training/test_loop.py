import os
import signal

import pytest
import torch

from detection.errors import CheckpointError, DataError
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


@pytest.mark.usefixtures("interruptible")
def test_a_second_signal_is_not_held_back():
    before = signal.getsignal(signal.SIGINT)
    with GracefulStop() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.signal == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
