import json
import sys

import pytest

from detection.config import Config
from detection.errors import ConfigError, DataError
from detection.training.events import TrainingEvent
from detection.training.trackers import PLACES, Trackers, flat

accelerate = pytest.importorskip("accelerate")
from tests.training.recorder import Recorder  # noqa: E402


def event(stage, step, total, **metrics):
    return TrainingEvent(stage=stage, step=step, total=total, metrics=metrics)


def heard(folder, *events, every=1):
    recorder = Recorder()
    with Trackers([recorder], folder, every=every) as trackers:
        for one in events:
            trackers(one)
    return recorder


def test_losses_are_averaged_between_rows_and_other_numbers_are_the_last(tmp_path):
    steps = [
        event("fine-tuning", n, 5, loss_class=float(n), learning_rate=0.1 * n) for n in range(1, 6)
    ]
    rows = heard(tmp_path, *steps, every=2).rows
    assert [step for step, _ in rows] == [2, 4, 5]
    assert [values["fine-tuning/loss_class"] for _, values in rows] == [1.5, 3.5, 5.0]
    rates = [values["fine-tuning/learning_rate"] for _, values in rows]
    assert rates == pytest.approx([0.2, 0.4, 0.5])


def test_a_validation_is_sent_at_once(tmp_path):
    rows = heard(tmp_path, event("fine-tuning", 3, 9, validation_map=0.5), every=100).rows
    assert rows == [(3, {"fine-tuning/validation_map": 0.5})]


def test_steps_rise_over_stages_interruptions_and_commands(tmp_path):
    first = heard(
        tmp_path,
        event("proposals", 7, 7),
        event("fine-tuning", 1, 4, loss_class=1.0),
        event("fine-tuning", 2, 4, loss_class=1.0),
    )
    second = heard(
        tmp_path,
        event("fine-tuning", 3, 4, loss_class=1.0),
        event("fine-tuning", 4, 4, loss_class=1.0),
        event("mining", 1, 3, retrainings=1.0),
        event("mining", 3, 3, retrainings=2.0),
    )
    third = heard(tmp_path, event("evaluation", 1, 1, map_voc07=0.7))
    steps = [step for one in (first, second, third) for step, _ in one.rows]
    assert steps == [1, 2, 3, 4, 5, 7, 8]
    assert json.loads((tmp_path / PLACES).read_text())["mining"] == [4, 3]


def test_what_is_not_a_number_is_left_out(tmp_path):
    numbers = event("mining", 1, 1, objective=float("nan"), retrainings=1.0)
    assert heard(tmp_path, numbers).rows == [(1, {"mining/retrainings": 1.0})]


def test_trackers_are_started_told_the_settings_and_finished(tmp_path):
    recorder = Recorder()
    with (
        pytest.raises(KeyboardInterrupt),
        Trackers([recorder], tmp_path / "run", Config()),
    ):
        raise KeyboardInterrupt
    assert recorder.calls == ["start", "finish"]
    assert recorder.settings["run"] == "run"
    assert recorder.settings["svm.c"] == Config().svm.c
    assert all(isinstance(v, bool | str | float | int) for v in recorder.settings.values())


def test_settings_are_flat():
    assert flat({"a": {"b": 1, "c": (2, 3)}, "d": None}) == {"a.b": 1, "a.c": "(2, 3)", "d": "None"}


def test_without_trackers_nothing_is_written(tmp_path):
    with Trackers((), tmp_path, Config()) as trackers:
        trackers(event("mining", 1, 1, retrainings=1.0))
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_tracker_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"--tracker: expected one of .*wandb, got notebook$"):
        Trackers(["notebook"], tmp_path)


def test_a_tracker_without_its_library_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(accelerate.tracking, "get_available_trackers", list)
    with pytest.raises(ConfigError, match=r"--tracker wandb: expected its library, got none"):
        Trackers(["wandb"], tmp_path)


def test_accelerate_that_is_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "accelerate.tracking", None)
    with pytest.raises(ConfigError, match=r"expected the library accelerate, got none; pip inst"):
        Trackers(["tensorboard"], tmp_path)


@pytest.mark.parametrize("text", ["{", "[1]", '{"mining": 3}', '{"mining": [1, "x"]}'])
def test_places_that_cannot_be_read_are_named(tmp_path, text):
    (tmp_path / PLACES).write_text(text)
    with pytest.raises(DataError, match=r"trackers\.json: expected stages"):
        heard(tmp_path, event("mining", 1, 1, retrainings=1.0))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_gets_its_curves(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with Trackers(["tensorboard", "tensorboard"], tmp_path) as trackers:
        trackers(event("fine-tuning", 1, 2, loss_class=2.0))
        trackers(event("fine-tuning", 2, 2, loss_class=1.0))
        trackers(event("mining", 1, 1, retrainings=3.0))
    curves = EventAccumulator(str(tmp_path / "trackers" / "detection"))
    curves.Reload()
    losses = [(one.step, one.value) for one in curves.Scalars("fine-tuning/loss_class")]
    assert losses == [(1, 2.0), (2, 1.0)]
    assert [(one.step, one.value) for one in curves.Scalars("mining/retrainings")] == [(3, 3.0)]
