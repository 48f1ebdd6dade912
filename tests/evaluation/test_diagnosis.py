import json

import pytest

from detection.config import EvaluationConfig
from detection.errors import ConfigError
from detection.evaluation.diagnosis import diagnose
from tests.evaluation.cases import detections_of, truth

BOX, FAR, LARGE = [0, 0, 10, 10], [50, 50, 60, 60], [0, 60, 30, 90]


def diagnosis(boxes, labels, groups=()):
    truths = [truth("1", [BOX, FAR, LARGE], [0, 0, 1])]
    scores = [1 - 0.1 * n for n in range(len(boxes))]
    found = [detections_of("1", boxes, scores, labels)]
    config = EvaluationConfig(similar_classes=groups)
    return diagnose(truths, found, ["cat", "mug", "cup"], config)


def test_the_best_detections_of_each_class_are_divided():
    # Cats have two objects: of the best two one is right and one on a mug; the third is not seen.
    boxes, labels = [BOX, LARGE, FAR], [0, 0, 0]
    top = diagnosis(boxes, labels)["top_detections"]
    assert top["cat"] == {"right": 0.5, "Loc": 0, "Sim": 0, "Oth": 0.5, "BG": 0}
    assert (top["mug"], top["cup"]) == (None, None)
    similar = diagnosis(boxes, labels, (("cat", "mug"),))["top_detections"]
    assert similar["cat"] == {"right": 0.5, "Loc": 0, "Sim": 0.5, "Oth": 0, "BG": 0}


def test_average_precisions_are_means_over_classes():
    found = diagnosis([BOX, FAR], [0, 0])["normalised_ap"]
    # Cats 1, mugs 0. The two cats are of one size; cut by ranks they are of the lower part.
    assert found["all"] == 0.5
    assert set(found) == {"all", "size", "aspect ratio"}
    assert found["size"]["XS"] is None
    assert json.loads(json.dumps(found)) == found


def test_a_class_that_is_to_be_similar_has_to_be_there():
    with pytest.raises(ConfigError, match="expected classes of the data, got 'dog'"):
        diagnosis([BOX], [0], (("cat", "dog"),))
