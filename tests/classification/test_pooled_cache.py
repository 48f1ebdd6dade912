import torch

from detection.classification.pooled_cache import PooledCache

CROPS = torch.arange(4 * 3 * 2 * 2).reshape(4, 3, 2, 2).to(torch.uint8)
KEYS = [("train", index, 2, 0, False) for index in range(4)]


class CountingPool:
    """The mean of a crop's channels, and how often that was asked for."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, crop):
        self.calls += 1
        assert crop.shape == (1, 3, 2, 2)
        return crop.float().mean(dim=(2, 3))


def test_each_crop_is_pooled_once():
    pool, cache = CountingPool(), PooledCache(10**6)
    first = cache.get(KEYS, CROPS, pool)
    again = cache.get(KEYS[::-1], CROPS.flip(0), pool)
    assert torch.equal(first, CROPS.float().mean(dim=(2, 3)))
    assert torch.equal(again, first.flip(0))
    assert pool.calls == len(cache) == 4


def test_keys_that_differ_in_any_part_are_other_crops():
    pool, cache = CountingPool(), PooledCache(10**6)
    keys = [
        ("train", 0, 2, 0, False),
        ("test", 0, 2, 0, False),
        ("train", 1, 2, 0, False),
        ("train", 0, 3, 0, False),
        ("train", 0, 2, 1, False),
        ("train", 0, 2, 0, True),
    ]
    for key in keys:
        cache.get([key], CROPS[:1], pool)
    assert pool.calls == len(cache) == 6


def test_what_exceeds_the_budget_is_computed_again():
    pool, cache = CountingPool(), PooledCache(2 * 3 * 4)
    first = cache.get(KEYS, CROPS, pool)
    assert len(cache) == 2
    assert torch.equal(cache.get(KEYS, CROPS, pool), first)
    assert pool.calls == 4 + 2
