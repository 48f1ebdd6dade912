"""Requests that mean no good, mixed, each with the statuses that may answer it."""

import http.client
import io
import random
import socket
import struct
import threading
import time
import zlib
from dataclasses import dataclass
from urllib.parse import urlsplit

from PIL import Image as PilImage

from tests.serving.load import post
from tests.serving.served import picture

GONE = 0
"""Stands for a connection that the server ended without an answer."""

LATE = -1
"""Stands for no answer for a minute or two."""

NAMES = {GONE: "closed", LATE: "no answer"}

SECONDS = 60.0
_FORM = "multipart/form-data; boundary=x"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of the requests.

    Attributes:
        statuses: status -> how often it came.
        wrong: kind and status of each answer that may not be.
        longest: seconds that a sound image waited meanwhile, at most.
        sound: how many sound images were answered.
        seconds: from the first to the last.
    """

    statuses: dict[int, int]
    wrong: list[tuple[str, int]]
    longest: float
    sound: int
    seconds: float

    def format(self) -> str:
        """Return the counts as a line."""
        total = sum(self.statuses.values())
        counts = ", ".join(
            f"{NAMES.get(status, status)} {count}"
            for status, count in sorted(self.statuses.items())
        )
        return (
            f"{total} hostile requests in {self.seconds:.0f} s: {len(self.wrong)} wrong "
            f"({counts}); "
            f"{self.sound} sound images meanwhile, the slowest answered in {self.longest:.1f} s"
        )


def chunk(name, data):
    """Return a chunk of a PNG."""
    whole = name + data
    return struct.pack(">I", len(data)) + whole + struct.pack(">I", zlib.crc32(whole))


def bomb(side):
    """Return a PNG that says it has so many pixels, and holds few bytes."""
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(1 << 16))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def flat(side):
    """Return a small file of many equal pixels."""
    file = io.BytesIO()
    PilImage.new("RGB", (side, side)).save(file, "PNG")
    return file.getvalue()


def form(data, name='name="image"; filename="a.png"'):
    """Return the body of a form."""
    return (
        f"--x\r\nContent-Disposition: form-data; {name}\r\n\r\n".encode() + data + b"\r\n--x--\r\n"
    )


def raw(address, data, *, stop_sending=False):
    """Send bytes as they are; return the status."""
    host, port = urlsplit(address).netloc.split(":")
    with socket.create_connection((host, int(port)), timeout=SECONDS) as connection:
        try:
            connection.sendall(data)
            if stop_sending:
                connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(4096)
        except ConnectionError:
            return GONE
    words = answer.split(maxsplit=2)
    return int(words[1]) if len(words) > 1 and words[0].startswith(b"HTTP") else GONE


def ask(address, method="POST", path="/v1/detect", body=b"", **headers):
    """Send a request by the library; return the status."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=SECONDS)
    try:
        connection.request(method, path, body, names)
        with connection.getresponse() as response:
            return response.status
    except (ConnectionError, http.client.HTTPException):
        return GONE
    finally:
        connection.close()


def head(lines):
    """Return the bytes of a request's head."""
    return "\r\n".join(["POST /v1/detect HTTP/1.1", "Host: 127.0.0.1", *lines, "", ""]).encode()


