"""Who only holds a connection is let go; who asks is answered, also while the server stops."""

import json
import logging
import resource
import socket
import threading
import time
from contextlib import ExitStack, suppress

import pytest

from detection.serving.connections import (
    BACKLOG,
    RESERVED_DESCRIPTORS,
    Patience,
    allowed_connections,
    bounded_protocol,
)
from detection.serving.quiet_log import Counted
from detection.serving.server import make_server
from detection.serving.service import Service
from tests.serving import served
from tests.serving.load import post

HEAD = "POST /v1/detect HTTP/1.1\r\nHost: {host}\r\n"


def connect(address):
    host, port = address.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=30)


def head_to(address, *lines):
    host = address.removeprefix("http://")
    return (HEAD.format(host=host) + "".join(f"{line}\r\n" for line in lines)).encode()


def received(connection):
    """Return all that comes until the connection is closed."""
    parts = []
    while True:
        try:
            part = connection.recv(65536)
        except ConnectionResetError:
            part = b""
        if not part:
            return b"".join(parts)
        parts.append(part)


@pytest.mark.parametrize("sent", [b"", b"GET /v1/health HTTP/1.1\r\nHost: 127.0.0.1\r\n"])
def test_headers_that_do_not_come_end_the_connection(sent):
    patience = Patience(header_seconds=0.3)
    with served.listening(served.service(), patience=patience) as address:
        with connect(address) as slow:
            slow.sendall(sent)
            start = time.monotonic()
            assert received(slow) == b""
            assert 0.2 < time.monotonic() - start < 10
        with connect(address) as later:  # the second request of a connection is no better
            host = address.removeprefix("http://")
            later.sendall(f"GET /v1/health HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            assert later.recv(65536).startswith(b"HTTP/1.1 200")
            later.sendall(b"GET /v1/health HTTP/1.1\r\n")
            received(later)


def test_headers_that_come_a_letter_at_a_time_have_no_more_time():
    patience = Patience(header_seconds=0.5)
    with served.listening(served.service(), patience=patience) as address:
        with connect(address) as slow:
            start = time.monotonic()
            with suppress(ConnectionError):
                while time.monotonic() - start < 20:
                    slow.sendall(b"x")
                    time.sleep(0.05)
        assert time.monotonic() - start < 10


def test_a_body_that_does_not_come_ends_the_connection():
    patience = Patience(header_seconds=30, request_seconds=0.3)
    with served.listening(served.service(), patience=patience) as address:
        with connect(address) as slow:
            kind = "Content-Type: multipart/form-data; boundary=b"
            slow.sendall(head_to(address, kind, "Content-Length: 1000", "") + b"--b\r\n")
            start = time.monotonic()
            received(slow)
            assert time.monotonic() - start < 10
        assert post(address, served.picture()[0])[0] == 200


def test_an_answer_may_take_longer_than_a_request():
    class Late(Service):
        def answer(self, upload):
            time.sleep(1)
            return super().answer(upload)

    service = served.service()
    late = Late(models=service.models, config=service.config)
    patience = Patience(header_seconds=0.3, request_seconds=0.5)
    with served.listening(late, patience=patience) as address:
        assert post(address, served.picture()[0])[0] == 200


def test_of_many_silent_connections_the_oldest_goes_and_who_asks_is_answered():
    patience = Patience(connections=5, header_seconds=60)
    with served.listening(served.service(), patience=patience) as address, ExitStack() as stack:
        silent = [stack.enter_context(connect(address)) for _ in range(20)]
        assert post(address, served.picture()[0])[0] == 200
        assert received(silent[0]) == b""


def test_where_every_connection_is_at_work_the_next_is_told_to_come_back():
    started, hold = threading.Event(), threading.Event()

    class Held(Service):
        def answer(self, upload):
            started.set()
            hold.wait(60)
            return super().answer(upload)

    service = served.service()
    held = Held(models=service.models, config=service.config)
    with served.listening(held, patience=Patience(connections=1)) as address:
        first = threading.Thread(target=post, args=(address, served.picture()[0]))
        first.start()
        assert started.wait(60)
        with connect(address) as second:
            said = received(second)
        hold.set()
        first.join(60)
    assert said.startswith(b"HTTP/1.1 503")
    assert b"Retry-After: 1" in said
    assert json.loads(said.partition(b"\r\n\r\n")[2])["detail"].startswith("too many connections")


def test_the_descriptors_of_the_process_limit_the_connections(monkeypatch):
    assert allowed_connections(3) == 3
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 256))
    assert allowed_connections(1000) == 256 - RESERVED_DESCRIPTORS - BACKLOG
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, 0))
    assert allowed_connections(1000) == 1000


def test_a_refused_body_is_not_asked_for():
    with served.listening(served.service(), max_upload_bytes=1000) as address:
        for line in ("Content-Length: 400000000", "Origin: http://[::1", "Host: evil.example"):
            with connect(address) as client:
                lines = [line, "Expect: 100-continue", ""]
                if not line.startswith("Content-Length"):
                    lines.insert(0, "Content-Length: 100")
                request = head_to(address, *lines)
                if line.startswith("Host"):
                    request = request.replace(b"Host: 127", b"X-Host: 127", 1)
                client.sendall(request)
                said = received(client)
            assert said.startswith((b"HTTP/1.1 400", b"HTTP/1.1 413")), said
            assert b"Continue" not in said


@pytest.mark.parametrize("in_work", ["ends in time", "takes too long"])
def test_what_is_queued_when_the_server_stops_is_told_so(monkeypatch, in_work):
    monkeypatch.setattr("detection.serving.server._GRACE_SECONDS", 1)
    started, hold = threading.Event(), threading.Event()

    class Held(Service):
        def answer(self, upload):
            started.set()
            hold.wait(30)
            return super().answer(upload)

    service = served.service()
    held = Held(models=service.models, config=service.config)
    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(post(address, served.picture()[0])))
        for _ in range(3)
    ]
    with served.listening(held) as address:
        for thread in threads:
            thread.start()
        assert started.wait(60)
        while held_waiting(address) < 2:
            time.sleep(0.02)
        if in_work == "ends in time":
            threading.Timer(0.3, hold.set).start()
    for thread in threads:
        thread.join(60)
    hold.set()
    statuses = sorted(status for status, _, _ in answers)
    assert statuses == ([200, 503, 503] if in_work == "ends in time" else [503, 503, 503])
    for status, headers, body in answers:
        if status == 503:
            assert json.loads(body)["detail"] == "the server stops"
            assert headers["retry-after"] == "10"


def held_waiting(address):
    with connect(address) as client:
        host = address.removeprefix("http://")
        ask = f"GET /v1/health HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        client.sendall(ask.encode())
        return json.loads(received(client).partition(b"\r\n\r\n")[2])["waiting"]


def test_the_server_counts_its_lines_and_takes_no_more_than_it_can_hold():
    app = served.client_of(served.service()).app
    server = make_server(app, Patience(connections=7))
    make_server(app, Patience(connections=7))
    assert server.config.backlog == BACKLOG
    filters = logging.getLogger("asyncio").filters
    assert sum(isinstance(one, Counted) for one in filters) == 1
    assert issubclass(bounded_protocol(Patience()), server.config.http.__mro__[1])
