import pytest

from tests.serving import served


@pytest.fixture(scope="session")
def client():
    """A client of a server with both methods that takes 100,000 bytes."""
    with served.client_of(served.service("sppnet", "rcnn"), max_upload_bytes=100_000) as client:
        yield client
