import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from detection.backbones.caffe.caffemodel import read_caffemodel
from detection.errors import CheckpointError
from tests.backbones.caffe.files import refused, written
from tests.backbones.caffe.writer import (
    V0,
    V1,
    V2,
    blob,
    block,
    layer,
    network,
    number,
    values,
    varint,
)

WEIGHT = np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2) / 7


@pytest.mark.parametrize("form", [V0, V1, V2])
@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_every_form_of_layer_shape_and_values_is_read(tmp_path, form, legacy, double, packed):
    stored = blob(WEIGHT, legacy=legacy, double=double, packed=packed)
    content = network(
        [
            layer(form, "data", tops=["data"]),
            layer(form, "conv1", [stored, stored], bottoms=["data"], tops=["conv1"]),
        ]
    )
    data, conv1 = read_caffemodel(written(tmp_path, content))
    assert (data.name, data.blobs, data.tops) == ("data", (), ("data",))
    assert (conv1.name, conv1.bottoms, conv1.tops) == ("conv1", ("data",), ("conv1",))
    assert [b.shape for b in conv1.blobs] == [(2, 3, 2, 2)] * 2
    for read in conv1.blobs:
        assert read.size == 24
        assert np.array_equal(read.values(), WEIGHT)
        assert read.values().dtype == np.float32


def test_the_four_axes_of_an_old_matrix(tmp_path):
    content = network([layer(V1, "fc6", [blob(np.ones((4, 6)), legacy=True)])])
    assert read_caffemodel(written(tmp_path, content))[0].blobs[0].shape == (1, 1, 4, 6)


def test_a_shape_may_be_unpacked(tmp_path):
    content = network([layer(V2, "fc6", [blob(WEIGHT, packed_shape=False)])])
    assert read_caffemodel(written(tmp_path, content))[0].blobs[0].shape == (2, 3, 2, 2)


def test_values_may_come_in_pieces_of_either_kind(tmp_path):
    flat = WEIGHT.ravel()
    pieces = values(5, flat[:5]) + values(5, flat[5:9], packed=False) + values(5, flat[9:])
    stored = block(7, block(1, b"".join(map(varint, WEIGHT.shape)))) + pieces
    content = network([layer(V2, "conv1", [stored])])
    assert np.array_equal(read_caffemodel(written(tmp_path, content))[0].blobs[0].values(), WEIGHT)


@pytest.mark.parametrize("count", [1, 63, 64, 65, 511, 512, 577, 5000])
def test_a_run_of_single_values_ends_where_another_field_begins(tmp_path, count):
    flat = np.arange(count, dtype=np.float32)
    single = values(5, flat, packed=False)
    stored = number(1, 1) + number(2, 1) + number(3, 1) + single + number(4, count)
    content = network([layer(V1, "conv1", [stored])])
    read = read_caffemodel(written(tmp_path, content))[0].blobs[0]
    assert read.shape == (1, 1, 1, count)
    assert np.array_equal(read.values().ravel(), flat)


def test_gradients_and_unknown_fields_are_left_out(tmp_path):
    noise = number(40, 7) + block(41, b"x" * 300) + varint(42 << 3 | 5) + b"abcd"
    noise += varint(43 << 3 | 1) + b"abcdefgh"
    diffs = values(6, WEIGHT) + values(6, WEIGHT, packed=False) + values(9, WEIGHT, double=True)
    content = noise + network([layer(V2, "a", [diffs + blob(WEIGHT) + noise])]) + noise
    read = read_caffemodel(written(tmp_path, content))[0].blobs[0]
    assert np.array_equal(read.values(), WEIGHT)


def test_doubles_hold_where_both_are_there(tmp_path):
    both = blob(WEIGHT) + values(8, WEIGHT * 2, double=True)
    content = network([layer(V2, "a", [both])])
    read = read_caffemodel(written(tmp_path, content))[0].blobs[0]
    assert np.array_equal(read.values(), WEIGHT * 2)


def test_a_missing_file_a_folder_and_an_empty_file_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"gone.caffemodel: .*got no such file"):
        read_caffemodel(tmp_path / "gone.caffemodel")
    with pytest.raises(CheckpointError, match="got a folder"):
        read_caffemodel(tmp_path)
    refused(tmp_path, b"", "got an empty one")


