"""Lists of VOC folders that are not the usual ones."""

import logging
from dataclasses import replace

from detection.config import DataConfig
from detection.data.check import check_dataset
from tests.data.folders import VocTree
from tests.data.test_kept_lists import names


def test_a_voc_folder_with_one_list_is_divided(tmp_path, caplog):
    tree = VocTree(tmp_path / "set")
    ids = [f"{number:06d}" for number in range(1, 11)]
    for image_id in ids:
        tree.more(image_id)
    (tree.root / "ImageSets/Main/train.txt").unlink()
    tree.split("default", "".join(f"{image_id}\n" for image_id in ids))
    tree.split("dog_default", "".join(f"{image_id} 1\n" for image_id in ids))
    config = DataConfig(root=str(tree.root))
    with caplog.at_level(logging.INFO):
        train, test = names(config, "train"), names(config, "test")
    assert sorted(train + test) == ids
    assert len(test) == 2
    assert names(replace(config, train_split="default"), "train") == ids
    assert "read as the list 'default', a fifth drawn to test on" in caplog.text
    assert check_dataset(config).clean
