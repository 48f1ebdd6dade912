"""The synthetic data set: sound, repeatable, varied."""

import hashlib
import os

import pytest

from detection.config import DataConfig, ProposalConfig
from detection.data.check import check_dataset
from detection.data.images import read_image
from detection.data.scenes import SCENE_CLASSES
from detection.data.synthetic import synthesize
from detection.data.voc import read_voc
from detection.errors import DataError
from detection.proposals.recall import proposal_recall
from detection.proposals.search import propose

SMALL = {"train_images": 10, "test_images": 4, "min_size": (120, 160), "max_size": (150, 200)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("made") / "set"
    synthesize(root, **SMALL)
    return root


def digests(root):
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def ids(root, split):
    return [record.image_id for record in read_voc(root, split, strict=True).records]


def test_the_lists_are_those_of_voc(folder):
    assert len(ids(folder, "trainval")) == 10
    assert ids(folder, "val") == ["000005", "000010"]
    assert sorted(ids(folder, "train") + ids(folder, "val")) == ids(folder, "trainval")
    assert ids(folder, "test") == ["000011", "000012", "000013", "000014"]


def test_nothing_is_wrong_with_it(folder):
    config = DataConfig(root=str(folder))
    report = check_dataset(config)
    assert report.findings == ()
    assert report.images == {"trainval": 10, "test": 4}
    assert set(report.objects["trainval"]) == set(SCENE_CLASSES)


def test_the_same_arguments_give_the_same_files(folder, tmp_path):
    synthesize(tmp_path / "again", **SMALL)
    assert digests(tmp_path / "again") == digests(folder)


def test_an_image_depends_on_its_number_and_the_seed_only(folder, tmp_path):
    fewer = {**SMALL, "train_images": 3, "test_images": 0}
    synthesize(tmp_path / "fewer", **fewer)
    synthesize(tmp_path / "other", **fewer, seed=1)
    whole, few, other = (digests(path) for path in (folder, tmp_path / "fewer", tmp_path / "other"))
    for number in (1, 2, 3):
        name = f"JPEGImages/00000{number}.jpg"
        assert whole[name] == few[name] != other[name]


def test_a_finished_folder_is_left_as_it_is_and_another_is_refused(folder):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    synthesize(folder, **SMALL)
    with pytest.raises(DataError, match="got a data set that was drawn with other settings"):
        synthesize(folder, **SMALL, seed=1)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_an_empty_folder_is_filled_and_foreign_data_is_kept(tmp_path):
    (tmp_path / "empty").mkdir()
    synthesize(tmp_path / "empty", **{**SMALL, "train_images": 1, "test_images": 1})
    assert len(ids(tmp_path / "empty", "test")) == 1
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "photo.jpg").write_bytes(b"precious")
    with pytest.raises(DataError, match="expected a new folder"):
        synthesize(tmp_path / "mine", **SMALL)
    assert digests(tmp_path / "mine").keys() == {"photo.jpg"}


def test_an_interrupted_run_leaves_nothing(tmp_path, monkeypatch):
    def fail(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("detection.data.synthetic.draw_scene", fail)
    with pytest.raises(KeyboardInterrupt):
        synthesize(tmp_path / "set", **SMALL)
    assert list(tmp_path.iterdir()) == []


def test_most_objects_are_proposed(folder):
    records = read_voc(folder, "trainval", strict=True).records
    config = ProposalConfig()
    proposals = [propose(read_image(record.path, record.image_id), config) for record in records]
    table = proposal_recall([record.truth for record in records], proposals)
    assert table.overall[0] > 0.8


def test_a_set_of_other_settings_is_replaced_where_that_is_asked_for(tmp_path):
    few = {**SMALL, "train_images": 2, "test_images": 1}
    synthesize(tmp_path / "set", **SMALL)
    with pytest.raises(DataError, match=r"drawn with other settings; replace it with --overwrite"):
        synthesize(tmp_path / "set", **few)
    synthesize(tmp_path / "set", **few, overwrite=True)
    synthesize(tmp_path / "new", **few, overwrite=True)
    assert digests(tmp_path / "set") == digests(tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "set"]


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "notes.txt").write_text("mine"),
        lambda root: (root / "JPEGImages/000099.jpg").write_bytes(b"mine"),
        lambda root: (root / "Annotations/000001.xml").write_text("<annotation/>"),
        lambda root: (root / "ImageSets/Main/val.txt").unlink(),
        lambda root: (root / "JPEGImages/x").symlink_to(root),
        lambda root: (root / "empty").mkdir(),
        lambda root: (root / "synthetic.json").write_text("{}"),
        lambda root: (root / "synthetic.json").unlink(),
    ],
)
def test_what_somebody_added_or_changed_is_never_removed(tmp_path, change):
    synthesize(tmp_path, **{**SMALL, "train_images": 2, "test_images": 1})
    for path in tmp_path.rglob("*"):
        os.utime(path, (1e9, 1e9))
    change(tmp_path)
    before = digests(tmp_path)
    with pytest.raises(DataError, match="expected a new folder, got one that holds other data"):
        synthesize(tmp_path, **SMALL, overwrite=True)
    assert digests(tmp_path) == before
