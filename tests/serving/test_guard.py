import pytest

from tests.serving import served
from tests.serving.served import BASE_URL, client_of, post


def test_a_body_of_unknown_length_is_stopped_at_the_limit(client):
    def chunks():
        yield b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        for _ in range(100):
            yield b"x" * 10_000

    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    response = client.post("/v1/detect", content=chunks(), headers=kind)
    assert response.status_code == 413
    assert "at most" in response.json()["detail"]


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
    ("origin", "status"),
    [
        ("https://evil.example", 403),
        ("null", 403),
        ("http://127.0.0.1:81", 403),
        ("", 403),
        ("http://[::1", 400),
        ("http://a]b", 400),
        ("http://[x]", 400),
    ],
)
def test_a_foreign_page_cannot_send_photographs(client, origin, status):
    response = post(client, served.picture()[0], headers={"Origin": origin})
    assert response.status_code == status
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
