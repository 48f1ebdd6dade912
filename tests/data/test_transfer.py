import hashlib
import http.client
import io
import urllib.error
import urllib.request
from types import SimpleNamespace

import pytest

from detection.data.transfer import Patience, fetch, md5_of_file
from detection.errors import DataError

CONTENT = b"0123456789"
MD5 = hashlib.md5(CONTENT).hexdigest()
QUICK = Patience(attempts=2, pause=0.0)


def answer(content, status=200, length=None):
    """Return what a server sends: a status, a length, and perhaps less than that."""
    head = f"HTTP/1.1 {status} OK\r\nContent-Length: {len(content) if length is None else length}"
    sent = io.BytesIO(head.encode() + b"\r\n\r\n" + content)
    response = http.client.HTTPResponse(SimpleNamespace(makefile=lambda _: sent))
    response.begin()
    return response


@pytest.fixture
def server(monkeypatch):
    """Answers in turn what a test has put into it, and notes what was asked for."""

    class Server(list):
        asked = ()

    answers = Server()

    def urlopen(request, timeout):
        answers.asked += ((request.full_url, request.get_header("Range")),)
        given = answers.pop(0)
        if isinstance(given, Exception):
            raise given
        return given

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    return answers


def test_the_checksum_of_a_file_is_that_of_its_bytes(tmp_path):
    (tmp_path / "a").write_bytes(CONTENT)
    assert md5_of_file(tmp_path / "a") == MD5
    with pytest.raises(DataError, match="gone: expected a readable file, got No such file"):
        md5_of_file(tmp_path / "gone")


def test_a_file_that_is_right_already_is_not_asked_for(tmp_path, server):
    (tmp_path / "a").write_bytes(CONTENT)
    fetch(["http://h/a"], tmp_path / "a", md5=MD5)
    assert server.asked == ()


def test_what_broke_off_goes_on_from_there(tmp_path, server):
    server += [answer(CONTENT[:4], length=10), answer(CONTENT[4:], status=206)]
    fetch(["http://h/a"], tmp_path / "new" / "a", md5=MD5, patience=QUICK)
    assert (tmp_path / "new" / "a").read_bytes() == CONTENT
    assert server.asked == (("http://h/a", None), ("http://h/a", "bytes=4-"))
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a"]


def test_a_server_that_knows_no_ranges_begins_anew(tmp_path, server):
    (tmp_path / "a.part").write_bytes(CONTENT[:4])
    server.append(answer(CONTENT))
    fetch(["http://h/a"], tmp_path / "a", md5=MD5, patience=QUICK)
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_every_address_is_named_with_what_went_wrong(tmp_path, server):
    server += [urllib.error.URLError("no route"), urllib.error.URLError("no route")]
    server += [answer(CONTENT[:-1] + b"!")]
    urls = ["ftp://h/a", "http://h/a", "http://mirror/a"]
    with pytest.raises(DataError) as caught:
        fetch(urls, tmp_path / "a", md5=MD5, patience=QUICK)
    message = str(caught.value)
    assert "ftp://h/a: expected an http or https address" in message
    assert "http://h/a: no connection (no route)" in message
    assert f"http://mirror/a: expected md5 {MD5}, got" in message
    assert not (tmp_path / "a").exists()


def test_a_longer_file_is_not_accepted(tmp_path, server):
    server.append(answer(CONTENT))
    with pytest.raises(DataError, match="expected at most 9 bytes, got 10"):
        fetch(["http://h/a"], tmp_path / "a", md5=MD5, patience=Patience(max_bytes=9))
