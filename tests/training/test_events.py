import dataclasses

import pytest

from detection.training.events import SILENT, Announcer, TrainingEvent


def test_every_function_is_called_in_order_with_plain_numbers():
    heard = []
    announce = Announcer([lambda event: heard.append(("a", event)), lambda _: heard.append("b")])
    announce("fine-tuning", 3, 10, {"loss_class": 1})
    (_, event), second = heard
    assert second == "b"
    assert event == TrainingEvent(
        stage="fine-tuning", step=3, total=10, metrics={"loss_class": 1.0}
    )
    assert type(event.metrics["loss_class"]) is float


def test_an_event_does_not_change():
    heard = []
    metrics = {"loss_class": 1.0}
    Announcer([heard.append])("fine-tuning", 1, 2, metrics)
    metrics["loss_class"] = 2.0
    assert heard[0].metrics == {"loss_class": 1.0}
    with pytest.raises(TypeError):
        heard[0].metrics["loss_class"] = 3.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        heard[0].step = 2


def test_a_silent_one_calls_nothing():
    heard = []
    Announcer([heard.append], silent=True)("mining", 1, 1)
    SILENT("mining", 1, 1)
    assert heard == []


def test_what_a_function_raises_comes_out():
    def stop(event):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Announcer([stop])("mining", 1, 2)


def test_only_one_with_functions_is_heard():
    assert Announcer([print]).heard
    assert not Announcer([print], silent=True).heard
    assert not SILENT.heard
