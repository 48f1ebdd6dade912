"""F31 to F34: what can go wrong between a server and a data set, against a real local server."""

import contextlib
import hashlib
import http.server
import io
import os
import signal
import socket
import subprocess
import sys
import tarfile
import textwrap
import threading
import time
import types

import pytest

from detection.data.archive import extract_tar
from detection.data.download import VocArchive, download_voc, voc_archives
from detection.data.transfer import Patience, fetch
from detection.data.voc import read_voc
from detection.errors import ConfigError, DataError
from tests.data.folders import VocTree

CONTENT = bytes(range(256)) * 4000
MD5 = hashlib.md5(CONTENT).hexdigest()
QUICK = Patience(attempts=2, pause=0.0, timeout=5.0)


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves the file, with the fault that the first folder of the address names."""

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        server = self.server
        requested = self.headers.get("Range")
        fault = self.path.split("/")[1]
        server.requests.append((fault, requested))
        content = server.files.get(self.path.split("/")[-1], CONTENT)
        start = 0
        if requested and fault != "norange":
            start = int(requested.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self.send_error(416)
                return
        if fault in {"missing", "broken"}:
            self.send_error(404 if fault == "missing" else 500)
            return
        body = content[start:]
        stated = len(body)
        if fault == "wrong":
            body = body[:-1] + b"!"
        elif fault == "empty":
            body, stated = b"", 0
        elif fault == "html":
            body = b"<html>please log in</html>"
            stated, start = len(body), 0
        elif fault in {"half", "silent"} or (fault == "once" and len(server.requests) == 1):
            body = body[: len(body) // 2]
        elif fault == "endless":
            stated, body = None, body * 100
        self.send_response(206 if start else 200)
        if stated is not None:
            self.send_header("Content-Length", str(stated))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(body)
            if fault == "silent":
                time.sleep(1)


@pytest.fixture
def server():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.requests, server.files = [], {}
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    server.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


# F31


def test_f31_a_sound_server_gives_the_file(server, tmp_path):
    target = tmp_path / "new" / "file.tar"
    fetch([f"{server.url}/sound/file.tar"], target, md5=MD5, patience=QUICK)
    assert target.read_bytes() == CONTENT
    assert [path.name for path in target.parent.iterdir()] == ["file.tar"]


def test_f31_a_file_that_is_there_is_not_fetched_again(server, tmp_path):
    target = tmp_path / "file.tar"
    target.write_bytes(CONTENT)
    fetch([f"{server.url}/sound/file.tar"], target, md5=MD5, patience=QUICK)
    assert server.requests == []


def test_f31_a_file_with_other_content_is_replaced(server, tmp_path):
    target = tmp_path / "file.tar"
    target.write_bytes(b"old")
    fetch([f"{server.url}/sound/file.tar"], target, md5=MD5, patience=QUICK)
    assert target.read_bytes() == CONTENT


WRONG = {
    "wrong": hashlib.md5(CONTENT[:-1] + b"!").hexdigest(),
    "html": hashlib.md5(b"<html>please log in</html>").hexdigest(),
    "empty": hashlib.md5(b"").hexdigest(),
}


@pytest.mark.parametrize(("fault", "got"), WRONG.items())
def test_f31_wrong_content_is_named_by_both_checksums_and_never_kept(server, tmp_path, fault, got):
    target = tmp_path / "file.tar"
    with pytest.raises(DataError) as caught:
        fetch([f"{server.url}/{fault}/file.tar"], target, md5=MD5, patience=QUICK)
    assert f"expected md5 {MD5}, got {got}" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fault", ["wrong", "html", "empty", "half", "missing", "broken"])
def test_f31_the_next_mirror_is_tried(server, tmp_path, fault):
    urls = [f"{server.url}/{name}/file.tar" for name in (fault, "sound")]
    target = tmp_path / "file.tar"
    fetch(urls, target, md5=MD5, patience=QUICK)
    assert target.read_bytes() == CONTENT


def test_f31_half_a_file_is_kept_and_the_next_attempt_goes_on(server, tmp_path):
    target = tmp_path / "file.tar"
    with pytest.raises(DataError, match=r"broke off after .* of 1,024,000 bytes"):
        fetch([f"{server.url}/half/file.tar"], target, md5=MD5, patience=QUICK)
    part = tmp_path / "file.tar.part"
    kept = part.stat().st_size
    assert 0 < kept < len(CONTENT)
    assert part.read_bytes() == CONTENT[:kept]
    fetch([f"{server.url}/sound/file.tar"], target, md5=MD5, patience=QUICK)
    assert server.requests[-1] == ("sound", f"bytes={kept}-")
    assert target.read_bytes() == CONTENT
    assert not part.exists()


def test_f31_a_transfer_that_breaks_off_once_goes_on_by_itself(server, tmp_path):
    target = tmp_path / "file.tar"
    fetch([f"{server.url}/once/file.tar"], target, md5=MD5, patience=QUICK)
    assert server.requests == [("once", None), ("once", f"bytes={len(CONTENT) // 2}-")]
    assert target.read_bytes() == CONTENT


def test_f31_a_server_that_cannot_resume_begins_again(server, tmp_path):
    target = tmp_path / "file.tar"
    (tmp_path / "file.tar.part").write_bytes(CONTENT[:1000])
    fetch([f"{server.url}/norange/file.tar"], target, md5=MD5, patience=QUICK)
    assert target.read_bytes() == CONTENT


PARTS = {
    "short": b"something else",
    "complete": bytes(len(CONTENT)),
    "too long": bytes(2 * len(CONTENT)),
}


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
def test_f31_a_part_of_another_file_is_dropped(server, tmp_path, part):
    target = tmp_path / "file.tar"
    (tmp_path / "file.tar.part").write_bytes(part)
    fetch([f"{server.url}/sound/file.tar"], target, md5=MD5, patience=QUICK)
    assert target.read_bytes() == CONTENT


def test_f31_a_complete_part_needs_no_more_bytes(server, tmp_path):
    target = tmp_path / "file.tar"
    (tmp_path / "file.tar.part").write_bytes(CONTENT)
    fetch([f"{server.url}/sound/file.tar"], target, md5=MD5, patience=QUICK)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("fault", ["sound", "endless"])
def test_f31_a_file_above_the_limit_is_not_accepted(server, tmp_path, fault):
    patience = Patience(attempts=1, pause=0.0, max_bytes=len(CONTENT) - 1)
    with pytest.raises(DataError, match="expected at most 1,023,999 bytes"):
        fetch([f"{server.url}/{fault}/f.tar"], tmp_path / "f.tar", md5=MD5, patience=patience)


def test_f31_a_full_disk_is_named_before_the_transfer(server, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: types.SimpleNamespace(free=10))
    with pytest.raises(DataError, match="no space: need 1,024,000 bytes, have 10"):
        fetch([f"{server.url}/sound/f.tar"], tmp_path / "f.tar", md5=MD5, patience=QUICK)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /dev/full")
def test_f31_a_disk_that_fills_up_is_named(server, tmp_path):
    (tmp_path / "f.tar.part").symlink_to("/dev/full")
    with pytest.raises(DataError, match="no space"):
        fetch([f"{server.url}/sound/f.tar"], tmp_path / "f.tar", md5=MD5, patience=QUICK)


# F32


def unused_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_f32_without_a_network_the_message_says_what_to_do(tmp_path):
    url = f"http://127.0.0.1:{unused_port()}/file.tar"
    with pytest.raises(DataError) as caught:
        fetch([url], tmp_path / "file.tar", md5=MD5, patience=QUICK)
    for word in (url, str(tmp_path), "no connection", "--mirror", "--archive"):
        assert word in str(caught.value)


def test_f32_a_server_that_falls_silent_is_given_up(server, tmp_path):
    patience = Patience(attempts=1, timeout=0.3)
    with pytest.raises(DataError, match="no connection"):
        fetch([f"{server.url}/silent/f.tar"], tmp_path / "f.tar", md5=MD5, patience=patience)
    assert (tmp_path / "f.tar.part").exists()


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://x/y", "file.tar"])
def test_f32_only_http_is_spoken(tmp_path, url):
    with pytest.raises(DataError, match="expected an http or https address"):
        fetch([url], tmp_path / "file.tar", md5=MD5, patience=QUICK)


# F33


def tar_of(path, *members):
    """Write an archive of (name, settings) members; settings may hold content."""
    with tarfile.open(path, "w") as tar:
        for name, settings in members:
            content = settings.get("content", b"")
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for key in settings.keys() - {"content"}:
                setattr(info, key, settings[key])
            tar.addfile(info, io.BytesIO(content))
    return path


SOUND = ("folder/sound.txt", {"content": b"sound"})
HOSTILE = {
    "parent": ("../out.txt", {"content": b"x"}),
    "parent inside": ("folder/../../out.txt", {"content": b"x"}),
    "absolute": ("/out.txt", {"content": b"x"}),
    "drive": ("C:/out.txt", {"content": b"x"}),
    "backslash": ("..\\out.txt", {"content": b"x"}),
    "symbolic link": ("link", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}),
    "link inside": ("link", {"type": tarfile.SYMTYPE, "linkname": "folder"}),
    "hard link": ("link", {"type": tarfile.LNKTYPE, "linkname": "folder/sound.txt"}),
    "device": ("device", {"type": tarfile.CHRTYPE}),
    "block device": ("device", {"type": tarfile.BLKTYPE}),
    "pipe": ("pipe", {"type": tarfile.FIFOTYPE}),
}


@pytest.mark.parametrize("member", HOSTILE.values(), ids=HOSTILE)
def test_f33_a_hostile_member_stops_before_anything_is_written(tmp_path, member):
    archive = tar_of(tmp_path / "a.tar", SOUND, member)
    folder = tmp_path / "in" / "side"
    with pytest.raises(DataError, match=r"a\.tar: member .*not extracted"):
        extract_tar(archive, folder)
    assert [path.name for path in tmp_path.rglob("*")] == ["a.tar"]


def test_f33_too_much_content_stops_before_anything_is_written(tmp_path):
    archive = tar_of(tmp_path / "a.tar", SOUND, ("zeros", {"content": bytes(2000)}))
    with pytest.raises(DataError, match="expected at most 2,004 bytes in all"):
        extract_tar(archive, tmp_path / "in", max_bytes=2004)
    assert not (tmp_path / "in").exists()
    assert extract_tar(archive, tmp_path / "in", max_bytes=2005) == 2


def test_f33_a_member_that_only_claims_to_be_huge_stops(tmp_path):
    path = tmp_path / "a.tar"
    info = tarfile.TarInfo("zeros")
    info.size = 1 << 40
    path.write_bytes(info.tobuf() + bytes(1024))
    with pytest.raises(DataError, match="bytes in all, got more"):
        extract_tar(path, tmp_path / "in")


def test_f33_too_many_members_stop(tmp_path):
    archive = tar_of(tmp_path / "a.tar", *[(f"{n}", {}) for n in range(5)])
    with pytest.raises(DataError, match="expected at most 4 members"):
        extract_tar(archive, tmp_path / "in", max_members=4)


def test_f33_owners_and_permissions_are_not_taken_over(tmp_path):
    archive = tar_of(tmp_path / "a.tar", ("tool", {"content": b"x", "mode": 0o6777, "uid": 12345}))
    extract_tar(archive, tmp_path / "in")
    status = (tmp_path / "in" / "tool").stat()
    assert status.st_uid == os.geteuid()
    assert status.st_mode & 0o7111 == 0


@pytest.mark.parametrize("keep", [0, 100, 512, 700, 1500, 3000])
def test_f33_a_damaged_archive_is_named(tmp_path, keep):
    archive = tar_of(tmp_path / "a.tar", SOUND, ("b", {"content": bytes(5000)}))
    archive.write_bytes(archive.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"a\.tar: expected a tar archive"):
        extract_tar(archive, tmp_path / "in")


def test_f33_a_file_in_the_way_of_a_folder_is_named(tmp_path):
    archive = tar_of(tmp_path / "a.tar", ("a", {"content": b"x"}), ("a/b", {"content": b"x"}))
    with pytest.raises(DataError, match=r"a\.tar: expected a tar archive"):
        extract_tar(archive, tmp_path / "in")


# F34, and the whole download


def voc_archive(folder, name, image_ids, split):
    """Write an archive with a small VOC2007."""
    tree = VocTree(folder / name / "VOCdevkit" / "VOC2007")
    for part in ("JPEGImages", "Annotations", "ImageSets/Main"):
        for path in (tree.root / part).iterdir():
            path.unlink()
    for image_id in image_ids:
        tree.more(image_id)
    tree.split(split, "\n".join(image_ids))
    path = folder / f"{name}.tar"
    with tarfile.open(path, "w") as tar:
        tar.add(folder / name / "VOCdevkit", "VOCdevkit")
    return path


@pytest.fixture
def published(server, tmp_path, monkeypatch):
    """Two archives on the server, as VOC2007 has them."""
    paths = {
        "2007": voc_archive(tmp_path / "made", "trainval", ["000001", "000002"], "trainval"),
        "2007-test": voc_archive(tmp_path / "made", "test", ["000003"], "test"),
    }
    table = {
        key: VocArchive(
            url=f"{server.url}/sound/{path.name}",
            md5=hashlib.md5(path.read_bytes()).hexdigest(),
            folder="VOCdevkit/VOC2007",
        )
        for key, path in paths.items()
    }
    for path in paths.values():
        server.files[path.name] = path.read_bytes()
    monkeypatch.setattr("detection.data.download.voc_archives", lambda: table)
    return paths


def assert_complete(target):
    root = target.parent.parent
    assert len(read_voc(root, "trainval", strict=True).records) == 2
    assert len(read_voc(root, "test", strict=True).records) == 1
    assert sorted(path.name for path in root.iterdir()) == ["VOCdevkit"]


def test_download_puts_both_archives_of_2007_in_one_folder(published, server, tmp_path):
    target = download_voc(2007, tmp_path / "data", patience=QUICK)
    assert target == tmp_path / "data" / "VOCdevkit" / "VOC2007"
    assert_complete(target)
    count = len(server.requests)
    assert download_voc(2007, tmp_path / "data", patience=QUICK) == target
    assert len(server.requests) == count


def test_download_asks_mirrors_first(published, server, tmp_path):
    mirrors = [f"{server.url}/missing/", f"{server.url}/wrong", f"{server.url}/mirror"]
    assert_complete(download_voc(2007, tmp_path / "data", mirrors=mirrors, patience=QUICK))
    faults = [fault for fault, _ in server.requests]
    assert faults == ["missing", "wrong", "mirror"] * 2


def test_download_takes_archives_that_are_here(published, server, tmp_path):
    archives = list(published.values())
    assert_complete(download_voc(2007, tmp_path / "data", archive=archives))
    assert server.requests == []
    assert all(path.is_file() for path in archives)


def test_download_refuses_an_archive_that_is_not_the_published_one(published, tmp_path):
    other = tmp_path / "other.tar"
    other.write_bytes(b"other")
    got = hashlib.md5(b"other").hexdigest()
    with pytest.raises(DataError, match=rf"other\.tar: expected md5 .* or .*, got {got}"):
        download_voc(2007, tmp_path / "data", archive=[other])
    with pytest.raises(DataError, match=r"no\.tar: expected a readable file"):
        download_voc(2007, tmp_path / "data", archive=[tmp_path / "no.tar"])


def test_download_refuses_a_year_that_there_is_not(tmp_path):
    with pytest.raises(ConfigError, match="expected 2007 to 2012, got 2006"):
        download_voc(2006, tmp_path)


def test_download_leaves_a_folder_alone_that_it_did_not_make(published, tmp_path):
    tree = VocTree(tmp_path / "data" / "VOCdevkit" / "VOC2007")
    before = sorted(tree.root.rglob("*"))
    with pytest.raises(DataError, match="expected nothing or an earlier download"):
        download_voc(2007, tmp_path / "data", patience=QUICK)
    assert sorted(tree.root.rglob("*")) == before


def test_download_names_an_archive_without_the_folder(published, tmp_path, monkeypatch):
    path = published["2007"]
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    table = {"2007": VocArchive(url="http://x/x.tar", md5=md5, folder="TrainVal/VOC2007")}
    monkeypatch.setattr("detection.data.download.voc_archives", lambda: table)
    with pytest.raises(DataError, match="expected a folder TrainVal/VOC2007"):
        download_voc(2007, tmp_path / "data", archive=[path])
    assert list((tmp_path / "data").iterdir()) == []


def test_the_table_is_torchvisions():
    archives = voc_archives()
    assert archives["2007-test"].filename == "VOCtest_06-Nov-2007.tar"
    assert archives["2012"].folder == "VOCdevkit/VOC2012"
    assert all(len(item.md5) == 32 for item in archives.values())


KILLED = """
    import os, signal, tarfile
    from pathlib import Path
    from detection.data import download
    table = {{key: download.VocArchive(url="http://x/x.tar", md5=md5, folder="VOCdevkit/VOC2007")
              for key, md5 in {md5s!r}.items()}}
    download.voc_archives = lambda: table
    calls = 0
    def dying(function):
        def wrapper(*arguments, **options):
            global calls
            calls += 1
            if calls == {calls}:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)
        return wrapper
    tarfile.TarFile.makefile = dying(tarfile.TarFile.makefile)
    Path.replace = dying(Path.replace)
    download.download_voc(2007, Path({root!r}), archive=[Path(p) for p in {archives!r}])
"""


# 5 files, stamp, move; then 3 files, 3 moves, stamp
@pytest.mark.parametrize("calls", [3, 7, 9, 12, 14])
def test_f34_after_a_kill_nothing_looks_complete_that_is_not(published, tmp_path, calls):
    archives = [str(path) for path in published.values()]
    md5s = {key: hashlib.md5(path.read_bytes()).hexdigest() for key, path in published.items()}
    root = tmp_path / "data"
    program = textwrap.dedent(KILLED).format(
        md5s=md5s, calls=calls, root=str(root), archives=archives
    )
    killed = subprocess.run([sys.executable, "-c", program], check=False, timeout=200)
    assert killed.returncode == -signal.SIGKILL
    for split, count in (("trainval", 2), ("test", 1)):
        with contextlib.suppress(DataError):
            assert len(read_voc(root, split, strict=True).records) == count
    assert_complete(download_voc(2007, root, archive=list(published.values())))
