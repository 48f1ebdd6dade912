import os

from detection.data.overlap import identity_of, shared_files


def written(folder, **contents):
    folder.mkdir()
    paths = []
    for name, content in contents.items():
        (folder / name).write_bytes(content)
        paths.append(folder / name)
    return paths


def test_copies_are_found_by_content_and_others_are_not(tmp_path):
    first = written(tmp_path / "a", x=b"one", y=b"two", z=b"longer")
    second = written(tmp_path / "b", p=b"two", q=b"six", r=b"another length")
    assert shared_files(first, second) == [(first[1], second[0])]


def test_a_link_is_the_file_it_points_to(tmp_path):
    (path,) = written(tmp_path / "a", x=b"one")
    os.link(path, tmp_path / "hard")
    (tmp_path / "soft").symlink_to(path)
    others = [tmp_path / "hard", tmp_path / "soft", tmp_path / "a" / ".." / "a" / "x"]
    assert shared_files([path], others) == [(path, other) for other in others]
    assert {identity_of(other) for other in others} == {identity_of(path)}


def test_a_file_that_is_not_there_is_in_no_pair(tmp_path):
    (path,) = written(tmp_path / "a", x=b"one")
    gone = tmp_path / "gone"
    assert shared_files([gone, path], [gone]) == []
    assert identity_of(gone) is None


def test_a_file_of_a_length_of_its_own_is_not_read(tmp_path, monkeypatch):
    first = written(tmp_path / "a", x=b"one", y=b"four")
    second = written(tmp_path / "b", p=b"one", q=b"longest")
    read = []

    def digest(path):
        read.append(path)
        return path.read_text()

    monkeypatch.setattr("detection.data.overlap.sha256_of_file", digest)
    assert shared_files(first, second) == [(first[0], second[0])]
    assert read == [first[0], second[0]]
