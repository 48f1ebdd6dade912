import json
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from detection.classification.evaluate import classify_eval, classify_views, match_images
from detection.classification.pretrain import pretrain
from detection.errors import ConfigError, DataError
from detection.evaluation.voc_ap import RULES, score_matches
from detection.pretrain_config import ClassifyConfig
from tests.classification.tiny_classifier import (
    COLOURS,
    tiny_config,
    voc_config,
    write_class_folders,
    write_voc,
)
from tests.reference.voc_classification import classification_ap

pytestmark = pytest.mark.usefixtures("tiny_network")


def test_every_view_of_a_trained_classifier_is_scored(tmp_path):
    config = tiny_config(write_class_folders(tmp_path / "pictures"), epochs=8)
    views = ("centre", "ten", "full", "ten_maps", "all_maps")
    config = replace(config, classify=ClassifyConfig(views=views, scales=(32, 48)))
    pretrain(config, tmp_path / "run")
    values = classify_views(tmp_path / "run", config)
    assert values == json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert values["num_pictures"] == 24
    assert list(values["views"]) == list(views)
    for row in values["views"].values():
        assert row["top1"] > 0.9
        assert row["top1_error"] == pytest.approx(1 - row["top1"])
        assert row["top5"] == 1.0
        variance = row["top1"] * (1 - row["top1"])
        assert row["standard_error"] == pytest.approx((variance / 24) ** 0.5)


def test_svms_on_whole_images_find_the_classes(tmp_path, caplog):
    caplog.set_level("INFO", "detection")
    values = classify_eval(voc_config(write_voc(tmp_path / "voc")), tmp_path / "run")
    assert values["map"] == {"voc07": 1.0, "voc10": 1.0}
    assert values["num_images"] == 15
    assert list(values["per_class"]) == sorted(COLOURS)
    assert (tmp_path / "run" / "metrics.json").is_file()
    assert "15 images, mean average precision voc07 100.0, voc10 100.0" in caplog.text


def on_splits(config, source, root=""):
    classify = ClassifyConfig(
        svm_source=source,
        svm_root=str(root),
        svm_train_images=3,
        svm_test_images=2,
        svm_splits=3,
        seed=5,
    )
    return replace(config, classify=classify)


def test_class_folders_are_scored_by_their_accuracy_over_splits(root, tmp_path, caplog):
    caplog.set_level("INFO", "detection")
    config = on_splits(voc_config(tmp_path), "folder", root / "train")
    values = classify_eval(config, tmp_path / "run")
    assert values == json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert values["class_names"] == sorted(COLOURS)
    assert (values["num_images"], values["split"]) == (24, "train")
    assert [row["seed"] for row in values["splits"]] == [5, 6, 7]
    assert {(row["num_train"], row["num_test"]) for row in values["splits"]} == {(9, 6)}
    assert values["accuracy"] > 0.9
    assert (values["view"], values["short_side"], values["layer"]) == ("full", 64, "pool5")
    assert "train: 3 splits, accuracy" in caplog.text


def test_cut_out_objects_are_scored_like_class_folders(tmp_path):
    config = on_splits(voc_config(write_voc(tmp_path / "voc")), "objects")
    values = classify_eval(config, tmp_path / "run")
    assert values["split"].startswith("objects of ")
    assert values["num_images"] == 15  # one an image: the difficult ones are left out
    assert 0 <= values["accuracy"] <= 1


def test_the_method_no_longer_leaves_out_the_pyramid(tmp_path):
    with pytest.raises(
        ConfigError, match=r"features\.method: .*got 'rcnn'; classify\.svm_pool last"
    ):
        classify_eval(voc_config(tmp_path, method="rcnn"), tmp_path / "run")
    with pytest.raises(ConfigError, match=r"features\.pooling: expected max to classify images"):
        classify_eval(voc_config(tmp_path, pooling="align"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_class_that_no_training_image_shows_is_named(tmp_path):
    config = voc_config(write_voc(tmp_path / "voc", images=4))
    lines = (tmp_path / "voc/ImageSets/Main/train.txt").read_text().split()
    red = [line for line in lines if line[0] == "2"]
    (tmp_path / "voc/ImageSets/Main/train.txt").write_text("\n".join(red))
    config = replace(
        config,
        data=replace(config.data, class_names=tuple(COLOURS), train_difficult=True),
    )
    with pytest.raises(DataError, match="'green'"):
        classify_eval(config, tmp_path / "run")


@given(
    st.lists(
        st.tuples(st.integers(-5, 5), st.sampled_from([1, -1, 0])), min_size=1, max_size=25
    ).filter(lambda rows: any(label == 1 for _, label in rows))
)
def test_the_measure_is_the_devkits(rows):
    scores = torch.tensor([[float(score)] for score, _ in rows])
    labels = torch.tensor([[label] for _, label in rows])
    for rule in RULES:
        actual = score_matches(match_images(scores, labels), ["dog"], rule=rule).map
        expected = classification_ap(scores[:, 0].tolist(), labels[:, 0].tolist(), rule)
        assert actual == pytest.approx(expected)
