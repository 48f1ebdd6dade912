import pytest

from detection.data.yolo_index import MAX_CHARACTERS, open_index
from detection.errors import DataError
from tests.data.label_trees import write_tree


@pytest.mark.parametrize(
    ("names", "categories"),
    [
        ("[cat, dog]", {0: "cat", 1: "dog"}),
        ("{0: cat, 5: dog}", {0: "cat", 5: "dog"}),
        ("{'1': dog, '0': cat}", {0: "cat", 1: "dog"}),
        ("[7, 1.5]", {0: "7", 1: "1.5"}),
    ],
)
def test_names_are_a_list_or_a_mapping(tmp_path, names, categories):
    write_tree(tmp_path, {"data.yaml": f"names: {names}\n"})
    assert list(open_index(tmp_path).names.items()) == list(categories.items())


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("names: [yes, no]", r"names: expected class indices from 0 and texts, got \[True, False"),
        ("names: {cat: 0}", r"names: expected class indices from 0 and texts"),
        (f"names: [0x{'f' * 5000}]", r"names: expected class indices from 0 and texts"),
        (f"names: {{0x{'f' * 500}: cat}}", r"names: expected class indices from 0 and texts"),
        ("names: [cat, [dog]]", r"names: expected class indices from 0 and texts"),
        ("names: cat", r"names: expected a list or a mapping from 0 on, got 'cat'"),
        ("names: [cat", r"expected YAML, got an error: "),
        ("names: !!python/name:os.system x", r"expected YAML, got an error: "),
        ("names: !!int ''", r"expected YAML, got an error: "),
        (
            "a: &a {b: c}\nnames: {<<: *a}",
            r"expected YAML .* without merge keys, got merge keys; keep",
        ),
        (b"names: [\xe4]", r"expected UTF-8 text"),
        (f"names: [{'a' * MAX_CHARACTERS}]", r"expected YAML of at most 262,144 characters"),
    ],
)
def test_a_bad_yaml_file_is_named(tmp_path, content, what):
    write_tree(tmp_path, {"data.yaml": content})
    with pytest.raises(DataError, match=rf"data\.yaml: {what}"):
        open_index(tmp_path)


def test_names_that_are_alike_or_empty_stop_a_reader(tmp_path):
    write_tree(tmp_path, {"data.yaml": "names: [cat, dog, ' cat', '']\n"})
    assert [(i.kind, i.location, i.action) for i in open_index(tmp_path).issues] == [
        ("bad category", "data.yaml: class 2", "stop"),
        ("bad category", "data.yaml: class 3", "stop"),
    ]


def test_one_yaml_file_with_names_is_found_whatever_it_is_called(tmp_path):
    write_tree(tmp_path, {"pets.yaml": "names: [cat]\n", "training.yaml": "epochs: 3\n"})
    assert open_index(tmp_path).path.name == "pets.yaml"
    write_tree(tmp_path, {"other.yml": "names: [cat]\n"})
    with pytest.raises(DataError, match=r"expected one YAML file .*, got other\.yml, pets\.yaml;"):
        open_index(tmp_path)


def test_data_yaml_is_taken_before_others(tmp_path):
    write_tree(tmp_path, {"a.yaml": "names: [cat]\n", "data.yaml": "names: [dog]\nval: x\n"})
    index = open_index(tmp_path)
    assert index.path.name == "data.yaml"
    assert (index.names, index.content["val"], index.issues) == ({0: "dog"}, "x", ())


@pytest.mark.parametrize("file", ["classes.txt", "obj.names", "labels/classes.txt"])
def test_a_list_of_classes_does_without_a_yaml_file(tmp_path, file):
    write_tree(tmp_path, {file: "\ufeffcat\r\ntraffic light\r\n\r\n", "notes.yaml": "a: 1\n"})
    index = open_index(tmp_path)
    assert (index.path, index.names) == (tmp_path / file, {0: "cat", 1: "traffic light"})
    write_tree(tmp_path, {file: "cat\n\ndog\n"})
    assert [issue.action for issue in open_index(tmp_path).issues] == ["stop"]


def test_a_folder_without_names_says_what_is_looked_for(tmp_path):
    with pytest.raises(DataError, match=r"such as data\.yaml, or classes\.txt or obj\.names, got"):
        open_index(tmp_path)