def kinds():
    """Return kind -> (function of an address that returns a status, the statuses that may be)."""
    sound = picture(1)[0]
    large = b"\xff\xd8\xff" + bytes(21 << 20)

    def image(data, name="a.png"):
        return lambda address: post(address, data, name)[0]

    def whole(data, **options):
        return lambda address: raw(address, data, **options)

    def lines(*more, body=b"", **options):
        return whole(head(more) + body, **options)

    def request(**options):
        return lambda address: ask(address, **options)

    busy, closed = 503, {400, GONE}
    chunked = "Transfer-Encoding: chunked"
    of_images = {
        "no image": (image(b"no image"), {400, busy}),
        "empty": (image(b""), {400, busy}),
        "half a file": (image(sound[: len(sound) // 2]), {400, busy}),
        "one pixel": (image(flat(1)), {200, 400, busy}),
        "bomb": (image(bomb(30_000)), {400, busy}),
        "bomb of lines": (image(bomb(2**31 - 1)), {400, busy}),
        "flat": (image(flat(900)), {200, busy}),
        "odd name": (image(sound, "../../etc/passwd%0d%0a.png"), {200, busy}),
        "too large": (image(large), {413, GONE}),
        "an archive": (image(b"PK\x03\x04" + bytes(500)), {400, busy}),
        "a drawing": (image(b"<svg onload='alert(1)'/>"), {400, busy}),
    }
    of_forms = {
        "no form": (request(body=sound, Content_Type="image/png"), {415}),
        "no boundary": (request(body=sound, Content_Type="multipart/form-data"), {400}),
        "another field": (request(body=form(sound, 'name="x"'), Content_Type=_FORM), {400}),
        "a text field": (request(body=form(b"a", 'name="image"'), Content_Type=_FORM), {400}),
        "open end": (request(body=form(sound)[:-9], Content_Type=_FORM), {400}),
        "json": (request(body=b'{"image": null}', Content_Type="application/json"), {415}),
    }
    of_headers = {
        "no method": (request(method="DELETE"), {405}),
        "no path": (request(method="GET", path="/v1/%2e%2e/%2e%2e/etc/passwd"), {404}),
        "no example": (request(method="GET", path="/v1/examples/" + "%F0%9F" * 99), {404}),
        "long path": (request(method="GET", path="/" + "a" * 60_000), {404, *closed}),
        "foreign host": (request(method="GET", path="/", Host="evil.example"), {400}),
        "broken host": (request(method="GET", path="/", Host="[::1"), {400}),
        "foreign page": (request(Origin="https://evil.example"), {403}),
        "broken origin": (request(Origin="http://[::1"), {400}),
    }
    of_bytes = {
        "odd length": (lines("Content-Length: -5"), {400}),
        "endless length": (lines("Content-Length: " + "9" * 18, stop_sending=True), {413, GONE}),
        "number of digits": (lines("Content-Length: " + "9" * 5000), {400, 413}),
        "two lengths": (lines("Content-Length: 3", "Content-Length: 5", body=b"abc"), {400}),
        "smuggled": (lines("Content-Length: 3", chunked, body=b"0\r\n\r\n"), {400, 415}),
        "broken chunk": (lines(f"Content-Type: {_FORM}", chunked, body=b"zz\r\n"), closed),
        "large header": (lines("X: " + "a" * 200_000), {431, *closed}),
        "many headers": (lines(*(f"X-{n}: {n}" for n in range(5000))), {415, 431, *closed}),
        "zero byte": (lines("X: a\0b"), {400}),
        "no http": (whole(bytes(range(256)) * 8), closed),
        "half a head": (whole(head([])[:20], stop_sending=True), closed),
        "half a body": (
            lines(
                f"Content-Type: {_FORM}",
                "Content-Length: 9999",
                body=form(b"a")[:30],
                stop_sending=True,
            ),
            closed,
        ),
    }
    return of_images | of_forms | of_headers | of_bytes


def attack(address, requests, seed=0, clients=8):
    """Send so many of all kinds in a random order, and a sound image now and then.

    Args:
        address: of the server.
        requests: how many.
        seed: of the order.
        clients: how many send at once.
    """
    choices, chance = kinds(), random.Random(seed)
    order = (list(choices) * (requests // len(choices) + 1))[:requests]
    chance.shuffle(order)
    lock, done = threading.Lock(), threading.Event()
    statuses, wrong, waits = {}, [], []

    def client():
        while True:
            with lock:
                if not order:
                    return
                kind = order.pop()
            send, may = choices[kind]
            try:
                status = send(address)
            except TimeoutError:
                status = LATE
            with lock:
                statuses[status] = statuses.get(status, 0) + 1
                if status not in may:
                    wrong.append((kind, status))

    def friend():
        data = picture(2)[0]
        while not done.is_set():
            start = time.perf_counter()
            while post(address, data)[0] == 503:
                time.sleep(0.2)
            waits.append(time.perf_counter() - start)
            done.wait(0.5)

    threads = [threading.Thread(target=client, daemon=True) for _ in range(clients)]
    other = threading.Thread(target=friend, daemon=True)
    start = time.perf_counter()
    for thread in (*threads, other):
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - start
    done.set()
    other.join(SECONDS)
    return Outcome(
        statuses=statuses, wrong=wrong, longest=max(waits), sound=len(waits), seconds=seconds
    )
