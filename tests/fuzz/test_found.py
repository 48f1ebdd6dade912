"""What damaged inputs brought to light, one test each."""

import json

import pytest
import safetensors.torch
import torch

from detection.config import Config
from detection.data.images import read_file, read_sizes
from detection.data.voc import read_voc
from detection.errors import CheckpointError, ConfigError, DataError
from detection.io.tensors import load_tensors, save_tensors
from detection.runs.config_io import (
    MAX_BYTES,
    MAX_MERGED,
    apply,
    config_from_dict,
    read_config_file,
    read_option,
)
from tests.data.folders import VocTree


@pytest.mark.parametrize(
    "value",
    [
        "!!timestamp x",
        "!!int ''",
        "!!bool x",
        "!!float x",
        "2020-13-45",
        "{a: " * 500,
        "!!int _",
    ],
)
def test_whatever_yaml_stumbles_over_is_not_yaml(tmp_path, value):
    """PyYAML raises AttributeError, IndexError, KeyError, ValueError or RecursionError."""
    (tmp_path / "c.yaml").write_text(f"svm: {{c: {value}}}")
    with pytest.raises(ConfigError, match=r"c\.yaml: expected YAML, got an error: ."):
        read_config_file(tmp_path / "c.yaml")
    with pytest.raises(ConfigError, match=r"^--svm\.c: expected a number, got ['\"]"):
        read_option("svm", "c", value)


def test_nested_aliases_do_not_fill_the_memory_with_a_message(tmp_path):
    """Thirty levels of nine: written out, 10 ** 28 words."""
    lines = ["a0: &a0 [lol]", *(f"a{n}: &a{n} [{f'*a{n - 1},' * 9}]" for n in range(1, 30))]
    (tmp_path / "c.yaml").write_text("\n".join([*lines, "svm: *a29"]))
    with pytest.raises(ConfigError, match="a0: unknown section"):
        read_config_file(tmp_path / "c.yaml")
    (tmp_path / "c.yaml").write_text("\n".join(["data:", *(f"  {line}" for line in lines)]))
    with pytest.raises(ConfigError, match=r"data\.a0: unknown option"):
        read_config_file(tmp_path / "c.yaml")
    nested = "[" + ", ".join([f"&a{n} [{f'*a{n - 1},' * 9}]" for n in range(1, 30)]) + "]"
    (tmp_path / "c.yaml").write_text(f"svm: {{c: {nested.replace('*a0', 'lol')}}}")
    with pytest.raises(ConfigError, match=r"svm\.c: expected a number, got \[") as caught:
        read_config_file(tmp_path / "c.yaml")
    assert len(str(caught.value)) < 500


def test_merge_keys_do_not_fill_the_memory(tmp_path):
    """Nested ones multiply in PyYAML before 6.0.4."""
    options = ", ".join(f"x{n}: 1" for n in range(MAX_MERGED + 1))
    (tmp_path / "c.yaml").write_text(f"svm: &a {{{options}}}\nbbox: {{<<: [*a, *a]}}")
    with pytest.raises(ConfigError, match="more than 1000 merged entries"):
        read_config_file(tmp_path / "c.yaml")
    (tmp_path / "c.yaml").write_text("svm: &a {c: 2.0}\nbbox: {<<: {ridge: 3.0}}")
    assert read_config_file(tmp_path / "c.yaml") == {"svm": {"c": 2.0}, "bbox": {"ridge": 3.0}}


def test_numbers_of_thousands_of_digits_are_refused_in_words(tmp_path):
    """Python itself refuses to write them."""
    huge = int("f" * 5000, 16)
    for values in ({"svm": {"epochs": huge}}, {"svm": {"c": huge}}, {"svm": huge}):
        with pytest.raises(ConfigError, match="a number of 20,000 bits"):
            config_from_dict(values)
    for text in (f"svm:\n  ? 0x{'f' * 5000}\n  : 1", f"? 0x{'f' * 5000}\n: {{}}"):
        (tmp_path / "c.yaml").write_text(text)
        with pytest.raises(ConfigError, match="a number of 20,000 bits: unknown"):
            read_config_file(tmp_path / "c.yaml")


def test_halves_of_characters_are_refused_as_text(tmp_path):
    """YAML and JSON can spell them; nothing can be written or opened with them."""
    (tmp_path / "c.yaml").write_text('data: {root: "\\ud800"}')
    with pytest.raises(
        ConfigError, match=r"data\.root: expected a text or a list of texts, got '\\ud800'"
    ):
        apply(Config(), read_config_file(tmp_path / "c.yaml"))


def test_a_file_longer_than_any_configuration_is_not_read(tmp_path):
    (tmp_path / "c.yaml").write_text("#" * (MAX_BYTES + 1))
    with pytest.raises(ConfigError, match="expected at most 262,144 bytes, got more"):
        read_config_file(tmp_path / "c.yaml")


def test_a_path_that_cannot_be_encoded_is_unreadable(tmp_path):
    for read in (read_file, read_sizes):
        with pytest.raises(DataError, match="expected a name of Unicode text") as caught:
            read(tmp_path / "\ud800.jpg")
        str(caught.value).encode()


def test_an_identifier_longer_than_any_file_name_is_refused_in_a_short_line(tmp_path):
    tree = VocTree(tmp_path / "set")
    tree.split("train", f"000001\n{'0' * 40_000}\n")
    with pytest.raises(DataError, match="line 2: expected a plain identifier") as caught:
        read_voc(tree.root, "train")
    assert len(str(caught.value)) < 500


def test_numbers_of_eight_bits_are_refused_by_name(tmp_path):
    tensors = {"x": torch.zeros(3).to(torch.float8_e4m3fn)}
    (tmp_path / "m").write_bytes(safetensors.torch.save(tensors))
    with pytest.raises(CheckpointError, match=r"tensor x: expected at least 16 bits per number"):
        load_tensors(tmp_path / "m")


@pytest.mark.parametrize("header", ["[]", "3", "null", '"x"', "[" * 100_000, "{"])
def test_a_header_that_is_no_object_is_refused(tmp_path, header):
    (tmp_path / "m").write_bytes(safetensors.torch.save({}, metadata={"header": header}))
    with pytest.raises(CheckpointError, match="header: expected "):
        load_tensors(tmp_path / "m")


def test_a_tensor_list_nested_beyond_measure_is_refused(tmp_path):
    head = b'{"x": ' + b"[" * 50_000
    (tmp_path / "m").write_bytes(len(head).to_bytes(8, "little") + head)
    with pytest.raises(CheckpointError, match="expected a safetensors file, got something else"):
        load_tensors(tmp_path / "m")


def test_loaded_tensors_do_not_change_with_their_file(tmp_path):
    """They were the file's own pages: a copy over it changed them, a cut ended the process."""
    path = tmp_path / "m.safetensors"
    save_tensors(path, {"x": torch.arange(5000.0)}, {"a": 1})
    tensors, header = load_tensors(path)
    data = path.read_bytes()
    path.write_bytes(bytes(len(data)))
    assert torch.equal(tensors["x"], torch.arange(5000.0))
    path.write_bytes(b"")
    assert torch.equal(tensors["x"], torch.arange(5000.0))
    assert json.dumps(header) == '{"a": 1}'
