"""The images of a COCO file, one after another."""

from detection.data.coco_examine import examine_coco, twins
from detection.data.coco_file import open_coco
from detection.data.issues import Rules
from tests.data.folders import coco_content, write_coco


def test_an_image_has_its_objects_or_what_is_wrong_with_it(tmp_path):
    images = [{"id": 7, "file_name": "a.jpg"}, {"id": 8, "file_name": "gone.jpg"}]
    coco = open_coco(tmp_path, write_coco(tmp_path, coco_content(images=images)))
    there, gone = examine_coco(coco, tmp_path, coco.images, Rules())
    assert (there.image_id, there.size, len(there.objects)) == ("7", (40, 60), 1)
    assert there.objects[0].box == (5, 6, 25, 16)
    assert (gone.size, gone.objects) == (None, ())
    assert [issue.kind for issue in gone.issues] == ["unreadable image"]


def test_one_file_under_two_ids_is_named_with_both(tmp_path):
    images = [{"id": 7, "file_name": "a.jpg"}, {"id": 8, "file_name": "./a.jpg"}]
    coco = open_coco(tmp_path, write_coco(tmp_path, coco_content(images=images)))
    (issue,) = twins(coco, tmp_path)
    assert "got it as image 7 and as image 8" in issue.what
