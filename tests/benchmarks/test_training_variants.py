"""Each change to the training does what it says, and the table of the changes by hand."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.ops import generalized_box_iou

from detection.boxes import area, decode_deltas, encode_deltas, iou
from detection.config import FineTuneConfig
from detection.data.images import read_image
from detection.data.voc import read_voc
from detection.features import sppnet
from detection.features.factory import make_extractor
from detection.structures import Dataset
from detection.training import finetune
from detection.training.distributed import ALONE
from detection.training.finetune import FineTuner, bbox_loss
from detection.training.finetune_model import FineTuneModel
from detection.training.sampling import Sampler
from tests.training import tiny
from tests.training.pools import CONFIG, K, pools

SCRIPTS = Path(__file__).parents[2] / "scripts/experiments"
PATCHED = (
    (Sampler, ("_rows", "draw")),
    (FineTuner, ("_losses",)),
    (sppnet.SppExtractor, ("__init__", "pool")),
    (finetune, ("delta_statistics", "bbox_loss", "FrozenMaps", "maps_of")),
)


@pytest.fixture(autouse=True)
def _scripts(monkeypatch):
    """Let the scripts be imported, and take back afterwards what they change."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    for owner, names in PATCHED:
        for name in names:
            monkeypatch.setattr(owner, name, getattr(owner, name))


def tuner_of(records, **settings):
    config = tiny.config(open_layers=1, joint_bbox=True, images_per_batch=2, **settings)
    images = tiny.training_images(config, records)
    network = FineTuneModel(images.source.extractor, 2, 1.0, config.finetune)
    made = finetune.batches(images, records, network.extractor, config)
    return FineTuner(network, made, config.finetune, ALONE)


def test_the_greatest_losses_that_do_not_overlap_train():
    from training_patches import hardest

    boxes = torch.tensor([[0, 0, 10, 10], [0, 0, 10, 9], [20, 0, 30, 10], [40, 0, 50, 10.0]])
    sample = finetune.ImageSample(
        index=0,
        flipped=False,
        boxes=boxes,
        labels=torch.tensor([0, 1, 2, 3]),
        deltas=torch.arange(16.0).view(4, 4),
        scale=torch.tensor([0, 1, 2, 3]),
    )
    # the first two overlap by 0.9: of them the one of loss 5 trains
    chosen = hardest(sample, torch.tensor([4.0, 5.0, 1.0, 2.0]), 2)
    assert chosen.labels.tolist() == [1, 3]
    assert chosen.scale.tolist() == [1, 3]
    assert torch.equal(chosen.boxes, boxes[[1, 3]])
    assert torch.equal(chosen.deltas, sample.deltas[[1, 3]])


def test_hard_examples_are_those_of_greatest_loss_of_all_rois_of_an_image(tmp_path):
    from training_patches import SAME_EXAMPLE, hard_examples, loss_of_each

    records = tiny.records(tmp_path, 4)
    plain = FineTuner._losses
    trained = []

    def spy(self, network, made, samples):
        trained.extend(samples)
        return plain(self, network, made, samples)

    FineTuner._losses = spy
    hard_examples()
    tuner = tuner_of(records, dropout=0.0)
    drawn = tuner.batches.sampler.draw(0)
    losses = loss_of_each(tuner, tuner.batches, drawn)
    assert tuner.network.training
    tuner.step(0)
    assert len(trained) == len(drawn) == 2
    for sample, whole, loss in zip(trained, drawn, losses, strict=True):
        pool = tuner.batches.sampler.pools[whole.index]
        assert len(whole.labels) == min(len(pool.boxes), 4 * 8)
        assert 0 < len(sample.labels) <= 8
        rows = [int((whole.boxes == box).all(dim=1).nonzero()[0]) for box in sample.boxes]
        least = loss[rows].min()
        others = [row for row in range(len(loss)) if row not in rows]
        beside = iou(whole.boxes[others], sample.boxes).amax(dim=1) > SAME_EXAMPLE
        assert bool((beside | (loss[others] <= least)).all() or len(rows) < 8)


