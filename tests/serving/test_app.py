import threading
from dataclasses import replace

import pytest

from detection.config import Config
from detection.errors import DataError
from detection.serving.service import Service
from tests.serving import served
from tests.serving.served import client_of, post


@pytest.mark.parametrize(
    ("data", "status", "message"),
    [
        (b"Dear Sir or Madam", 400, "letter.txt: expected an image (JPEG, PNG"),
        (b"", 400, "letter.txt: expected an image, got an empty file"),
        (served.picture()[0][:200], 400, "letter.txt: expected a whole PNG image"),
        (b"x" * 100_001, 413, "image: expected a file of at most 0.0953674 MiB, got a larger one"),
        (b"x" * 300_000, 413, "image: expected a file of at most"),
    ],
)
def test_what_is_no_photograph_is_refused_with_the_reason(client, data, status, message):
    response = post(client, data, "letter.txt")
    assert response.status_code == status
    assert response.json()["detail"].startswith(message)


@pytest.mark.parametrize(
    ("request_", "status", "message"),
    [
        ({"json": {"image": "x"}}, 415, "Content-Type: expected multipart/form-data"),
        ({"content": b"x"}, 415, "Content-Type: expected multipart/form-data"),
        ({"files": {"picture": b"x"}}, 400, "image: expected a form with one file called 'image'"),
    ],
)
def test_a_request_of_another_form_is_refused(client, request_, status, message):
    response = client.post("/v1/detect", **request_)
    assert response.status_code == status
    assert response.json()["detail"].startswith(message)


def test_too_many_pixels_are_refused_before_they_are_decoded():
    service = served.service()
    config = replace(service.config, data=replace(service.config.data, max_pixels=1000))
    with client_of(replace(service, config=config)) as client:
        response = post(client, served.picture()[0])
    assert response.status_code == 400
    assert "expected at most 1,000 pixels, got 96 x 64" in response.json()["detail"]


STARTED, GO_ON = threading.Event(), threading.Event()


class Slow(Service):
    """Waits to be told, then refuses."""

    def answer(self, upload):
        STARTED.set()
        assert GO_ON.wait(60)
        message = f"{upload.name}: expected something else"
        raise DataError(message)


class Broken(Service):
    """Fails as no service should."""

    def answer(self, upload):
        message = "secret"
        raise RuntimeError(message)


def test_a_full_queue_is_said_with_the_time_to_come_back():
    with client_of(Slow(models=(), config=Config()), places=1) as client:
        answers = []
        threads = [
            threading.Thread(target=lambda n=n: answers.append(post(client, b"x", f"{n}")))
            for n in ("first", "second")
        ]
        threads[0].start()
        assert STARTED.wait(60)
        threads[1].start()
        while client.get("/v1/health").json() != {"waiting": 1, "queue": 1}:
            pass
        refused = post(client, b"x", "third")
        GO_ON.set()
        for thread in threads:
            thread.join(60)
    assert refused.status_code == 503
    assert int(refused.headers["Retry-After"]) >= 1
    assert refused.json()["detail"] == "the queue is full; try again in 1 s"
    assert sorted(answer.json()["detail"] for answer in answers) == [
        "first: expected something else",
        "second: expected something else",
    ]


def test_a_failure_is_answered_without_its_details(caplog):
    with client_of(Broken(models=(), config=Config())) as broken:
        response = post(broken, b"x")
    assert response.status_code == 500
    assert "secret" not in response.text
    assert "log" in response.json()["detail"]
    assert "RuntimeError: secret" in caplog.text


def test_examples_are_those_that_were_named(tmp_path):
    data, _ = served.picture()
    (tmp_path / "a b.png").write_bytes(data)
    (tmp_path / "secret.txt").write_text("x")
    with client_of(served.service(), [tmp_path / "a b.png"]) as client:
        assert client.get("/v1/settings").json()["examples"] == ["a b.png"]
        assert client.get("/v1/examples/a%20b.png").content == data
        for name in ("secret.txt", "..%2Fsecret.txt", "%2e%2e"):
            assert client.get(f"/v1/examples/{name}").status_code == 404
