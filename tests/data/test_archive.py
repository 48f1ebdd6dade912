import io
import tarfile

import pytest

from detection.data.archive import extract_tar
from detection.errors import DataError


def tar_of(path, **members):
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name.replace("__", "/"))
            member.size, member.mode, member.mtime = len(content), 0o7777, 1
            tar.addfile(member, io.BytesIO(content))
    return path


def test_what_was_packed_comes_out_without_its_mode_and_time(tmp_path):
    archive = tar_of(tmp_path / "a.tar", a=b"one", b__c=b"two")
    assert extract_tar(archive, tmp_path / "out") == 2
    assert (tmp_path / "out" / "a").read_bytes() == b"one"
    assert (tmp_path / "out" / "b" / "c").read_bytes() == b"two"
    status = (tmp_path / "out" / "a").stat()
    assert status.st_mode & 0o7000 == 0
    assert status.st_mtime > 1


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"max_bytes": 6}, None),
        ({"max_bytes": 5}, "member 'b/c': expected at most 5 bytes in all, got more"),
        ({"max_members": 2}, None),
        ({"max_members": 1}, "member 'b/c': expected at most 1 members, got more"),
    ],
)
def test_as_much_as_the_limit_is_extracted_and_of_more_nothing(tmp_path, limits, message):
    archive = tar_of(tmp_path / "a.tar", a=b"one", b__c=b"two")
    if message is None:
        assert extract_tar(archive, tmp_path / "out", **limits) == 2
        return
    with pytest.raises(DataError, match=message):
        extract_tar(archive, tmp_path / "out", **limits)
    assert not (tmp_path / "out").exists()


def test_an_archive_without_its_end_is_refused(tmp_path):
    archive = tar_of(tmp_path / "a.tar", a=b"one")
    archive.write_bytes(archive.read_bytes()[:1024])  # header and content, no block of zeros
    with pytest.raises(DataError, match=r"a\.tar: expected a tar archive that can be extracted"):
        extract_tar(archive, tmp_path / "out")
