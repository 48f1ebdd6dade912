from detection.evaluation.recall import recall_by_size
from tests.evaluation.cases import detections_of, truth


def test_recall_by_size_counts_objects_of_the_right_class():
    small, medium, large = [0, 0, 10, 10], [0, 0, 32, 32], [0, 0, 96, 96]
    truths = [truth("1", [small, medium, large, large], [0, 0, 0, 1])]
    guesses = [detections_of("1", [small, large], [0.1, 0.9], [0, 0])]
    result = recall_by_size(truths, guesses, 2)
    got = {name: (row.num_found, row.num_objects) for name, row in result.items()}
    assert got == {"small": (1, 1), "medium": (0, 1), "large": (1, 2)}
    assert recall_by_size(truths, guesses, 2, threshold=0.5)["small"].num_found == 0
