import json
from dataclasses import replace

import numpy as np
import PIL.Image
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from detection.classification import evaluate as classify
from detection.classification.evaluate import (
    classify_eval,
    classify_views,
    image_features,
    make_whole_image_extractor,
    match_images,
    pool_image,
)
from detection.classification.pretrain import pretrain
from detection.config import BackboneConfig, Config, DataConfig, FeatureConfig
from detection.data.dataset import read_dataset
from detection.errors import ConfigError, DataError
from detection.evaluation.voc_ap import RULES, score_matches
from detection.pretrain_config import ClassifyConfig
from detection.structures import Image
from tests.classification.tiny_classifier import (
    COLOURS,
    picture,
    tiny_config,
    write_class_folders,
)
from tests.data.folders import VocTree, annotation_xml, object_xml
from tests.reference.voc_classification import classification_ap

pytestmark = pytest.mark.usefixtures("tiny_network")


def write_voc(root, images=10):
    """Images of one colour, with an object of the class of that name."""
    tree = VocTree(root)
    ids = {"train": [], "test": []}
    for label, (name, colour) in enumerate(COLOURS.items()):
        for number in range(images):
            split = "train" if number % 2 else "test"
            image_id = f"{label}{number:03d}"
            ids[split].append(image_id)
            noise = np.random.default_rng(number + 100 * label).normal(0, 15, (40, 60, 3))
            pixels = (np.array(colour) + noise).clip(0, 255).astype(np.uint8)
            tree.image(image_id, picture=lambda p=pixels: PIL.Image.fromarray(p), quality=95)
            hard = "<difficult>1</difficult>"
            other = next(other for other in COLOURS if other != name)
            objects = [object_xml(name)]
            if number < 2:
                objects.append(object_xml(other, difficult=hard))
            tree.annotation(image_id, annotation_xml(*objects, filename=f"{image_id}.jpg"))
    for split, names in ids.items():
        tree.split(split, "\n".join(names) + "\n")
    return root


def voc_config(root, **features) -> Config:
    return Config(
        data=DataConfig(root=str(root), train_split="train"),
        backbone=BackboneConfig(name="tiny"),
        features=FeatureConfig(layer="pool5", scales=(64,), levels=(1, 2), **features),
    )


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


def test_features_have_length_one(tmp_path):
    config = voc_config(write_voc(tmp_path / "voc", images=2))
    extractor = extractor_of(config)
    rows = image_features(read_dataset(config.data, "test"), extractor, config)
    assert rows.shape == (3, 12 * 5)
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(3))


def extractor_of(config: Config):
    return make_whole_image_extractor(classify.load_backbone(config.backbone), config)


def image_of(height, width) -> Image:
    return Image(image_id="x", pixels=picture(height, width).permute(1, 2, 0).contiguous())


def test_the_full_view_pools_the_map_of_the_whole_image(tmp_path):
    config = voc_config(tmp_path)
    extractor = extractor_of(config)
    image = image_of(64, 96)
    conv5 = extractor.network.conv(
        extractor.network.normalise(image.pixels.permute(2, 0, 1)[None].float())
    )[0]
    expected = torch.cat(
        [torch.nn.functional.adaptive_max_pool2d(conv5, n).flatten(1) for n in (1, 2)], dim=1
    )
    torch.testing.assert_close(pool_image(image, extractor, config), expected)


def test_the_crop_view_is_the_full_view_of_the_central_square(tmp_path):
    full = voc_config(tmp_path)
    crop = replace(full, classify=ClassifyConfig(svm_view="crop"))
    extractor = extractor_of(full)
    image = image_of(64, 96)
    square = Image(image_id="x", pixels=image.pixels[:, 16:80].contiguous())
    expected = pool_image(square, extractor, full)
    assert torch.equal(pool_image(image, extractor, crop), expected)


def test_without_a_pyramid_only_a_crop_of_the_right_size_has_features(tmp_path):
    config = voc_config(tmp_path)
    config = replace(config, classify=ClassifyConfig(svm_pool="last_pool"))
    crop = replace(config, classify=ClassifyConfig(svm_view="crop", svm_pool="last_pool"))
    assert pool_image(image_of(64, 96), extractor_of(crop), crop).shape == (1, 12 * 4)
    large = replace(crop, features=replace(crop.features, scales=(96,)))
    with pytest.raises(ConfigError, match="64 pixels for tiny, got 96"):
        pool_image(image_of(96, 96), extractor_of(large), large)
    data = read_dataset(voc_config(write_voc(tmp_path / "voc", images=2)).data, "test")
    with pytest.raises(
        ConfigError, match=r"svm_view: expected crop with classify\.svm_pool last_pool"
    ):
        image_features(data, extractor_of(config), config)


def test_the_method_no_longer_leaves_out_the_pyramid(tmp_path):
    with pytest.raises(
        ConfigError, match=r"features\.method: .*got 'rcnn'; classify\.svm_pool last"
    ):
        classify_eval(voc_config(tmp_path, method="rcnn"), tmp_path / "run")
    with pytest.raises(ConfigError, match=r"features\.pooling: expected max to classify images"):
        classify_eval(voc_config(tmp_path, pooling="align"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_several_scales_are_refused(tmp_path):
    config = voc_config(write_voc(tmp_path / "voc", images=2))
    config = replace(config, features=replace(config.features, scales=(64, 96)))
    data = read_dataset(config.data, "test")
    with pytest.raises(ConfigError, match="one short side to classify with"):
        image_features(data, extractor_of(config), config)


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
