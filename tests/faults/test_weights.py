"""Model files, weight files and checkpoints that are damaged, hostile or of something else."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors
import safetensors.torch
import torch

from detection.data.images import read_image, read_size
from detection.errors import CheckpointError, DataError, ImageError
from detection.io import files
from detection.io.files import write_bytes_atomic
from detection.io.tensors import _digest, load_tensors, save_tensors
from detection.model_io import load_detector
from detection.runs.folder import MODEL_NAME
from tests.faults.conftest import Trained
from tests.faults.small import FINE_TUNING, SETTINGS, fail, run


class Hostile:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """What a hostile file makes; the pickle itself does make it."""
    pickle.loads(pickle.dumps(Hostile(tmp_path / "proof")))
    assert (tmp_path / "proof").exists()
    return tmp_path / "trace"


def change(run_folder: Path, alter: Callable[[dict[str, Any], dict[str, Any]], None]) -> None:
    """Write a model file anew, altered, with a hash that fits."""
    path = run_folder / MODEL_NAME
    tensors, header = load_tensors(path)
    alter(tensors, header)
    save_tensors(path, tensors, header)


@pytest.mark.parametrize("form", ["pickle", "torch", "torch in a state dict"])
def test_f35_a_hostile_model_file_runs_nothing(
    trained: Trained, capsys: pytest.CaptureFixture[str], trace: Path, form: str
) -> None:
    path = trained.run / MODEL_NAME
    if form == "pickle":
        path.write_bytes(pickle.dumps(Hostile(trace)))
    else:
        torch.save(Hostile(trace) if form == "torch" else {"svm.weight": Hostile(trace)}, path)
    image = trained.tree.root / "JPEGImages" / "000001.jpg"
    for command in (["evaluate", trained.run], ["detect", trained.run, image]):
        assert f"{path}: expected a safetensors file" in fail(capsys, *command)
    assert not trace.exists()


@pytest.mark.parametrize("name", ["weights.pt", "weights.pth", "weights.pkl", "weights.joblib"])
def test_f35_a_hostile_weight_file_runs_nothing(
    trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str], trace: Path, name: str
) -> None:
    path = tmp_path / name
    options = [*trained.where, "--backbone.name", "squeezenet", "--backbone.weights", path]
    options += ["--backbone.preprocessing", "torchvision", "--out", tmp_path / "new"]
    for write in (pickle_to, torch_to):
        write(path, {"features.0.weight": Hostile(trace)})
        message = fail(capsys, "train", *options)
        assert str(path) in message
        assert not trace.exists()
        shutil.rmtree(tmp_path / "new")


def pickle_to(path: Path, value: object) -> None:
    """Write a plain pickle."""
    path.write_bytes(pickle.dumps(value))


def torch_to(path: Path, value: object) -> None:
    """Write a pickle inside torch's archive."""
    torch.save(value, path)


@pytest.mark.parametrize("keep", [0, 10, 0.5, -10])
def test_f36_a_truncated_model_is_named_with_both_sizes(
    trained: Trained, capsys: pytest.CaptureFixture[str], keep: float
) -> None:
    path = trained.run / MODEL_NAME
    whole = path.read_bytes()
    left = whole[: int(keep * len(whole)) if isinstance(keep, float) else keep]
    path.write_bytes(left)
    message = fail(capsys, "evaluate", trained.run)
    assert f"{path}: truncated ({len(left):,} of " in message
    assert not (trained.run / "metrics.json").exists()


