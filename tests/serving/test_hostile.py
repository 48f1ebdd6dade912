"""A server that is sent what means no good: each answer is one that may be, and nobody waits."""

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
