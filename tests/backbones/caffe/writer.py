"""Writes ``.caffemodel`` files, field by field: only what the tests of the reader need."""

import math

import numpy as np

V0, V1, V2 = "V0", "V1", "V2"


def varint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def number(field, value):
    return varint(field << 3) + varint(value)


def block(field, content):
    content = content.encode() if isinstance(content, str) else content
    return varint(field << 3 | 2) + varint(len(content)) + content


def values(field, array, *, double=False, packed=True):
    kind, wire = ("<f8", 1) if double else ("<f4", 5)
    flat = np.asarray(array, dtype=kind).ravel()
    if packed:
        return block(field, flat.tobytes())
    tag = varint(field << 3 | wire)
    return b"".join(tag + value.tobytes() for value in flat)


def blob(array, *, legacy=False, double=False, packed=True, packed_shape=True):
    array = np.asarray(array)
    if legacy:
        axes = (1,) * (4 - array.ndim) + array.shape
        shape = b"".join(number(field, side) for field, side in enumerate(axes, 1))
    elif packed_shape:
        shape = block(7, block(1, b"".join(map(varint, array.shape))))
    else:
        shape = block(7, b"".join(number(1, side) for side in array.shape))
    return shape + values(8 if double else 5, array, double=double, packed=packed)


def layer(form, name, blobs=(), *, bottoms=(), tops=()):
    """One field of the network. The values' options are those of ``blob``, made beforehand."""
    if form == V2:
        inside = [block(1, name), block(2, "Any")]
        inside += [block(3, x) for x in bottoms] + [block(4, x) for x in tops]
        return block(100, b"".join([*inside, *(block(7, b) for b in blobs)]))
    ends = [block(2, x) for x in bottoms] + [block(3, x) for x in tops]
    if form == V1:
        inside = [*ends, block(4, name), number(5, 4), *(block(6, b) for b in blobs)]
        return block(2, b"".join(inside))
    inner = block(1, name) + block(2, "any") + b"".join(block(50, b) for b in blobs)
    return block(2, block(1, inner) + b"".join(ends))


def network(layers, name="net"):
    inputs = block(3, "data") + b"".join(number(4, side) for side in (1, 3, 227, 227))
    return block(1, name) + inputs + b"".join(layers)


def random_blobs(shape, seed, **options):
    random = np.random.default_rng(seed)
    weight = random.standard_normal(shape, np.float32) / math.sqrt(math.prod(shape[1:]))
    bias = random.standard_normal(shape[0], np.float32)
    return (weight, bias), (blob(weight, **options), blob(bias, **options))
