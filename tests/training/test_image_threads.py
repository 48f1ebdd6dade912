import threading
import time
import weakref

import pytest
import torch
from torch import nn

from detection.errors import DataError
from detection.features.depthwise import with_fast_depthwise
from detection.training.image_threads import map_images, map_with_gradients

CPU = torch.device("cpu")


@pytest.fixture
def threads():
    """Return a function that sets how many threads torch has, undone afterwards."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def network():
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 16, 5, padding=2, groups=16),
        nn.Conv2d(16, 8, 1),
    )
    return with_fast_depthwise(layers.to(memory_format=torch.channels_last))


def images():
    random = torch.Generator().manual_seed(1)
    return [torch.randn(1, 3, 24 + 5 * i, 31, generator=random) for i in range(5)]


def gradients(layers, parts):
    joined = torch.cat(parts)
    loss = (joined.square() * torch.arange(1, len(joined) + 1)[:, None]).mean()
    layers.zero_grad()
    loss.backward()
    return [p.grad.clone() for p in layers.parameters()]


@pytest.mark.parametrize("by_size", [False, True])
@pytest.mark.parametrize("count", [2, 3])
def test_values_and_gradients_are_those_of_one_thread_bit_for_bit(threads, count, by_size):
    layers = network()

    def pooled(image):
        maps = layers(image)
        return maps.amax(dim=(2, 3)) + maps.mean(dim=(2, 3))

    threads(1)
    expected = [pooled(image) for image in images()]
    expected_gradients = gradients(layers, expected)
    threads(count)
    costs = [image.numel() for image in images()] if by_size else []
    actual = map_with_gradients(pooled, images(), list(layers.parameters()), CPU, costs)
    actual_gradients = gradients(layers, actual)
    assert all(map(torch.equal, actual, expected))
    assert all(map(torch.equal, actual_gradients, expected_gradients))
    assert expected_gradients[0].abs().max() > 0


def test_every_item_has_one_thread_and_the_caller_keeps_its_own(threads):
    threads(2)
    both = threading.Barrier(2, timeout=60)

    def seen(_):
        both.wait()  # two items are at work at a time
        return threading.get_ident(), torch.get_num_threads()

    found = map_images(seen, [0, 1], CPU)
    assert len({ident for ident, _ in found} | {threading.get_ident()}) == 3
    assert [count for _, count in found] == [1, 1]
    assert torch.get_num_threads() == 2


def test_the_dearest_item_begins_first_and_results_keep_their_order(threads):
    threads(2)
    begun, both = [], threading.Barrier(2, timeout=60)

    def seen(item):
        begun.append(item)
        both.wait()
        return item

    assert map_images(seen, list("abcd"), CPU, [1, 5, 2, 9]) == list("abcd")
    assert [set(begun[:2]), set(begun[2:])] == [set("bd"), set("ac")]
    begun.clear()
    assert map_images(seen, list("abcd"), CPU) == list("abcd")
    assert [set(begun[:2]), set(begun[2:])] == [set("ab"), set("cd")]


@pytest.mark.parametrize("count", [1, 2])
def test_gradients_are_recorded_as_the_caller_records_them(threads, count):
    threads(count)
    weight = torch.ones(2, requires_grad=True)
    with torch.no_grad():
        assert not any(
            part.requires_grad for part in map_images(lambda x: weight * x, [1.0, 2.0], CPU)
        )
    assert all(part.requires_grad for part in map_images(lambda x: weight * x, [1.0, 2.0], CPU))


def test_a_parameter_that_nothing_reads_gets_no_gradient(threads):
    threads(2)
    read, unread = torch.ones(1, 2, requires_grad=True), torch.ones(1, 2, requires_grad=True)
    parts = map_with_gradients(
        lambda x: read * x if x else torch.zeros(1, 2), [0.0, 2.0, 3.0], [read, unread], CPU
    )
    torch.cat(parts).sum().backward()
    assert torch.equal(read.grad, torch.full((1, 2), 5.0))
    assert unread.grad is None


def test_an_error_in_a_thread_is_the_callers(threads):
    threads(2)

    def broken(index):
        if index == 1:
            message = "image 1: expected an image"
            raise DataError(message)
        return torch.zeros(1, 1)

    with pytest.raises(DataError, match="image 1"):
        map_images(broken, [0, 1, 2], CPU)


def test_the_gradients_of_many_images_are_not_held_together(threads, monkeypatch):
    """Each is as large as the network: a hundred of VGG16's would be six gigabytes."""
    threads(2)
    weight = torch.ones(1, 3, requires_grad=True)
    grad, made, most = torch.autograd.grad, [], []

    def counted(*arguments, **options):
        found = grad(*arguments, **options)
        made.append(weakref.ref(found[0]))
        most.append(sum(one() is not None for one in made))
        time.sleep(0.005)
        return found

    parts = map_with_gradients(lambda x: weight * x, [float(i) for i in range(60)], [weight], CPU)
    monkeypatch.setattr(torch.autograd, "grad", counted)
    torch.cat(parts).sum().backward()
    assert torch.equal(weight.grad, torch.full((1, 3), 60.0 * 59 / 2))
    assert len(made) == 60
    assert max(most) < 20
