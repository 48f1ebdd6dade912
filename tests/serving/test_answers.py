import pytest
from pydantic import ValidationError

from detection.serving.answers import Answer, Found, ModelAnswer

FOUND = {"class_name": "cat", "label": 0, "score": 0.5, "box": (1.0, 2.0, 3.0, 4.0)}


def answer(method="sppnet", **changes):
    model = ModelAnswer(
        name="run",
        method=method,
        detections=[Found(**FOUND | changes)],
        stages={"conv": 0.25, "fc": 0.5},
        seconds=0.75,
    )
    return Answer(
        name="a.png", width=9, height=7, proposals=[(0.0, 0.0, 9.0, 7.0)],
        decode_seconds=0.1, proposal_seconds=0.2, models=[model],
    )  # fmt: skip


def test_an_answer_is_read_back_from_its_json():
    sent = answer().model_dump_json()
    assert Answer.model_validate_json(sent) == answer()
    assert '"stages":{"conv":0.25,"fc":0.5}' in sent


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"method": "yolo"}, "method"),
        ({"box": (1.0, 2.0, 3.0)}, "box.3"),
        ({"score": None}, "score"),
    ],
)
def test_what_is_not_of_the_schema_is_refused_by_its_field(changes, named):
    with pytest.raises(ValidationError) as caught:
        answer(**changes)
    assert [".".join(map(str, one["loc"])) for one in caught.value.errors()] == [named]


def test_every_field_of_a_box_is_said_in_the_schema():
    box = Found.model_json_schema()["properties"]["box"]
    assert (box["minItems"], box["maxItems"]) == (4, 4)
    assert "upright image" in box["description"]
