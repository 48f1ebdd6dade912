import torch

from detection.heads.negative_cache import NegativeCache
from detection.heads.svm import Svms


def filled(monkeypatch, rows_of_block=3):
    """Return a cache of three images in blocks of a few rows."""
    monkeypatch.setattr("detection.heads.negative_cache.BLOCK_BYTES", 2 * 4 * rows_of_block)
    cache = NegativeCache(4, 2, torch.device("cpu"))
    random = torch.Generator().manual_seed(0)
    for image in range(3):
        cache.add(image, torch.randn(2, 4, generator=random), torch.tensor([[True, False]] * 2))
    return cache


def test_a_restored_cache_has_the_same_rows_in_the_same_blocks(monkeypatch):
    cache = filled(monkeypatch)
    other = NegativeCache(4, 2, torch.device("cpu"))
    other.restore({name: value.clone() for name, value in cache.state().items()})
    assert [len(block) for block in other.blocks] == [len(block) for block in cache.blocks]
    assert all(torch.equal(a, b) for a, b in zip(other.blocks, cache.blocks, strict=True))
    svms = Svms(weight=torch.ones(2, 4), bias=torch.zeros(2))
    assert torch.equal(other.scores(svms), cache.scores(svms))
    again = torch.zeros(2, 4), torch.tensor([[True, True], [False, False]])
    assert cache.add(1, *again).tolist() == other.add(1, *again).tolist() == [0, 1]


def test_rows_are_marked_by_their_images(monkeypatch):
    cache = filled(monkeypatch)
    assert cache.rows_of([0, 2]).tolist() == [True, True, False, False, True, True]
    assert cache.rows_of([]).tolist() == [False] * 6


def test_blocks_grow_in_place_and_hold_the_rows_in_order(monkeypatch):
    monkeypatch.setattr("detection.heads.negative_cache.BLOCK_BYTES", 2 * 4 * 100)
    cache = NegativeCache(4, 2, torch.device("cpu"))
    random, given, places = torch.Generator().manual_seed(0), [], []
    for image in range(120):
        rows = torch.randn(3, 4, generator=random).bfloat16().float()
        given.append(rows)
        cache.add(image, rows, torch.tensor([[True, False]] * 3))
        places.append(cache.blocks[-1].data_ptr())
    assert [len(block) for block in cache.blocks] == [99, 99, 99, 63]
    assert torch.equal(torch.cat(cache.blocks).float(), torch.cat(given))
    assert len(set(places)) < 40  # a block moves when its room doubles, not with every image


def test_what_was_taken_out_does_not_change_with_later_rows(monkeypatch):
    cache = filled(monkeypatch, rows_of_block=50)
    state = cache.state()
    before = {name: value.clone() for name, value in state.items()}
    cache.add(7, 3 * torch.ones(3, 4), torch.tensor([[True, False]] * 3))
    assert len(cache) == 9
    assert all(torch.equal(state[name], value) for name, value in before.items())
    cache.drop(Svms(weight=torch.ones(2, 4), bias=torch.zeros(2)), easy_score=9.0)
    assert torch.equal(torch.cat(cache.blocks).float(), 3 * torch.ones(3, 4))
    cache.add(8, 2 * torch.ones(1, 4), torch.tensor([[True, False]]))
    assert torch.cat(cache.blocks).float().tolist() == [[3.0] * 4] * 3 + [[2.0] * 4]
