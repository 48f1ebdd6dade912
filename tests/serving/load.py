"""Many clients at once: what each is answered, and how often it had to come back."""

import http.client
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

PATIENCE_SECONDS = 120.0
_BOUNDARY = "a-boundary-that-no-picture-holds"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of the requests.

    Attributes:
        answers: of each request, the answer's JSON; None for one that was lost.
        retries: how often a client was told to come back.
        statuses: status -> how often it came.
        seconds: from the first to the last.
    """

    answers: list[dict | None]
    retries: int
    statuses: dict[int, int]
    seconds: float

    def format(self, wrong: int) -> str:
        """Return the counts as a line."""
        lost = sum(answer is None for answer in self.answers)
        return (
            f"{len(self.answers)} requests at once: {len(self.answers) - lost} answered, "
            f"{lost} lost, {wrong} wrong, {self.retries} told to come back, "
            f"{self.seconds:.1f} s"
        )


def post(address: str, data: bytes, name: str = "a.png") -> tuple[int, dict[str, str], bytes]:
    """Send one image: (status, headers, body)."""
    head = (
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n\r\n'
    )
    body = head.encode() + data + f"\r\n--{_BOUNDARY}--\r\n".encode()
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=PATIENCE_SECONDS)
    try:
        kind = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}
        connection.request("POST", "/v1/detect", body, kind)
        response = connection.getresponse()
        return response.status, dict(response.headers), response.read()
    finally:
        connection.close()


def load(address: str, upload: Callable[[int], bytes], requests: int) -> Outcome:
    """Send all requests at once; a client that is told to come back does so.

    Args:
        address: of the server.
        upload: the image of each request.
        requests: how many clients.
    """
    answers: list[dict | None] = [None] * requests
    statuses: dict[int, int] = {}
    lock, barrier = threading.Lock(), threading.Barrier(requests + 1)
    data = [upload(number) for number in range(requests)]

    def client(number: int) -> None:
        barrier.wait()
        end = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < end:
            status, headers, body = post(address, data[number])
            with lock:
                statuses[status] = statuses.get(status, 0) + 1
            if status != 503:
                answers[number] = json.loads(body) if status == 200 else None
                return
            time.sleep(int(headers["retry-after"]))

    threads = [threading.Thread(target=client, args=(n,), daemon=True) for n in range(requests)]
    for thread in threads:
        thread.start()
    barrier.wait()
    start = time.perf_counter()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    seconds = time.perf_counter() - start
    return Outcome(
        answers=answers, retries=statuses.get(503, 0), statuses=statuses, seconds=seconds
    )


def count_wrong(outcome: Outcome, expected: Callable[[int], list[list[dict]]]) -> int:
    """Count the answers whose detections are not the expected ones of their image."""
    actual = [
        answer and [model["detections"] for model in answer["models"]] for answer in outcome.answers
    ]
    return sum(
        detections is not None and detections != expected(number)
        for number, detections in enumerate(actual)
    )
