import pytest
from fastapi.testclient import TestClient

from detection.serving.app import Limits, make_app
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
