import threading

import torch

from detection.features.pyramid import pyramid_pool
from detection.kernels.buffers import LARGEST, SMALLEST, Buffers

SIDE = int(SMALLEST**0.5)


def address(array):
    return array.__array_interface__["data"][0]


def test_an_array_is_used_again_when_nobody_holds_it():
    buffers = Buffers(count=1)
    first = buffers.take(SIDE, SIDE)
    place = address(first)
    del first
    assert address(buffers.take(SIDE, SIDE)) == place


def test_an_array_that_somebody_holds_is_left_alone():
    buffers = Buffers(count=2)
    held = [buffers.take(SIDE, SIDE) for _ in range(4)]
    for value, array in enumerate(held):
        array[:] = value
    assert [int(array[5, 5]) for array in held] == [0, 1, 2, 3]
    assert all((array == value).all() for value, array in enumerate(held))


def test_a_view_or_a_tensor_of_the_array_holds_it():
    for hold in (
        lambda array: array[3:5],
        lambda array: torch.from_numpy(array).view(torch.float32),
        lambda array: torch.from_numpy(array)[2].view(torch.float32).reshape(2, -1),
        lambda array: torch.from_numpy(array).untyped_storage(),
    ):
        buffers = Buffers(count=1)
        array = buffers.take(SIDE, SIDE)
        place = address(array)
        held = hold(array)
        del array
        assert address(buffers.take(SIDE, SIDE)) != place
        del held
        assert address(buffers.take(SIDE, SIDE)) == place


def test_a_smaller_request_reuses_and_a_larger_one_grows():
    buffers = Buffers(count=1)
    place = address(buffers.take(2 * SIDE, SIDE))
    smaller = buffers.take(SIDE, SIDE)
    assert smaller.shape == (SIDE, SIDE)
    assert address(smaller) == place
    del smaller
    assert buffers.take(3 * SIDE, SIDE).shape == (3 * SIDE, SIDE)


def test_small_and_huge_arrays_are_not_kept():
    buffers = Buffers(count=1)
    assert buffers.take(0, 5).shape == (0, 5)
    first = buffers.take(1, 5)
    assert first.base is None
    assert buffers.take(LARGEST + 1, 1).base is None


def test_threads_never_share_an_array():
    buffers = Buffers(count=2)
    wrong = []

    def work(value):
        for _ in range(50):
            array = buffers.take(SIDE, SIDE)
            array[:] = value
            if not (array == value).all():
                wrong.append(value)

    threads = [threading.Thread(target=work, args=(value,)) for value in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_pooled_vectors_stay_as_they_are_when_more_are_pooled():
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(64, 12, 12, generator=generator)
    windows = torch.tensor([[0, 0, 12, 12], [2, 3, 9, 8]]).repeat(200, 1)
    first = pyramid_pool(values, windows)
    copy = first.clone()
    others = [pyramid_pool(values + 1, windows) for _ in range(3)]
    assert torch.equal(first, copy)
    assert all(torch.equal(other, others[0]) for other in others)
