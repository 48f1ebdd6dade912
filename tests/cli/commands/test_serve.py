import signal
import socket
import subprocess
import sys
import urllib.request
from dataclasses import replace

import pytest

from detection.backbones.weights import load_backbone
from detection.benchmark.instrument import untrained_detector
from detection.cli.main import main
from detection.config import BackboneConfig, Config, FeatureConfig
from detection.model_io import save_detector
from detection.runs.config_io import write_config
from tests.serving import served
from tests.serving.load import post

PICTURES = [served.picture(seed) for seed in range(5)]


@pytest.fixture
def run(tmp_path):
    """A run folder with an untrained SqueezeNet: quick to load, known to the command line."""
    features = FeatureConfig(layer="pool5", scales=(64,), levels=(1, 2), device="cpu")
    config = Config(
        features=features,
        backbone=BackboneConfig(name="squeezenet", preprocessing="torchvision"),
        proposals=replace(served.PROPOSALS, max_boxes=10),
    )
    folder = tmp_path / "a run"
    folder.mkdir()
    (folder / "config.yaml").write_text(write_config(config))
    detector = untrained_detector(load_backbone(config.backbone, to_train=True), config, 2)
    save_detector(folder / "model.safetensors", detector)
    return folder


@pytest.mark.usefixtures("interruptible")
def test_the_command_serves_until_it_is_interrupted(run):
    command = [sys.executable, "-m", "detection", "serve", str(run), "--port", "0"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
    )
    try:
        line = process.stdout.readline()
        assert line.endswith(": ready; stop with Ctrl-C\n"), process.stderr.read()
        address = line.split(": ready")[0]
        assert address.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(address, timeout=30) as page:
            assert b"<title>R-CNN and SPPnet</title>" in page.read()
        status, _, body = post(address, PICTURES[0][0])
        assert status == 200
        assert b'"name":"a run"' in body
    finally:
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert out == "stopped\n"


def test_a_port_that_is_taken_is_one_line(run, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", str(run), "--port", str(port)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: --host, --port: expected a free address of this machine, got")
    assert str(port) in error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--port", "70000"], "--port: expected a port from 0 to 65535, got '70000'"),
        (["--max_upload_mib", "0"], "--max_upload_mib: expected a whole number >= 1"),
        (["--examples", "/nowhere"], "/nowhere: expected an image or a folder of images"),
        (["--host", "192.0.2.1"], "--host, --port: expected a free address of this machine"),
        (["--svm.c", "1"], "--svm.c: unknown option"),
    ],
)
def test_a_wrong_option_is_one_line(run, capsys, options, message):
    assert main(["serve", str(run), *options]) == 2
    assert capsys.readouterr().err.startswith(f"error: {message}")


@pytest.mark.parametrize(
    ("options", "pixels", "seconds"),
    [
        ([], 24_000_000, "60.0"),
        (["--data.max_pixels", "50000000", "--proposals.time_limit", "0"], 50_000_000, "0.0"),
    ],
)
def test_what_a_stranger_can_take_is_bounded_unless_asked_for(
    run, capsys, options, pixels, seconds
):
    assert main(["serve", str(run), "--print_config", *options]) == 0
    printed = capsys.readouterr().out
    assert f"max_pixels: {pixels}" in printed
    assert f"time_limit: {seconds}" in printed