def test_the_losses_that_choose_are_those_that_train(tmp_path):
    from training_patches import loss_of_each

    tuner = tuner_of(tiny.records(tmp_path, 4), dropout=0.0)
    samples = tuner.batches.sampler.draw(0)
    each = torch.cat(loss_of_each(tuner, tuner.batches, samples))
    together = tuner._losses(tuner.network, tuner.batches, samples)
    torch.testing.assert_close(each.mean(), together.sum().detach())


def test_the_giou_loss_is_that_of_the_decoded_boxes(tmp_path):
    from training_patches import GIOU_WEIGHT, giou_boxes

    giou_boxes()
    mean, deviation = finetune.delta_statistics(pools(), flip=True)
    assert finetune.bbox_loss is not bbox_loss
    rois = torch.tensor([[10, 20, 60, 50], [5, 5, 25, 95.0]])
    objects = torch.tensor([[15, 18, 66, 55], [0, 10, 20, 80.0]])
    labels = torch.tensor([1, 0])
    targets = (encode_deltas(rois, objects) - mean) / deviation
    deltas = torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(0))
    own = deltas[[0, 1], labels]
    moved = decode_deltas(rois, own * deviation + mean)
    expected = GIOU_WEIGHT * (1 - generalized_box_iou(moved, objects).diagonal()).sum()
    background = torch.cat((targets, torch.zeros(1, 4))), torch.cat((labels, torch.tensor([2])))
    torch.testing.assert_close(finetune.bbox_loss(deltas, *background), expected)
    deltas[[0, 1], labels] = targets
    nothing = finetune.bbox_loss(deltas, *background)
    torch.testing.assert_close(nothing, torch.zeros(()), atol=1e-4, rtol=0)


def test_a_training_by_giou_moves_the_regressor(tmp_path):
    from training_patches import giou_boxes

    giou_boxes()
    tuner = tuner_of(tiny.records(tmp_path, 4))
    values = [tuner.step(index)["loss_bbox"] for index in range(30)]
    assert np.mean(values[-5:]) < np.mean(values[:5])


@pytest.mark.parametrize("scales", [(64,), (48, 64)])
def test_context_lies_beside_what_is_pooled_without_it(tmp_path, scales):
    from training_patches import context_beside, widened

    record = tiny.records(tmp_path, 1)[0]
    features = tiny.with_scales(tiny.config(), *scales).features
    plain = make_extractor(tiny.backbone(), features)
    image, boxes = read_image(record.path), tiny.proposals(record).boxes
    maps = plain.encode_image(image)
    scale = sppnet.choose_scale(boxes, image.size, scales)
    alone = plain.pool(maps, boxes).expand()
    around = plain.pool(maps, widened(boxes, image.size), scale).expand()
    context_beside()
    extractor = make_extractor(tiny.backbone(), features)
    assert extractor.feature_dim == 2 * plain.feature_dim
    assert extractor.unfreeze(1).feature_dim == extractor.feature_dim
    found = extractor.extract(image, boxes)
    assert torch.equal(found.expand(), torch.cat((alone, around), dim=1))
    assert len(found.values) <= len(boxes)
    assert not torch.equal(alone, around)


def test_a_wide_window_keeps_its_centre_and_stays_in_the_image():
    from training_patches import widened

    boxes = torch.tensor([[40, 40, 60, 80], [0, 0, 20, 20.0]])
    assert widened(boxes, (100, 100)).tolist() == [[35, 30, 65, 90], [0, 0, 25, 25]]


def test_a_network_learns_with_context(tmp_path):
    from training_patches import context_beside

    context_beside()
    tuner = tuner_of(tiny.records(tmp_path, 4))
    assert tuner.network.fc.fc6.in_features == 2 * 8 * 50
    values = [tuner.step(index)["loss_class"] for index in range(30)]
    assert np.mean(values[-5:]) < np.mean(values[:5])


def test_half_of_the_drawn_images_have_other_colours_and_nothing_else(tmp_path):
    from training_patches import Recoloured, other_colours

    config = replace(CONFIG, images_per_batch=2)
    before = [sample for step in range(100) for sample in Sampler(pools(), config, 1).draw(step)]
    other_colours()
    after = [sample for step in range(100) for sample in Sampler(pools(), config, 1).draw(step)]
    share = np.mean([isinstance(sample, Recoloured) for sample in after])
    assert 0.4 < share < 0.6
    for one, other in zip(before, after, strict=True):
        assert (one.index, one.flipped) == (other.index, other.flipped)
        assert torch.equal(one.boxes, other.boxes)
    assert len({label for sample in after for label in sample.labels.tolist()}) == K + 1


