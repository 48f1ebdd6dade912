import threading
from dataclasses import replace

import pytest
import torch
from fastapi.testclient import TestClient

from detection.config import Config
from detection.errors import DataError
from detection.proposals.search import propose
from detection.serving.app import Limits, make_app
from detection.serving.service import Service
from tests.serving import served
from tests.serving.served import BASE_URL


def client_of(service, examples=(), **limits):
    app = make_app(service, Limits(**limits), examples)
    return TestClient(app, base_url=BASE_URL, raise_server_exceptions=False)


@pytest.fixture(scope="module")
def client():
    with client_of(served.service("sppnet", "rcnn"), max_upload_bytes=100_000) as client:
        yield client


def post(client, data, name="a.png", **options):
    return client.post("/v1/detect", files={"image": (name, data)}, **options)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_answer_is_what_each_detector_detects(client, seed):
    data, image = served.picture(seed)
    response = post(client, data)
    assert response.status_code == 200, response.text
    answer = response.json()
    proposals = propose(image, served.PROPOSALS)
    assert (answer["height"], answer["width"]) == image.size
    assert answer["proposals"] == proposals.boxes.tolist()
    assert [model["method"] for model in answer["models"]] == ["sppnet", "rcnn"]
    for model in answer["models"]:
        expected = served.detector(model["method"]).detect(image, proposals)
        assert len(expected.boxes) > 0
        assert [d["box"] for d in model["detections"]] == expected.boxes.tolist()
        assert [d["score"] for d in model["detections"]] == expected.scores.tolist()
        assert [d["label"] for d in model["detections"]] == expected.labels.tolist()


def test_the_stages_of_each_method_add_up_to_its_time(client):
    sppnet, rcnn = post(client, served.picture()[0]).json()["models"]
    assert list(sppnet["stages"]) == [
        "resize", "conv", "projection", "pooling", "fc", "svm", "regression", "suppression",
    ]  # fmt: skip
    assert list(rcnn["stages"]) == ["warp", "conv", "fc", "svm", "regression", "suppression"]
    for model in (sppnet, rcnn):
        assert sum(model["stages"].values()) == pytest.approx(model["seconds"])


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


def test_a_body_of_unknown_length_is_stopped_at_the_limit(client):
    def chunks():
        yield b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        for _ in range(100):
            yield b"x" * 10_000

    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    response = client.post("/v1/detect", content=chunks(), headers=kind)
    assert response.status_code == 413
    assert "at most" in response.json()["detail"]


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


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost", "LOCALHOST:1", "[::1]:8000"])
def test_this_machine_is_reached_by_its_own_names(client, host):
    assert client.get("/v1/health", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost@evil", "10.0.0.1", "", "[::2]"]
)
def test_a_foreign_name_is_refused_on_loopback(client, host):
    for path in ("/", "/v1/health", "/nowhere"):
        response = client.get(path, headers={"Host": host})
        assert response.status_code == 400
        assert response.json()["detail"].startswith("Host: expected 127.0.0.1, localhost")


def test_any_name_holds_where_the_server_is_not_on_loopback():
    with client_of(served.service(), loopback_only=False) as client:
        headers = {"Host": "photographs.example"}
        assert client.get("/v1/health", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "http://127.0.0.1:81",
        "http://[::1",
        "http://a]b",
        "http://[x]",
        "",
    ],
)
def test_a_foreign_page_cannot_send_photographs(client, origin):
    response = post(client, served.picture()[0], headers={"Origin": origin})
    assert response.status_code == 403
    assert response.json()["detail"].startswith("Origin: expected a page of this server")


def test_the_own_page_can_send_photographs(client):
    assert post(client, served.picture()[0], headers={"Origin": BASE_URL}).status_code == 200


@pytest.mark.parametrize("path", ["/", "/api", "/v1/settings", "/openapi.json", "/nowhere"])
def test_every_answer_has_the_headers_that_keep_it_to_itself(client, path):
    headers = client.get(path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize("path", ["/", "/api"])
def test_the_pages_load_nothing_from_elsewhere(client, path):
    page = client.get(path)
    assert page.status_code == 200
    assert page.headers["Content-Type"].startswith("text/html")
    for word in ('src="http', 'href="http', "@import", "url(", "cdn"):
        assert word not in page.text


def test_the_interface_is_described(client):
    description = client.get("/openapi.json").json()
    assert set(description["paths"]) == {
        "/v1/detect", "/v1/health", "/v1/settings", "/v1/examples/{name}",
    }  # fmt: skip
    assert {"413", "415", "503"} <= set(description["paths"]["/v1/detect"]["post"]["responses"])
    text = client.get("/api").text
    for path in description["paths"]:
        assert path in text
    for name in ("Answer", "ModelAnswer", "Found", "Settings", "Problem"):
        assert f"<h3>{name}</h3>" in text
    assert client.get("/docs").status_code == 404


def test_examples_are_those_that_were_named(tmp_path):
    data, _ = served.picture()
    (tmp_path / "a b.png").write_bytes(data)
    (tmp_path / "secret.txt").write_text("x")
    with client_of(served.service(), [tmp_path / "a b.png"]) as client:
        assert client.get("/v1/settings").json()["examples"] == ["a b.png"]
        assert client.get("/v1/examples/a%20b.png").content == data
        for name in ("secret.txt", "..%2Fsecret.txt", "%2e%2e"):
            assert client.get(f"/v1/examples/{name}").status_code == 404


def test_the_settings_name_the_detectors(client):
    settings = client.get("/v1/settings").json()
    assert [model["method"] for model in settings["models"]] == ["sppnet", "rcnn"]
    assert settings["models"][0]["class_names"] == ["class 0", "class 1"]
    assert settings["models"][0]["scores"] == "svm"
    assert settings["max_upload_bytes"] == 100_000


def test_a_clock_around_a_detector_does_not_change_what_its_regressors_read():
    detector = served.detector(layer="fc7")
    weight = torch.randn(2, 4, 8, generator=torch.Generator().manual_seed(0)) * 0.1
    scored = replace(detector.regressors, weight=weight, reads="scored")
    detector = replace(detector, regressors=scored)
    _, image = served.picture()
    expected = detector.detect(image)
    assert len(expected.boxes) > 0
    actual = served.serve_detector(detector, "run").detector.detect(image)
    assert torch.equal(actual.boxes, expected.boxes)
