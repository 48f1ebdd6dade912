"""A tiny detector behind a server that really listens."""

import contextlib
import io
import threading
import time
from dataclasses import replace

import numpy as np
import torch
from fastapi.testclient import TestClient
from PIL import Image as PilImage

from detection.benchmark.instrument import untrained_detector
from detection.config import Config, ProposalConfig
from detection.serving.app import Limits, make_app
from detection.serving.connections import Patience
from detection.serving.server import address_of, listen, make_server
from detection.serving.service import Service, serve_detector
from detection.structures import Image
from tests.training import tiny

PROPOSALS = ProposalConfig(max_boxes=30, min_side=8, backend="native")
BASE_URL = "http://127.0.0.1:8000"


def detector(method="sppnet", **features):
    config = tiny.config(method, enabled=False, fc_size=8)
    features = {"layer": "pool5", **features}
    config = replace(config, proposals=PROPOSALS, features=replace(config.features, **features))
    return untrained_detector(tiny.backbone(), config, 2)


def service(*methods):
    models = [serve_detector(detector(method), method) for method in methods or ("sppnet",)]
    return Service(models=tuple(models), config=Config(proposals=PROPOSALS))


def picture(seed=0, size=(64, 96)):
    """Return the bytes of a PNG of coloured rectangles, and the image itself."""
    random = np.random.default_rng(seed)
    pixels = random.integers(100, 130, (*size, 3), dtype=np.uint8)
    for colour in tiny.COLOURS:
        top, left = int(random.integers(0, size[0] - 24)), int(random.integers(0, size[1] - 30))
        pixels[top : top + 24, left : left + 30] = colour
    file = io.BytesIO()
    PilImage.fromarray(pixels).save(file, "PNG")
    return file.getvalue(), Image(image_id=f"p{seed}", pixels=torch.from_numpy(pixels))


def client_of(its_service, examples=(), **limits):
    """Return a client that calls the application without a network."""
    app = make_app(its_service, Limits(**limits), examples)
    return TestClient(app, base_url=BASE_URL, raise_server_exceptions=False)


def post(client, data, name="a.png", **options):
    return client.post("/v1/detect", files={"image": (name, data)}, **options)


@contextlib.contextmanager
def listening(its_service, examples=(), patience=None, **limits):
    """Run a server on a free port; return its address."""
    listener = listen("127.0.0.1", 0)
    app = make_app(its_service, Limits(**limits), examples)
    server = make_server(app, patience or Patience(connections=300))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.01)
    try:
        yield address_of(listener)
    finally:
        server.should_exit = True
        thread.join(20)
        listener.close()
