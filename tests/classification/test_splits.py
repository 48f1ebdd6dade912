"""Random splits and the accuracy over them, against naive versions."""

import statistics

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from detection.classification.splits import class_accuracies, draw_splits, score_splits
from detection.config import SvmConfig
from detection.errors import DataError
from detection.pretrain_config import ClassifyConfig
from tests.reference.splits import check_split, mean_class_accuracy

NAMES = ("a", "b", "c")
SVM = SvmConfig(solver="sklearn", c=1.0, positive_weight=1.0, bias_multiplier=1.0)


def config(train=2, test=3, splits=4, seed=0):
    return ClassifyConfig(
        svm_train_images=train, svm_test_images=test, svm_splits=splits, seed=seed
    )


def as_lists(splits):
    return [(split.seed, split.train.tolist(), split.test.tolist()) for split in splits]


@given(
    counts=st.lists(st.integers(3, 9), min_size=3, max_size=3),
    order=st.randoms(use_true_random=False),
    seed=st.integers(0, 50),
)
def test_splits_have_the_images_that_the_paper_says(counts, order, seed):
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    order.shuffle(labels)
    splits = draw_splits(torch.tensor(labels), config(seed=seed), NAMES)
    assert [split.seed for split in splits] == [seed, seed + 1, seed + 2, seed + 3]
    for split in splits:
        check_split(labels, split.train.tolist(), split.test.tolist(), 2, 3)


def test_a_split_depends_on_its_seed_alone():
    labels = torch.arange(60) % 3
    first, second, *_ = as_lists(draw_splits(labels, config(), NAMES))
    assert first[1] != second[1]
    assert as_lists(draw_splits(labels, config(splits=1, seed=1), NAMES)) == [second]


def test_the_defaults_are_the_papers():
    default = ClassifyConfig()
    counts = (default.svm_train_images, default.svm_test_images, default.svm_splits)
    assert counts == (30, 50, 10)
    (split, *_) = splits = draw_splits(torch.arange(300) % 3, default, NAMES)
    assert (len(splits), len(split.train), len(split.test)) == (10, 90, 150)


def test_a_class_of_too_few_images_is_named():
    labels = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2])
    with pytest.raises(DataError, match=r"class 'b': expected at least 3 images.*got 2"):
        draw_splits(labels, config(), NAMES)


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=30).map(
        lambda rows: [*rows, (0, 0), (0, 1), (1, 2)]
    )
)
def test_the_accuracy_is_the_mean_over_the_classes(rows):
    predicted, labels = (list(column) for column in zip(*rows, strict=True))
    shares = class_accuracies(torch.tensor(predicted), torch.tensor(labels), 3)
    expected = mean_class_accuracy(predicted, labels)
    assert float(shares.mean()) == pytest.approx(expected)


def test_a_class_of_many_images_counts_no_more_than_another():
    labels = torch.tensor([0] * 8 + [1] * 2)
    shares = class_accuracies(torch.zeros(10, dtype=torch.int64), labels, 2)
    assert shares.tolist() == [1.0, 0.0]


def test_splits_of_separable_vectors_are_all_right():
    labels = torch.arange(30) % 3
    features = torch.nn.functional.one_hot(labels, 3).float()
    scored = score_splits(features, labels, draw_splits(labels, config(), NAMES), SVM, NAMES)
    assert (scored["accuracy"], scored["deviation"]) == (1.0, 0.0)
    assert scored["per_class"] == dict.fromkeys(NAMES, 1.0)
    assert [row["seed"] for row in scored["splits"]] == [0, 1, 2, 3]
    assert {(row["num_train"], row["num_test"]) for row in scored["splits"]} == {(6, 9)}


def test_the_deviation_is_that_of_the_splits():
    labels = torch.arange(45) % 3
    features = torch.rand((45, 4), generator=torch.Generator().manual_seed(0))
    scored = score_splits(features, labels, draw_splits(labels, config(), NAMES), SVM, NAMES)
    means = [row["accuracy"] for row in scored["splits"]]
    assert scored["accuracy"] == pytest.approx(statistics.fmean(means))
    assert scored["deviation"] == pytest.approx(statistics.stdev(means))
    assert scored["deviation"] > 0
    one = draw_splits(labels, config(splits=1), NAMES)
    assert score_splits(features, labels, one, SVM, NAMES)["deviation"] is None
