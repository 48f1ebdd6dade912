"""Writes folders with label files in the formats of common tools, for the readers' tests."""

from collections import Counter

from detection.data.annotations import read_all
from detection.data.assemble import assemble
from detection.data.coco import terms_of
from detection.data.coco_examine import examine_coco, twins
from detection.data.coco_file import image_folder
from detection.data.issues import Rules, stop_at
from tests.data.folders import picture, write_bytes_or_text


def write_tree(root, files, images=()):
    """Write texts by path, and images of 60 x 40 pixels, each with pixels of its own."""
    root.mkdir(parents=True, exist_ok=True)
    for path, content in files.items():
        write_bytes_or_text(root / path, content)
    for seed, path in enumerate(images):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        picture(seed=seed).save(root / path)
    return root


def dataset_of(coco, root, *, strict=True):
    """Read the images behind the tables as training and evaluation do."""
    folder = image_folder(coco, root)
    stop_at((*coco.issues, *twins(coco, folder)))
    names, rules = coco.used_names(), Rules(strict=strict, max_skipped=0.5)
    examined = read_all(examine_coco(coco, folder, coco.images, rules, known=names))
    terms = terms_of(coco, names)
    return assemble(coco.path.stem, "train", examined, coco.issues, names, rules), terms


def kinds_of(coco):
    return Counter((issue.kind, issue.action) for issue in coco.issues)


def boxes_of(coco, image_id):
    return [(item.class_name, *item.corners) for item in coco.objects.get(image_id, ())]
