import json
import socket
import threading
import time
import urllib.request

import pytest

from detection.errors import ConfigError
from detection.serving import server
from detection.serving.service import Service, answer_detections
from tests.serving import served
from tests.serving.load import count_wrong, load, post

PICTURES = [served.picture(seed) for seed in range(5)]


@pytest.fixture(scope="module")
def expected():
    detectors = [served.detector(method) for method in ("sppnet", "rcnn")]
    return [
        [
            [
                json.loads(actual.model_dump_json())
                for actual in answer_detections(d.detect(image), d.class_names)
            ]
            for d in detectors
        ]
        for _, image in PICTURES
    ]


def test_of_200_requests_at_once_none_is_lost_and_none_is_wrong(expected):
    with served.listening(served.service("sppnet", "rcnn"), places=40) as address:
        outcome = load(address, lambda n: PICTURES[n % len(PICTURES)][0], 200)
    assert all(outcome.answers), outcome.statuses
    assert count_wrong(outcome, lambda n: expected[n % len(PICTURES)]) == 0
    assert outcome.retries > 0
    assert set(outcome.statuses) == {200, 503}
    assert outcome.statuses[200] == 200


@pytest.mark.parametrize("size", [1_200_000, 9_000_000])
def test_a_large_upload_gets_its_answer_over_a_real_connection(size):
    with served.listening(served.service(), max_upload_bytes=1_000_000) as address:
        status, _, body = post(address, b"x" * size)
    assert status == 413
    assert b"at most" in body


def test_a_client_that_goes_away_gives_up_its_place_in_the_queue():
    started, hold = threading.Event(), threading.Event()

    class Held(Service):
        def answer(self, upload):
            started.set()
            hold.wait(60)
            return super().answer(upload)

    service = served.service()
    held = Held(models=service.models, config=service.config)
    with served.listening(held, places=3) as address:
        first = threading.Thread(target=post, args=(address, PICTURES[0][0]))
        first.start()
        host = address.removeprefix("http://")
        assert started.wait(60)
        with socket.create_connection(host.split(":")) as gone:
            gone.sendall(f"POST /v1/detect HTTP/1.1\r\nHost: {host}\r\n".encode() + form())
            wait_for(address, 1)
        wait_for(address, 0)
        hold.set()
        first.join(60)
        assert post(address, PICTURES[0][0])[0] == 200


def form():
    body = (
        b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\nx\r\n--b--\r\n'
    )
    kind = b"Content-Type: multipart/form-data; boundary=b\r\n"
    return kind + f"Content-Length: {len(body)}\r\n\r\n".encode() + body


def wait_for(address, waiting):
    """Wait until so many images are in the queue."""
    for _ in range(1000):
        with urllib.request.urlopen(f"{address}/v1/health", timeout=30) as health:
            if json.load(health)["waiting"] == waiting:
                return
        time.sleep(0.02)
    pytest.fail(f"never {waiting} in the queue")


def test_a_missing_library_is_named_with_what_installs_it(monkeypatch):
    monkeypatch.setitem(server._NEEDED, "no_such_module", "no-such-module")
    with pytest.raises(ConfigError, match=r"got no no-such-module; pip install 'sppnet-.*serve"):
        server.require_libraries()


@pytest.mark.parametrize(
    ("host", "is_own"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.4", False),
        ("example.org", False),
    ],
)
def test_loopback_is_known_by_its_address(host, is_own):
    assert server.is_loopback(host) is is_own