def test_their_maps_are_those_of_a_recoloured_image_and_kept(tmp_path, monkeypatch):
    import training_patches

    records = tiny.records(tmp_path, 2)
    training_patches.other_colours()
    tuner = tuner_of(records)
    sample = tuner.batches.sampler._sample(0, torch.arange(3), None, flipped=True)
    other = training_patches.Recoloured(**training_patches.values_of(sample))
    plain, changed = finetune.maps_of(tuner.batches, [sample, other])
    image = read_image(records[0].path, records[0].image_id).mirrored()
    seed = training_patches.stream("colours", image.image_id, 1)
    expected = training_patches.recoloured(image, seed)
    assert expected.size == image.size
    assert not torch.equal(expected.pixels, image.pixels)
    extractor = tuner.network.extractor
    assert torch.equal(plain[0].values, extractor.run_frozen(image)[0].values)
    assert torch.equal(changed[0].values, extractor.run_frozen(expected)[0].values)
    monkeypatch.setattr(training_patches, "recoloured", None)  # from now on they are kept
    again = finetune.maps_of(tuner.batches, [other])[0]
    assert torch.equal(again[0].values, changed[0].values)


def test_a_training_sees_both_kinds_of_colours(tmp_path):
    from training_patches import MapsOfBoth, Recoloured, other_colours

    other_colours()
    tuner = tuner_of(tiny.records(tmp_path, 4))
    assert isinstance(tuner.batches.maps, MapsOfBoth)
    kinds = {
        isinstance(s, Recoloured) for step in range(8) for s in tuner.batches.sampler.draw(step)
    }
    assert kinds == {True, False}
    values = [tuner.step(index)["loss_class"] for index in range(30)]
    assert np.mean(values[-5:]) < np.mean(values[:5])


def data_set(folder):
    records = tiny.records(folder, 4)
    return Dataset(
        name="tiny", split="train", class_names=tiny.CLASS_NAMES, records=tuple(records), notes={}
    )


def test_a_folder_of_pasted_pictures_has_all_objects_that_are_seen(tmp_path, monkeypatch):
    import pasted_objects

    monkeypatch.setattr(pasted_objects, "LEAST_SIDE", 16)
    source = data_set(tmp_path)
    pasted_objects.paste_objects(source, tmp_path / "VOC")
    made = read_voc(tmp_path / "VOC", "pasted")
    assert len(made.records) == len(source.records)
    assert set(made.class_names) == set(source.class_names)
    for before, after in zip(source.records, made.records, strict=True):
        assert after.image_id == f"pasted_{before.image_id}"
        assert after.truth.size == before.truth.size
        kept = iou(after.truth.boxes, before.truth.boxes).amax(dim=1) == 1
        assert 1 <= int((~kept).sum()) <= 3


def test_pasted_pixels_are_where_their_box_says(tmp_path):
    import pasted_objects

    record = data_set(tmp_path).records[0]
    red = torch.tensor(tiny.COLOURS[int(record.truth.labels[0])])
    corners = record.truth.boxes[0].int().tolist()
    for seed in range(10):
        random = np.random.default_rng(seed)
        empty = torch.zeros(3, 64, 96, dtype=torch.uint8)
        pixels, box = pasted_objects.paste(empty, record, corners, random)
        x1, y1, x2, y2 = box[0].int().tolist()
        assert 0.2 * 64 - 1 <= max(x2 - x1, y2 - y1) <= 0.6 * 64 + 1
        inner = pixels[:, y1 + 3 : y2 - 3, x1 + 3 : x2 - 3]
        assert torch.equal(inner, red[:, None, None].expand_as(inner).byte())
        assert int(pixels[:, y1:y2, x1:x2].amin()) > 0  # faded, not gone
        assert int(pixels.sum()) == int(pixels[:, y1:y2, x1:x2].sum())
        assert int(empty.sum()) == 0


