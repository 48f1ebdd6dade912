import errno

import pytest
import torch

from detection.errors import DataError
from detection.training.row_store import Reservoir, RowStore


def examples(count, dim=6, classes=3, seed=0):
    random = torch.Generator().manual_seed(seed)
    features = torch.randn(count, dim, generator=random).half()
    deltas = torch.randn(count, 4, generator=random)
    labels = torch.randint(0, classes, (count,), generator=random)
    return labels, features, deltas


def filled(store, labels, features, deltas):
    for label, feature, delta in zip(labels.tolist(), features, deltas, strict=True):
        store.add(label, feature, delta)
    return store


@pytest.mark.parametrize("max_bytes", [10**9, 100, 12, 0])
def test_all_examples_come_back_in_order_whatever_the_memory(tmp_path, max_bytes):
    labels, features, deltas = examples(200)
    store = filled(RowStore(4, 6, max_bytes, tmp_path), labels, features, deltas)
    for label in range(4):
        mine = labels == label
        got = store.of(label)
        assert torch.equal(got[0].half(), features[mine])
        assert torch.equal(got[1], deltas[mine])
    assert list(tmp_path.iterdir()) == []


def test_a_class_can_be_read_before_more_comes(tmp_path):
    labels, features, deltas = examples(20, classes=1)
    store = RowStore(1, 6, 0, tmp_path)
    filled(store, labels[:5], features[:5], deltas[:5])
    assert torch.equal(store.of(0)[0], features[:5])
    filled(store, labels[5:], features[5:], deltas[5:])
    assert torch.equal(store.of(0)[0], features)


def test_a_full_disk_is_one_line_of_the_machine(tmp_path, monkeypatch):
    def full(**_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("detection.training.row_store.tempfile.TemporaryFile", full)
    with pytest.raises(DataError, match="no space"):
        filled(RowStore(3, 6, 0, tmp_path), *examples(4))


def test_a_reservoir_below_its_size_keeps_everything():
    labels, features, deltas = examples(30)
    store = filled(Reservoir(3, 6, 30, 0), labels, features, deltas)
    for label in range(3):
        assert torch.equal(store.of(label)[0], features[labels == label])


def test_a_reservoir_keeps_each_example_equally_often_and_pairs_intact():
    """400 draws of 5 of 20: each is kept 100 times, give or take 5 standard deviations of 8.7."""
    counts = torch.zeros(20)
    for seed in range(400):
        store = Reservoir(1, 1, 5, seed)
        for number in range(20):
            store.add(0, torch.tensor([float(number)]), torch.full((4,), float(number)))
        features, deltas = store.of(0)
        assert torch.equal(features[:, 0].float(), deltas[:, 0])
        counts[features[:, 0].long()] += 1
    assert counts.sum() == 2000
    assert (counts - 100).abs().max() < 44
