"""Commands on a tiny data set, to be interrupted: how each is called, what is its result."""

import contextlib
import io
from dataclasses import replace

import cv2
import numpy as np

from detection.backbones import weights
from detection.cli.main import main
from detection.config import Config, DataConfig, ProposalConfig
from detection.data.voc_xml import VocObject, write_voc_annotation
from detection.io.files import sha256_of_file
from detection.proposals.selective_search.native import warm_up
from detection.runs.config_io import write_config
from tests.classification.tiny_classifier import tiny_blueprint, tiny_config, write_class_folders
from tests.training import tiny

IMAGES = {"train": 6, "test": 5}
MANY = {"train": 40, "test": 5}
FRAMES = 6


def prepare(folder):
    """Write what the commands read, and compile and load what they run."""
    weights.BACKBONES["tiny"] = tiny_blueprint
    warm_up()
    cv2.setNumThreads(1)  # a forked process has none of the threads of a pool
    write_set(folder / "voc")
    data = DataConfig(
        root=str(folder / "voc"),
        train_split="train",
        test_split="test",
        class_names=tiny.CLASS_NAMES,
    )
    config = tiny.config(iterations=16, checkpoint_every=3, validation_fraction=0.0)
    config = replace(
        config,
        data=data,
        backbone=replace(config.backbone, name="tiny"),
        proposals=ProposalConfig(folder="proposals", workers=1, min_side=6, max_boxes=150),
    )
    (folder / "detector.yaml").write_text(write_config(only_of(config, "pretrain", "classify")))
    write_set(folder / "many", MANY)
    write_video(folder / "clip.mp4")
    (folder / "miner.yaml").write_text(write_config(only_of(mining(config, folder), "pretrain")))
    classes = write_class_folders(folder / "classes", pictures=4)
    (folder / "classifier.yaml").write_text(write_config(tiny_config(classes)))


def mining(config, folder):
    """Return a configuration whose time goes into hard negatives."""
    return replace(
        config,
        data=replace(config.data, root=str(folder / "many")),
        features=replace(config.features, layer="pool5"),
        proposals=replace(config.proposals, folder=str(folder / "boxes")),
        svm=replace(config.svm, random_negatives=5, first_images=2, retrain_after=15),
        bbox=replace(config.bbox, max_examples=40),
        finetune=replace(config.finetune, enabled=False),
    )


def only_of(config, *without):
    """Return the configuration with defaults in some sections."""
    return replace(config, **{name: getattr(Config(), name) for name in without})


def write_set(root, images=IMAGES):
    """Draw the images of both lists in VOC layout."""
    for part in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / part).mkdir(parents=True)
    records = tiny.records(root / "JPEGImages", sum(images.values()))
    for record in records:
        boxes, labels = record.truth.boxes.tolist(), record.truth.labels.tolist()
        objects = [
            VocObject(
                number=number,
                class_name=tiny.CLASS_NAMES[label],
                corners=(x1 + 1, y1 + 1, x2, y2),
                difficult=False,
            )
            for number, ((x1, y1, x2, y2), label) in enumerate(zip(boxes, labels, strict=True), 1)
        ]
        path = root / "Annotations" / f"{record.image_id}.xml"
        write_voc_annotation(path, record.path.name, record.truth.size, objects)
    names = [record.image_id for record in records]
    for split, chosen in (("train", names[: images["train"]]), ("test", names[images["train"] :])):
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(chosen))


def write_video(path):
    """Draw a video of a rectangle that moves."""
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 5, (96, 64))
    for frame in range(FRAMES):
        pixels = np.full((64, 96, 3), 110, np.uint8)
        pixels[10:44, 4 * frame : 4 * frame + 30] = (40, 40, 220)
        video.write(pixels)
    video.release()


class Verb:
    """What most commands have in common.

    Attributes:
        needs: whether a trained detector is there when it begins.
        again: what is added to its words when it is run again.
    """

    needs = False
    again = ()

    def is_done(self, place):
        """Return whether there is nothing to run again: only of one that refuses its own result."""
        return False


class Propose(Verb):
    """Boxes of both lists; run again as it is."""

    def words(self, folder):
        return ["propose", "--config", folder / "detector.yaml"]

    def result(self, place):
        return files_below(place / "proposals")


class Train(Verb):
    """Proposals, fine-tuning, SVMs, regressors."""

    again = ("--resume",)

    def words(self, folder):
        return ["train", "--config", folder / "detector.yaml", "--out", "run"]

    def result(self, place):
        return {"model": sha256_of_file(place / "run/model.safetensors")} | files_below(
            place / "proposals"
        )


class Mine(Verb):
    """SVMs and regressors of a network that is not fine-tuned, the boxes known."""

    again = ("--resume",)

    def words(self, folder):
        return ["train", "--config", folder / "miner.yaml", "--out", "run"]

    def result(self, place):
        found = place / "found"
        words = ["evaluate", place / "run", "--out", found, "--evaluation.bootstrap", "0"]
        with contextlib.redirect_stdout(io.StringIO()):
            code = run_command(words)
        if code:
            message = f"{place}: cannot be evaluated"
            raise AssertionError(message)
        detections = files_below(found / "detections")
        return {"model": sha256_of_file(place / "run/model.safetensors")} | detections


class Pretrain(Verb):
    """A classifier."""

    again = ("--resume",)

    def words(self, folder):
        return ["pretrain", "--config", folder / "classifier.yaml", "--out", "run"]

    def result(self, place):
        return {"model": sha256_of_file(place / "run/model.safetensors")}


class Evaluate(Verb):
    """Detections and metrics of a trained detector; run again as it is."""

    needs = True

    def words(self, folder):
        return ["evaluate", "run", "--out", "result"]

    def result(self, place):
        return files_below(place / "result")


class Detect(Verb):
    """Detections and drawings of a folder of images."""

    needs = True

    def words(self, folder):
        images = folder / "voc/JPEGImages"
        return ["detect", "run", images, "--out", "found", "--threshold", "-5"]

    def result(self, place):
        return files_below(place / "found")


class Video(Detect):
    """Lines of JSON and a drawn video."""

    def words(self, folder):
        return ["detect", "run", folder / "clip.mp4", "--out", "found", "--threshold", "-5"]


class Features(Verb):
    """Vectors of the boxes of a folder of images."""

    needs = True

    def words(self, folder):
        return ["features", folder / "voc/JPEGImages", "--run", "run", "--out", "vectors"]

    def result(self, place):
        return files_below(place / "vectors")


class Convert(Verb):
    """A data set in another format, there as a whole or not at all."""

    def words(self, folder):
        splits = ["--data.train_split", "train", "--data.test_split", "test"]
        return ["convert", folder / "many", "--to", "coco", "--out", "made", *splits]

    def is_done(self, place):
        return (place / "made").exists()

    def result(self, place):
        return files_below(place / "made")


COMMANDS = {
    "propose": Propose(),
    "train": Train(),
    "mine": Mine(),
    "pretrain": Pretrain(),
    "evaluate": Evaluate(),
    "detect": Detect(),
    "video": Video(),
    "features": Features(),
    "convert": Convert(),
}


def files_below(folder):
    """Return the hash of each file, keyed by path."""
    return {
        path.relative_to(folder).as_posix(): sha256_of_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def run_command(words):
    """Run a command as the shell would; return its exit code."""
    return main([str(word) for word in words])
