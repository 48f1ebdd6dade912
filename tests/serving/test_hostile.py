"""A server that is sent what means no good: each answer is one that may be, and nobody waits."""

import urllib.error
import urllib.request

import pytest

from tests.serving import served
from tests.serving.hostile import attack, kinds


# Starlette leaves the file of a form that breaks off to the garbage collection, which closes it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.slow
def test_hostile_requests_are_refused_while_sound_images_are_answered():
    with served.listening(served.service()) as address:
        outcome = attack(address, len(kinds()), clients=4)
    assert outcome.wrong == []
    assert sum(outcome.statuses.values()) == len(kinds())
    assert 500 not in outcome.statuses
    assert outcome.sound > 0


def test_forms_with_broken_heads_are_counted_in_the_log(caplog):
    with served.listening(served.service()) as address:
        for number in range(20):
            head = b"--x\r\n" + b"Content" * number + b"[: form-data\r\n\r\n\r\n--x--\r\n"
            request = urllib.request.Request(
                f"{address}/v1/detect",
                data=head,
                headers={"Content-Type": "multipart/form-data; boundary=x"},
            )
            with pytest.raises(urllib.error.HTTPError, match="400"):
                urllib.request.urlopen(request, timeout=60)
    lines = [one for one in caplog.messages if "Found invalid character" in one]
    assert len(lines) < 5
