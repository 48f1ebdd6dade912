"""Random splits of a pool and the accuracy on one, an image at a time, from SPP §3.3."""

from collections import defaultdict


def check_split(labels, train, test, num_train, num_test):
    """Raise where a split is not one: ``num_train`` of each class, then at most ``num_test``."""
    assert not set(train) & set(test)
    assert len(set(train)) == len(train)
    assert len(set(test)) == len(test)
    for label in set(labels):
        members = [i for i, one in enumerate(labels) if one == label]
        trained = [i for i in train if i in members]
        tested = [i for i in test if i in members]
        assert len(trained) == num_train
        assert len(tested) == min(num_test, len(members) - num_train)


def mean_class_accuracy(predicted, labels):
    """Average the share of right answers over the classes."""
    answers = defaultdict(list)
    for guess, label in zip(predicted, labels, strict=True):
        answers[label].append(guess == label)
    shares = [sum(right) / len(right) for right in answers.values()]
    return sum(shares) / len(shares)
