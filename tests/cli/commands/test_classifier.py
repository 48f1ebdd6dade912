import importlib

import pytest

from detection.cli import main


@pytest.fixture
def called(monkeypatch):
    """What the functions behind the commands are called with, instead of doing their work."""
    calls = []

    def noting(name):
        return lambda *given, **named: calls.append((name, given, named))

    for module, name in (
        ("pretrain", "pretrain"),
        ("evaluate", "classify_views"),
        ("evaluate", "classify_eval"),
    ):
        full = importlib.import_module(f"detection.classification.{module}")
        monkeypatch.setattr(full, name, noting(name))
    return calls


def test_pretrain_hands_on_folder_flags_and_settings(tmp_path, called, capsys):
    out = tmp_path / "run"
    assert main(["pretrain", "--out", str(out), "--resume", "--pretrain.epochs", "7"]) == 0
    ((name, (config, folder), flags),) = called
    assert (name, folder) == ("pretrain", out)
    assert config.pretrain.epochs == 7
    assert flags == {"trackers": (), "resume": True, "override": False, "overwrite": False}
    assert capsys.readouterr().out.endswith(f"next: detection classify-views {out}\n")


def test_views_start_from_the_settings_of_the_run(tmp_path, called):
    (tmp_path / "config.yaml").write_text(f"pretrain: {{epochs: 3, root: {tmp_path}}}\n")
    (tmp_path / "model.safetensors").write_bytes(b"")
    (tmp_path / "val").mkdir()
    options = ["--classify.views", "full", "--out", str(tmp_path / "out")]
    assert main(["classify-views", str(tmp_path), *options]) == 0
    ((name, (run, config, out), _),) = called
    assert (name, run, out) == ("classify_views", tmp_path, tmp_path / "out")
    assert (config.pretrain.epochs, config.classify.views) == (3, ("full",))


def test_classify_eval_may_overwrite(tmp_path, called):
    words = ["--data.root", str(tmp_path), "--out", str(tmp_path / "a"), "--overwrite"]
    assert main(["classify-eval", *words]) == 0
    ((name, (_, out), flags),) = called
    assert (name, out, flags) == ("classify_eval", tmp_path / "a", {"overwrite": True})


def test_classify_eval_asks_for_the_folders_that_it_reads(tmp_path, called, capsys):
    out = ["classify-eval", "--out", str(tmp_path / "a"), "--classify.svm_source"]
    here, gone = str(tmp_path), str(tmp_path / "gone")
    assert main([*out, "folder", "--classify.svm_root", gone, "--data.root", here]) == 2
    assert "gone: expected a folder of class folders" in capsys.readouterr().err
    assert main([*out, "objects", "--classify.svm_root", here, "--data.root", gone]) == 2
    assert called == []
    assert main([*out, "folder", "--classify.svm_root", here, "--data.root", gone]) == 0
    assert main([*out, "objects", "--classify.svm_root", gone, "--data.root", here]) == 0
    assert len(called) == 2


def test_a_section_that_a_command_does_not_use_is_refused(called, capsys):
    assert main(["pretrain", "--svm.c", "1"]) == 2
    assert capsys.readouterr().err.startswith("error: --svm.c: unknown option")
    assert called == []