def test_an_object_that_a_pasted_one_hides_is_left_out(tmp_path, monkeypatch):
    import pasted_objects

    record = data_set(tmp_path).records[0]
    everywhere = torch.tensor([[0, 0, 96, 64.0]])
    monkeypatch.setattr(pasted_objects, "paste", lambda pixels, *_: (pixels, everywhere))
    sources = [(1, [(record, [0, 0, 9, 9])])]
    _, truth = pasted_objects.pasted(record, sources, np.random.default_rng(0))
    assert torch.equal(truth.boxes, everywhere)
    assert truth.labels.tolist() == [1]
    assert float(area(everywhere)) == 96 * 64


def test_options_of_a_variant_take_the_place_of_those_given():
    from training_variants import joined

    words = ("--data.root", "a", "--finetune.scales", "400", "--finetune.epochs", "5")
    own = ("--data.root", "a", "--data.root", "b", "--finetune.epochs", "2.5")
    assert joined(words, own) == [
        *("--data.root", "a", "--data.root", "b"),
        *("--finetune.scales", "400", "--finetune.epochs", "2.5"),
    ]


def test_every_variant_is_a_configuration():
    from training_variants import VARIANTS, settings_of

    base = settings_of("subset_sppnet_lite0", ())
    assert isinstance(base.finetune, FineTuneConfig)
    for variant in VARIANTS.values():
        settings = settings_of("subset_sppnet_lite0", variant.words)
        assert (settings != base) == bool(variant.words)
        assert [bool(variant.words), bool(variant.put), bool(variant.make)].count(True) <= 1


def test_pasted_images_come_beside_the_others_in_as_many_steps(tmp_path, monkeypatch):
    import training_variants

    asked = []
    monkeypatch.setattr(training_variants, "read_dataset", lambda data, split: (data, split))
    monkeypatch.setattr(training_variants, "paste_objects", lambda *given: asked.append(given))
    words = ("--data.root", "a", "--data.train_split", "rest", "--data.test_split", "fold")
    words += ("--finetune.epochs", "5")
    own = training_variants.with_pasted_images("subset_sppnet_lite0", tmp_path, words)
    settings = training_variants.settings_of(
        "subset_sppnet_lite0", training_variants.joined(words, own)
    )
    assert settings.data.parts("train") == (("a", "rest"), (str(tmp_path / "pasted"), "pasted"))
    assert settings.data.parts("test") == (("a", "fold"),)
    assert settings.finetune.epochs == 2.5
    assert asked[0][0][1] == "train"


def test_the_table_by_hand(tmp_path):
    from training_variants import Results

    results = Results(
        maps={"base": {0: 0.40, 1: 0.44}, "hard": {0: 0.43, 1: 0.45}, "giou": {0: 0.39}},
        samples={
            "base": {0: np.full(100, 0.4), 1: np.full(100, 0.44)},
            "hard": {0: np.full(100, 0.43), 1: np.full(100, 0.45)},
            "giou": {0: np.linspace(0.36, 0.40, 100)},
        },
        minutes={"hard": {0: 10.0, 1: 12.0}},
    )
    lines = results.write(tmp_path).splitlines()
    assert lines[2] == "| as the configuration has it | 40.0, 44.0 | 42.0 |  |  |  |"
    hard = "| 43.0, 45.0 | 44.0 | +3.0, +1.0 | +2.0 (+2.0 to +2.0) | 11.0 |"
    assert lines[3] == f"| online hard example mining {hard}"
    assert lines[4].endswith("| 39.0 | 39.0 | -1.0 | -1.0 (-3.9 to -0.1) |  |")
    rows = json.loads((tmp_path / "training_variants.json").read_text())["rows"]
    assert rows["hard"]["gains"] == pytest.approx([3.0, 1.0])
    assert (tmp_path / "training_variants.md").read_text().splitlines() == lines


def test_an_unknown_variant_is_refused(tmp_path, capsys):
    from training_variants import main

    with pytest.raises(SystemExit):
        main(["subset_sppnet_lite0", str(tmp_path), "--only", "hard,nothing"])
    assert "got nothing" in capsys.readouterr().err
