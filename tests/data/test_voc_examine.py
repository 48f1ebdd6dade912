"""The images of a VOC folder, one after another."""

from detection.data.issues import Rules
from detection.data.voc_examine import examine
from detection.data.voc_folder import open_voc_folder
from tests.data.folders import VocTree, annotation_xml, object_xml


def test_an_image_has_its_objects_or_what_is_wrong_with_it(tmp_path):
    tree = VocTree(tmp_path / "set")
    tree.more("000002", annotation_xml(object_xml("cat"), filename="other.jpg"))
    folder = open_voc_folder(tree.root)
    sound, other, gone = examine(folder, ["000001", "000002", "000003"], Rules(), known=["dog"])
    assert [item.class_name for item in sound.objects] == ["dog"]
    assert sound.issues == ()
    assert other.objects == ()
    assert [issue.kind for issue in other.issues] == ["other filename", "unknown class"]
    assert gone.size is None
    assert {issue.kind for issue in gone.issues} >= {"missing annotation", "unreadable image"}
