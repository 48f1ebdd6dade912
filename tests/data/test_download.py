import io
import json
import tarfile

import pytest

from detection.data import download as module
from detection.data.download import VocArchive, download_voc, voc_archives
from detection.data.transfer import md5_of_file
from detection.errors import ConfigError, DataError


@pytest.fixture
def packed(tmp_path, monkeypatch):
    """An archive of two files that counts as that of 2007."""
    path = tmp_path / "voc.tar"
    with tarfile.open(path, "w") as tar:
        for name in ("JPEGImages/1.jpg", "ImageSets/Main/train.txt"):
            member = tarfile.TarInfo(f"VOCdevkit/VOC2007/{name}")
            member.size = 1
            tar.addfile(member, io.BytesIO(b"x"))
    item = VocArchive(url="http://h/voc.tar", md5=md5_of_file(path), folder="VOCdevkit/VOC2007")
    monkeypatch.setattr(module, "voc_archives", lambda: {"2007": item})
    return path


def test_an_archive_that_is_here_is_installed_and_stamped(tmp_path, packed):
    folder = download_voc(2007, tmp_path / "root", archive=[packed])
    assert folder == tmp_path / "root" / "VOCdevkit" / "VOC2007"
    assert (folder / "ImageSets" / "Main" / "train.txt").read_text() == "x"
    stamp = json.loads((folder / ".installed-2007.json").read_text())
    assert stamp == {"archive": "voc.tar", "md5": md5_of_file(packed), "files": 2}
    assert packed.exists()


def test_what_is_stamped_is_not_extracted_again(tmp_path, packed):
    folder = download_voc(2007, tmp_path / "root", archive=[packed])
    (folder / "ImageSets" / "Main" / "train.txt").write_text("changed")
    download_voc(2007, tmp_path / "root", archive=[packed])
    assert (folder / "ImageSets" / "Main" / "train.txt").read_text() == "changed"


def test_a_folder_that_was_not_installed_stays_as_it_is(tmp_path, packed):
    other = tmp_path / "root" / "VOCdevkit" / "VOC2007"
    other.mkdir(parents=True)
    (other / "mine").write_text("x")
    with pytest.raises(DataError, match="expected nothing or an earlier download, got another"):
        download_voc(2007, tmp_path / "root", archive=[packed])
    assert [path.name for path in other.iterdir()] == ["mine"]


def test_another_archive_is_refused_by_its_checksum(tmp_path, packed):
    packed.write_bytes(packed.read_bytes() + b"\0")
    with pytest.raises(DataError, match=r"voc\.tar: expected md5 \w{32} \(voc\.tar\), got \w{32}"):
        download_voc(2007, tmp_path / "root", archive=[packed])


def test_a_year_without_a_challenge_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="year: expected 2007 to 2012, got 2006"):
        download_voc(2006, tmp_path)


def test_the_name_of_an_archive_is_the_end_of_its_address():
    archives = voc_archives()
    assert archives["2012"].filename == "VOCtrainval_11-May-2012.tar"
    assert all(len(item.md5) == 32 for item in archives.values())