def test_what_is_no_network_is_refused_with_its_first_bytes(tmp_path):
    refused(tmp_path, block(1, "net"), "expected a network with layers, got none")
    refused(tmp_path, b"<!DOCTYPE html><html>", "byte ")
    refused(tmp_path, b'name: "CaffeNet"\ninput: "data"\n', "byte ")


@pytest.mark.parametrize("form", [V0, V1, V2])
def test_every_truncation_is_refused(tmp_path, form):
    content = network([layer(form, "conv1", [blob(WEIGHT)], bottoms=["data"])])
    start = len(network([]))
    whole = [start]
    for end in range(1, len(content)):
        if end in whole:
            continue
        with pytest.raises(CheckpointError, match=r"expected|got none"):
            read_caffemodel(written(tmp_path, content[:end]))


@pytest.mark.parametrize(
    "axes",
    [(5, 5), (0,), (1 << 63,), ((1 << 64) - 1,) * 3, (24, 0), (2,) * 32],
)
def test_a_shape_that_is_not_that_of_the_values_is_refused(tmp_path, axes):
    stored = block(7, block(1, b"".join(map(varint, axes)))) + values(5, WEIGHT)
    refused(tmp_path, network([layer(V2, "conv1", [stored])]), "layer 'conv1' blob 0: expected as")


def test_values_without_a_shape_are_refused(tmp_path):
    refused(tmp_path, network([layer(V2, "a", [values(5, WEIGHT)])]), r"shape has \(none\), got 24")


@pytest.mark.parametrize("packed", [False, True])
def test_a_shape_of_many_axes_is_refused_before_it_is_multiplied(tmp_path, packed):
    many = 5_000
    big = varint((1 << 64) - 1)
    dims = block(1, big * many) if packed else (varint(1 << 3) + big) * many
    content = network([layer(V2, "a", [block(7, dims) + values(5, WEIGHT)])])
    refused(tmp_path, content, r"at most 32 numbers|as many values as its shape")


def test_a_double_that_no_float_can_hold_becomes_infinite(tmp_path):
    content = network([layer(V2, "a", [blob([1e300, 1.0], double=True)])])
    read = read_caffemodel(written(tmp_path, content))[0].blobs[0].values()
    assert math.isinf(read[0])
    assert read[1] == 1


def test_names_are_made_printable(tmp_path):
    content = network([layer(V2, b"conv\n\x1b\xff1")])
    assert read_caffemodel(written(tmp_path, content))[0].name == "conv??" + "?" + "1"


VALID = network(
    [
        layer(V2, "conv1", [blob(WEIGHT), blob([1.0, 2.0])], bottoms=["data"]),
        layer(V1, "conv2", [blob(WEIGHT, legacy=True, packed=False)]),
        layer(V0, "fc6", [blob(WEIGHT, double=True, packed=False)]),
    ]
)


def reads_or_refuses(folder, content):
    """Nothing but the package's own error may come out."""
    path = written(folder, content, "fuzz.caffemodel")
    layers, message = (), str(path)
    try:
        layers = read_caffemodel(path)
    except CheckpointError as error:
        message = str(error)
    assert str(path) in message
    for stored in (stored for entry in layers for stored in entry.blobs):
        assert stored.values().shape == stored.shape


@given(content=st.binary(max_size=200))
@example(content=b"\x00")
def test_any_bytes_are_read_or_refused(tmp_path_factory, content):
    reads_or_refuses(tmp_path_factory.getbasetemp(), content)


@given(
    changes=st.lists(
        st.tuples(st.integers(0, len(VALID) - 1), st.integers(0, 255)), min_size=1, max_size=4
    ),
    end=st.integers(0, len(VALID)),
)
def test_any_change_of_a_file_is_read_or_refused(tmp_path_factory, changes, end):
    content = bytearray(VALID)
    for position, byte in changes:
        content[position] = byte
    reads_or_refuses(tmp_path_factory.getbasetemp(), bytes(content[:end]))
