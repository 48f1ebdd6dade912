import pytest


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