@pytest.fixture(scope="module")
def tuned_once(trained_once: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fine-tune once; the checkpoints after steps 2 and 4 stay, the model does not."""
    out = tmp_path_factory.mktemp("tuned") / "run"
    assert run("train", *FINE_TUNING, *trained_once.where, "--out", out) == 0
    (out / MODEL_NAME).unlink()
    return out


@pytest.mark.parametrize("keep", [0, 10, 0.5, -10])
def test_f36_a_truncated_checkpoint_falls_back_to_the_one_before(
    trained_once: Trained,
    tuned_once: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    keep: float,
) -> None:
    out = shutil.copytree(tuned_once, tmp_path / "run")
    *_, last = sorted((out / "checkpoints").glob("step-*.pt"))
    whole = last.read_bytes()
    left = whole[: int(keep * len(whole)) if isinstance(keep, float) else keep]
    last.write_bytes(left)
    assert run("train", *FINE_TUNING, *trained_once.where, "--out", out, "--resume") == 0
    captured = capsys.readouterr()
    sizes = f"truncated ({len(left):,} of {len(whole):,} bytes)"
    assert f"warning: {last}: {sizes}; the checkpoint before it is tried" in captured.err
    assert "resumed after step 2" in captured.out
    assert last.read_bytes() == whole


def test_f36_f37_without_a_good_checkpoint_nothing_is_resumed(
    trained_once: Trained, tuned_once: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = shutil.copytree(tuned_once, tmp_path / "run")
    first, second = sorted((out / "checkpoints").glob("step-*.pt"))
    first.write_bytes(first.read_bytes()[:-10])
    flip_a_bit(second)
    message = fail(capsys, "train", *FINE_TUNING, *trained_once.where, "--out", out, "--resume")
    assert "expected a good checkpoint, got none" in message
    assert f"{first}: truncated" in message
    assert f"{second}: expected the content it was written with, got altered bytes" in message
    assert not (out / MODEL_NAME).exists()


def flip_a_bit(path: Path) -> None:
    """Change one bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 16
    path.write_bytes(data)


def test_f37_a_flipped_bit_in_a_model_stops(
    trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    flip_a_bit(trained.run / MODEL_NAME)
    message = fail(capsys, "evaluate", trained.run)
    assert "expected the content it was written with, got altered bytes" in message


def other_backbone(tensors: dict[str, Any], header: dict[str, Any]) -> None:
    header["config"]["backbone"]["name"] = "alexnet"


def other_levels(tensors: dict[str, Any], header: dict[str, Any]) -> None:
    header["config"]["features"]["levels"] = [1, 2, 4]


def another_class(tensors: dict[str, Any], header: dict[str, Any]) -> None:
    header["class_names"].append("zebra")


def fewer_rows(tensors: dict[str, Any], header: dict[str, Any]) -> None:
    tensors["bbox.weight"] = tensors["bbox.weight"][:1]


def without_bias(tensors: dict[str, Any], header: dict[str, Any]) -> None:
    del tensors["svm.bias"]


def old_schema(tensors: dict[str, Any], header: dict[str, Any]) -> None:
    header["schema"] = 0


def without_classes(tensors: dict[str, Any], header: dict[str, Any]) -> None:
    del header["class_names"]


def unknown_setting(tensors: dict[str, Any], header: dict[str, Any]) -> None:
    header["config"]["features"]["novelty"] = 1


OTHERS: dict[Callable[..., None], tuple[str, ...]] = {
    other_backbone: ("expected", "alexnet"),
    other_levels: ("expected pool5 of 10752 numbers, got 25600",),
    another_class: ("svm.weight: expected (3, 25600) for 3 classes, got (2, 25600)",),
    fewer_rows: ("bbox.weight: expected (2, 4, 25600) for 2 classes, got (1, 4, 25600)",),
    without_bias: ("svm.bias: expected (2,) for 2 classes, got none",),
    old_schema: ("expected a detector of schema 1, got 0",),
    without_classes: ("expected a header with class_names, got none",),
    unknown_setting: ("novelty",),
}


@pytest.mark.parametrize("alter", OTHERS, ids=lambda alter: alter.__name__)
def test_f38_a_model_of_something_else_says_what_was_expected(
    trained: Trained, capsys: pytest.CaptureFixture[str], alter: Callable[..., None]
) -> None:
    change(trained.run, alter)
    message = fail(capsys, "evaluate", trained.run)
    for words in OTHERS[alter]:
        assert words in message


def test_f38_another_scheme_of_classes_cannot_be_evaluated(
    trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (trained.tree.root / "Annotations").glob("*.xml"):
        path.write_text(path.read_text().replace("red", "zebra"))
    message = fail(capsys, "evaluate", trained.run)
    assert "expected a known class, got 'zebra'" in message


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["svm.weight", "svm.bias", "bbox.weight", "backbone"])
def test_f39_weights_that_are_not_finite_stop_when_they_are_loaded(
    trained: Trained, capsys: pytest.CaptureFixture[str], name: str, value: float
) -> None:
    def spoil(tensors: dict[str, Any], header: dict[str, Any]) -> None:
        key = next(key for key in tensors if key.startswith(name))
        tensors[key].view(-1)[0] = value

    change(trained.run, spoil)
    message = fail(capsys, "evaluate", trained.run)
    assert f"tensor {name}" in message
    assert "expected finite values, got NaN or infinity" in message
    with pytest.raises(CheckpointError, match="finite"):
        load_detector(trained.run, device="cpu")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
def test_f41_a_folder_that_cannot_be_written_is_named() -> None:
    with pytest.raises(DataError, match=r"^/proc/detection/model: cannot be written: "):
        write_bytes_atomic(Path("/proc/detection/model"), b"x")


def test_f41_what_a_killed_writer_left_goes_at_the_next_start(trained: Trained) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        dead.wait()
    owner = f"{files._machine()}-{dead.pid}"
    (trained.run / f".{MODEL_NAME}.{owner}-0123456789ab.tmp").write_bytes(b"half")
    (trained.run / MODEL_NAME).unlink()
    assert run("train", *SETTINGS, *trained.where, "--out", trained.run, "--resume") == 0
    assert not list(trained.run.glob(".*.tmp"))


def first_conv(tensors: dict[str, Any]) -> str:
    """Name the first conv weight of a model file."""
    return next(name for name in sorted(tensors) if tensors[name].ndim == 4)


ACCEPTED_ONCE = {
    "a conv weight that float32 does not hold": (
        lambda tensors, header: tensors.update(
            {first_conv(tensors): tensors[first_conv(tensors)].double() * 0 + 1e300}
        ),
        "expected",
    ),
    "a head that float32 does not hold": (
        lambda tensors, header: tensors.update(
            {"svm.weight": tensors["svm.weight"].double() * 0 - 1e300}
        ),
        "svm.weight: expected numbers that float32 holds",
    ),
    "a conv weight of whole numbers": (
        lambda tensors, header: tensors.update(
            {first_conv(tensors): tensors[first_conv(tensors)].long()}
        ),
        "torch.float32 in the network, torch.int64 in the file",
    ),
    "a conv weight of truth values": (
        lambda tensors, header: tensors.update(
            {first_conv(tensors): tensors[first_conv(tensors)] > 0}
        ),
        "torch.float32 in the network, torch.bool in the file",
    ),
    "a schema that is true": (
        lambda tensors, header: header.update(schema=True),
        "expected a detector of schema 1, got True",
    ),
    "a schema that is 1.0": (
        lambda tensors, header: header.update(schema=1.0),
        "expected a detector of schema 1, got 1.0",
    ),
    "a name that ends a line": (
        lambda tensors, header: header.update(class_names=["blue\n", "red"]),
        "class_names: expected a list of different names",
    ),
    "a name that moves the cursor": (
        lambda tensors, header: header.update(class_names=["blue\x1b[2J", "red"]),
        "class_names: expected a list of different names",
    ),
    "a name of two lines": (
        lambda tensors, header: header.update(class_names=["blue\nred", "red"]),
        "class_names: expected a list of different names",
    ),
    "a name of nothing": (
        lambda tensors, header: header.update(class_names=["", "red"]),
        "class_names: expected a list of different names",
    ),
    "a factor of 400 digits": (
        lambda tensors, header: header.update(svm_factor=10**400),
        "svm_factor: expected a positive number",
    ),
    "a factor that float32 does not hold": (
        lambda tensors, header: header.update(svm_factor=1e300),
        "svm_factor: expected a positive number",
    ),
    "a scale of a billion pixels": (
        lambda tensors, header: header["config"]["features"].update(scales=[1000000000]),
        "features.scales: expected",
    ),
    "ten thousand scales": (
        lambda tensors, header: header["config"]["features"].update(scales=[96] * 10_000),
        "features.scales: expected",
    ),
    "ten thousand levels": (
        lambda tensors, header: header["config"]["features"].update(levels=[1] * 10_000),
        "features.levels: expected",
    ),
    "a number of 400 digits": (
        lambda tensors, header: header["config"]["svm"].update(c=10**400),
        "svm.c: expected",
    ),
}


@pytest.mark.parametrize("name", ACCEPTED_ONCE)
def test_f38_a_model_of_parts_that_cannot_be_is_refused(
    trained: Trained, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    alter, said = ACCEPTED_ONCE[name]
    path = trained.run / MODEL_NAME
    with safetensors.safe_open(path, "pt") as file:
        tensors = {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118
        header = json.loads(file.metadata()["header"])
    alter(tensors, header)
    text = json.dumps(header)
    extra = {"header": text, "sha256": _digest(tensors, text)}
    safetensors.torch.save_file(tensors, path, metadata=extra)
    image = trained.tree.root / "JPEGImages" / "000001.jpg"
    message = fail(capsys, "detect", trained.run, image)
    assert said in message
    assert len(message) < 1000


def pipe(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def huge(path: Path) -> None:
    with path.open("wb") as file:
        header = b'{"a":{"dtype":"F32","shape":[12500000000],"data_offsets":[0,50000000000]}}'
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + 50_000_000_000)


@pytest.mark.parametrize(
    ("make", "said"),
    [(pipe, "a named pipe"), (device, "a device"), (huge, "of at most 4,294,967,296 bytes")],
)
@pytest.mark.parametrize("name", [MODEL_NAME, "weights.pt", "weights.caffemodel"])
def test_f36_what_has_no_end_is_never_read(
    trained: Trained,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    make: Callable[[Path], None],
    said: str,
    name: str,
) -> None:
    path = (trained.run if name == MODEL_NAME else tmp_path) / name
    path.unlink(missing_ok=True)
    make(path)
    if name == MODEL_NAME:
        message = fail(capsys, "detect", trained.run, trained.tree.root / "JPEGImages")
    elif name == "weights.pt":
        options = ("--backbone.weights", path, "--backbone.preprocessing", "torchvision")
        message = fail(
            capsys, "train", *SETTINGS, *trained.where, *options, "--out", tmp_path / "new"
        )
    elif make is huge:
        return  # it is mapped: only what is looked at is read
    else:
        out = ("--backbone", "zf5", "--out", tmp_path / "w.safetensors")
        message = fail(capsys, "weights", "import", path, *out)
    assert message.startswith(f"{path}: expected")
    assert said in message


@pytest.mark.parametrize("make", [pipe, device])
def test_f22_an_image_without_an_end_is_unreadable(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    path = tmp_path / "1.jpg"
    make(path)
    for read in (read_image, read_size, files.sha256_of_file):
        with pytest.raises(ImageError, match=r"1.jpg: expected a readable file, got a"):
            read(path)
