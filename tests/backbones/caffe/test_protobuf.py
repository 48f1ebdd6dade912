import tracemalloc

import pytest

from detection.backbones.caffe import protobuf
from detection.backbones.caffe.caffemodel import read_caffemodel
from detection.errors import CheckpointError
from tests.backbones.caffe.files import refused, written
from tests.backbones.caffe.writer import (
    block,
    network,
    number,
    varint,
)


@pytest.mark.parametrize("length", [1 << 20, 1 << 31, 1 << 40, (1 << 63) - 1, (1 << 64) - 1])
@pytest.mark.parametrize("depth", ["net", "layer", "blob", "values"])
def test_absurd_lengths_are_refused_without_memory(tmp_path, length, depth):
    lie = {
        "net": varint(100 << 3 | 2) + varint(length) + b"abc",
        "layer": block(100, varint(7 << 3 | 2) + varint(length) + b"abc"),
        "blob": block(100, block(7, varint(7 << 3 | 2) + varint(length) + b"abc")),
        "values": block(100, block(7, varint(5 << 3 | 2) + varint(length) + b"abc")),
    }[depth]
    path = written(tmp_path, lie)
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match=f"expected the {length:,} bytes of field"):
            read_caffemodel(path)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("wire", [3, 4, 6, 7])
def test_unknown_wire_types_are_refused(tmp_path, wire):
    refused(tmp_path, network([varint(50 << 3 | wire)]), f"expected wire type .*got {wire} in fie")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (block(100, number(1, 5)), "expected wire type 2 in field 1, got 0"),
        (number(100, 5), "expected wire type 2 in field 100, got 0"),
        (block(100, block(7, number(5, 5))), "expected wire type 5 in field 5, got 0"),
        (block(100, block(7, block(1, b"a"))), "expected wire type 0 in field 1, got 2"),
        (block(100, block(7, block(5, b"abcde"))), "expected values of 4 bytes, got 5 bytes"),
        (block(100, block(7, block(8, b"abcd"))), "expected values of 8 bytes, got 4 bytes"),
        (block(100, block(1, b"n" * 1001)), "expected a name of at most 1000 bytes, got 1001"),
        (b"\xff" * 11, "expected a number of at most 10 bytes"),
        (varint(0) + b"a", "expected a field number from 1"),
    ],
)
def test_fields_of_the_wrong_kind_are_refused(tmp_path, content, match):
    refused(tmp_path, content, match)


def test_the_number_of_fields_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(protobuf, "MAX_FIELDS", 100)
    refused(tmp_path, number(40, 1) * 101, "expected at most 100 fields, got more")
    refused(tmp_path, number(40, 1) * 100, "expected a network with layers")
