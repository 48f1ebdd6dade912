from hypothesis import given
from hypothesis import strategies as st

from detection.data.split import counted_classes, named_parts, seeded_parts

CLASSES = st.dictionaries(
    st.text(min_size=1, max_size=5), st.frozensets(st.sampled_from("abc")), max_size=60
)


def test_folders_make_the_lists():
    paths = {"a": "train/images/a.jpg", "b": "valid/b.jpg", "c": "x/Test/c.jpg"}
    expected = {"train": ("a",), "val": ("b",), "test": ("c",), "trainval": ("a", "b")}
    assert named_parts(paths) == expected


def test_without_a_test_folder_the_val_folder_is_tested_on():
    paths = {"a": "train/a.jpg", "b": "val/b.jpg"}
    expected = {"train": ("a",), "val": ("b",), "test": ("b",), "trainval": ("a",)}
    assert named_parts(paths) == expected


def test_an_image_in_none_of_them_or_no_second_list_leaves_it_to_the_draw():
    assert named_parts({"a": "train/a.jpg", "b": "b.jpg"}) is None
    assert named_parts({"a": "train/a.jpg"}) is None
    assert named_parts({"a": "train.jpg", "b": "test.jpg"}) is None


@given(CLASSES)
def test_every_image_is_in_one_list_and_every_class_of_two_images_is_tested(classes):
    parts = seeded_parts(classes)
    assert sorted((*parts["trainval"], *parts["test"])) == sorted(classes)
    tested = set(parts["test"])
    for name in "abc":
        keys = [key for key, names in classes.items() if name in names]
        if len(keys) > 1:
            assert tested & set(keys)


@given(CLASSES)
def test_the_draw_does_not_depend_on_the_order(classes):
    assert seeded_parts(classes) == seeded_parts(dict(reversed(classes.items())))


def test_about_a_fifth_is_tested_on_and_seeds_differ():
    classes = {str(number): frozenset("a" if number % 3 else "b") for number in range(100)}
    assert len(seeded_parts(classes)["test"]) == 20
    assert seeded_parts(classes) != seeded_parts(classes, seed=1)


def test_an_image_with_difficult_objects_alone_does_not_count_for_their_class():
    objects = {
        "a": [("cat", False), ("dog", True)],
        "b": [("cat", True)],
        "c": [("dog", False), ("dog", True)],
        "d": [],
    }
    assert counted_classes(objects) == {"a": {"cat"}, "b": set(), "c": {"dog"}, "d": set()}


def test_a_class_of_difficult_objects_alone_is_still_learned():
    objects = {str(number): [("cat", number == 3), ("fog", True)] for number in range(5)}
    assert counted_classes(objects)["3"] == {"fog"}
    assert counted_classes(objects)["0"] == {"cat", "fog"}


def test_both_lists_have_an_object_of_a_class_that_counts():
    for number in range(40):
        found = {f"{number}-{image}": [("cat", image > 1)] for image in range(6)}
        parts = seeded_parts(counted_classes(found))
        easy = {f"{number}-0", f"{number}-1"}
        assert all(easy & set(part) for part in parts.values())
