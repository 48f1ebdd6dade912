import torch

from detection.training.randomness import mixed, seeded, stream

# printf "('flip', 3, 4)" | sha256sum
SHA256 = "f39947495e9b34956b6902a47e5ab64f5ab1411694a41d6106d6c4a54f32ac97"


def test_every_part_and_its_place_counts():
    parts = [(1, 2), (2, 1), (1,), (12,), ("1", 2), ("a", "bc"), ("ab", "c"), ("abc",), ()]
    seeds = [mixed(*one) for one in parts]
    assert len(set(seeds)) == len(parts)
    assert all(0 <= seed < 1 << 32 for seed in seeds)


def test_a_seed_is_the_same_in_every_process():
    assert mixed("flip", 3, 4) == int.from_bytes(bytes.fromhex(SHA256[:8]), "little")


def test_a_stream_begins_anew():
    first, again = (torch.rand(5, generator=stream("x", 1)) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, torch.rand(5, generator=stream("x", 2)))


def test_dropout_depends_on_the_parts_and_leaves_the_global_generator_alone():
    def dropped(*parts):
        with seeded(torch.device("cpu"), *parts):
            return torch.nn.functional.dropout(torch.ones(64))

    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(dropped("step", 1), dropped("step", 1))
    assert not torch.equal(dropped("step", 1), dropped("step", 2))
    assert torch.equal(torch.rand(3), expected)
