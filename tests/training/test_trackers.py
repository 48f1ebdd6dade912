import json
import sys
from types import SimpleNamespace

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


class Failing(Recorder):
    """A tracker with one method that does not work."""

    def __init__(self, method):
        super().__init__()
        setattr(self, method, self.fail)

    def fail(self, *values, **more):
        raise RuntimeError("no\nserver")


def test_a_tracker_that_does_not_start_is_named_and_the_others_end(tmp_path):
    recorder, failing = Recorder(), Failing("start")
    with (
        pytest.raises(ConfigError, match=r"--tracker recorder: .*got RuntimeError: no server$"),
        Trackers([recorder, failing], tmp_path),
    ):
        pass
    assert recorder.calls == ["start", "finish"]
    assert failing.calls == []


def test_a_tracker_that_fails_later_ends_no_training(tmp_path, caplog):
    first, second, third = Failing("log"), Recorder(), Failing("finish")
    with Trackers([first, second, third], tmp_path) as trackers:
        trackers(event("mining", 1, 2, retrainings=1.0))
        trackers(event("mining", 2, 2, retrainings=2.0))
    assert [step for step, _ in second.rows] == [step for step, _ in third.rows] == [1, 2]
    assert first.calls == second.calls == ["start", "finish"]
    assert [one.partition(", got")[0] for one in caplog.messages] == [
        "--tracker recorder: expected it to take mining",
        "--tracker recorder: at its end: RuntimeError: no server",
    ]


@pytest.fixture
def made(monkeypatch):
    """Put trackers in the place of W&B and MLflow; collect those that are made."""
    all_made = []

    class Fake(Recorder):
        def __init__(self, project, **named):
            super().__init__()
            self.project, self.named = project, named
            all_made.append(self)
            given = named.get("id") or named.get("run_id")
            self.run_id = given or f"run {len(all_made)}"

        @property
        def tracker(self):
            return SimpleNamespace(id=self.run_id, info=SimpleNamespace(run_id=self.run_id))

    kinds = {name: type(name, (Fake,), {"name": name}) for name in ("wandb", "mlflow")}
    monkeypatch.setattr(accelerate.tracking, "LOGGER_TYPE_TO_CLASS", kinds)
    monkeypatch.setattr(accelerate.tracking, "get_available_trackers", lambda: list(kinds))
    monkeypatch.delenv("WANDB_DIR", raising=False)
    return all_made


@pytest.mark.parametrize(("name", "known_by"), [("wandb", "id"), ("mlflow", "run_id")])
def test_a_later_command_goes_on_in_the_run_of_the_first(tmp_path, made, name, known_by):
    folder = tmp_path / "mine"
    folder.mkdir()
    for stage in ("mining", "evaluation"):
        with Trackers([name], folder, Config()) as trackers:
            trackers(event(stage, 1, 1, retrainings=1.0))
    first, second = made
    assert first.project == second.project == "detection"
    assert first.named.get("name", first.named.get("run_name")) == "mine"
    assert not first.named.get(known_by)
    assert second.named[known_by] == "run 1"
    assert first.settings
    assert not second.settings  # MLflow refuses to change what a run was given
    assert [step for one in made for step, _ in one.rows] == [1, 2]
    assert json.loads((folder / PLACES).read_text())["runs"] == {name: "run 1"}


def test_wandb_writes_into_the_run_folder_unless_it_is_told_where(tmp_path, made, monkeypatch):
    with Trackers(["wandb"], tmp_path):
        pass
    assert made[0].named["dir"] == str(tmp_path / "trackers")
    assert (tmp_path / "trackers").is_dir()
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "elsewhere"))
    with Trackers(["wandb"], tmp_path):
        pass
    assert "dir" not in made[1].named


def test_a_class_may_have_letters_that_mlflow_refuses(tmp_path, made):
    with Trackers(["mlflow", "wandb"], tmp_path) as trackers:
        trackers(event("evaluation", 1, 1, **{"ap_né (a+b)": 0.5}))
    mlflow, wandb = made
    assert mlflow.rows == [(1, {"evaluation/ap_né _a_b_": 0.5})]
    assert wandb.rows == [(1, {"evaluation/ap_né (a+b)": 0.5})]
