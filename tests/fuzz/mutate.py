"""Damage to valid inputs: bytes, texts made of tokens, and trees of plain data; all seeded."""

import copy
import re

NUMBERS = [
    "-1", "0", "-0.0", "1", "1e308", "1e999", "-1e999", "NaN", "nan", "inf", "1e-400", "45.7",
    "99999999999999999999", "2147483648", "4294967296", "0x10", "1_000", "12,5", "", " ", "٣", "²",
]  # fmt: skip
VALUES = [
    None, True, False, 0, 1, -1, 2**31, 2**63, 2**64, 10**40, 0.5, -0.0, 1e308, float("nan"),
    float("inf"), "", "x", "0", "1e9", "\ud800", "\0", "a/../b", "..", "/etc/hostname", "é" * 300,
    [], {}, [[]], [None], {"": None}, [1, 2, 3], [0] * 40, {"a": {"b": []}},
]  # fmt: skip
LONGEST = 1 << 16


def damage_bytes(data, random, pieces=(), others=()):
    """Apply one to six changes: flip, set, insert, delete, double, move, cut, splice, repeat."""
    data = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 3, 6))):
        kind = random.randrange(11)
        place = random.randrange(len(data) + 1)
        length = min(random.choice((1, 1, 2, 4, 8, 32, 200)), len(data) - place)
        part = bytes(data[place : place + length])
        if kind == 0 and length:
            data[place] ^= 1 << random.randrange(8)
        elif kind == 1 and length:
            data[place] = random.choice((0, 1, 0x7F, 0x80, 0xFF, random.randrange(256)))
        elif kind == 2 and pieces:
            data[place:place] = random.choice(pieces)
        elif kind == 3:
            del data[place : place + length]
        elif kind == 4:
            data[place:place] = part
        elif kind == 5:
            del data[place : place + length]
            other = random.randrange(len(data) + 1)
            data[other:other] = part
        elif kind == 6 and random.random() < 0.3:
            del data[place:]
        elif kind == 7 and others:
            other = random.choice(others)
            data[place:] = other[random.randrange(len(other)) :]
        elif kind == 8 and pieces:
            data[place : place + length] = random.choice(pieces)
        elif kind == 9:
            data[place : place + length] = random.randbytes(length)
        elif kind == 10 and random.random() < 0.02:
            data[place:place] = (part or b"[") * random.choice((100, 20_000))
    return bytes(data[:LONGEST])


def damage_tokens(text, random, pieces=()):
    """Delete, double, exchange or replace whole tokens: tags, words, numbers, marks."""
    tokens = re.findall(r"<[^<>]*>|[\w.+-]+|\s+|.", text)
    for _ in range(random.choice((1, 1, 2, 3, 6))):
        if not tokens:
            break
        first, second = random.randrange(len(tokens)), random.randrange(len(tokens))
        kind = random.randrange(6)
        if kind == 0:
            del tokens[first : first + random.choice((1, 1, 3, 10))]
        elif kind == 1:
            tokens[second:second] = tokens[first : first + random.choice((1, 3, 10, 40))]
        elif kind == 2:
            tokens[first], tokens[second] = tokens[second], tokens[first]
        elif kind == 3:
            numbers = [at for at, token in enumerate(tokens) if re.fullmatch(r"[\d.]+", token)]
            tokens[random.choice(numbers or [first])] = random.choice(NUMBERS)
        elif kind == 4 and pieces:
            tokens[first] = random.choice(pieces)
        elif pieces:
            tokens[first:first] = [random.choice(pieces)]
    return "".join(tokens)[:LONGEST]


def damage_tree(tree, random, values=VALUES):
    """Replace, delete, double or rename nodes of nested lists and dictionaries; gives a copy."""
    tree = copy.deepcopy(tree)
    for _ in range(random.choice((1, 1, 2, 3))):
        nodes = [(None, None), *(_nodes(tree) if isinstance(tree, dict | list) else ())]
        parent, key = random.choice(nodes)
        if parent is None:
            if random.random() < 0.1:
                tree = copy.deepcopy(random.choice(values))
            continue
        kind = random.randrange(6)
        if kind == 0:
            del parent[key]
        elif kind == 1:
            other, its_key = random.choice(nodes[1:])
            parent[key] = copy.deepcopy(other[its_key])
        elif kind == 2 and isinstance(parent, list):
            parent.insert(key, copy.deepcopy(parent[key]))
        elif kind == 2:
            parent[str(random.choice(values))] = parent.pop(key)
        elif kind == 3 and isinstance(parent[key], int | float):
            parent[key] = parent[key] * random.choice((-1, 0, 2, 1000, 0.5))
        else:
            parent[key] = copy.deepcopy(random.choice(values))
    return tree


def _nodes(tree):
    """Return (parent, key) of every node below the root."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, child in list(items):
        yield tree, key
        if isinstance(child, dict | list):
            yield from _nodes(child)
