from detection.cli import main
from tests.backbones.caffe.files import caffe_file
from tests.backbones.caffe.writer import V0

LEVELS = (1, 2, 3, 6)


def fail(capsys, *arguments):
    assert main(["weights", *map(str, arguments)]) == 2
    output = capsys.readouterr()
    assert output.err.count("\n") == 1
    return output.err


def test_import_works_from_the_command_line(tmp_path, capsys):
    source, _ = caffe_file(tmp_path, "zf5", V0, levels=LEVELS)
    out = tmp_path / "weights" / "own.safetensors"
    assert main(["weights", "import", str(source), "--backbone", "zf5", "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert "zf5, constant128" in text
    assert "fc6 of 12,800 inputs" in text
    assert f"--backbone.name zf5 --backbone.weights {out}" in text
    assert main(["weights", "list", "--folder", str(out.parent)]) == 0
    assert f"file: {out}" in capsys.readouterr().out


def test_mistakes_on_the_command_line_are_one_line(tmp_path, capsys):
    out = tmp_path / "own.safetensors"
    source = tmp_path / "net.caffemodel"
    source.write_bytes(b"not a network")
    assert "choose from" in fail(capsys, "lst")
    assert "expected a file to read" in fail(capsys, "import")
    assert "--backbone: expected the name" in fail(capsys, "import", source)
    assert "--out: expected a file" in fail(capsys, "import", source, "--backbone", "zf5")
    given = ["import", source, "--backbone", "zf5", "--out"]
    assert "ends in .safetensors" in fail(capsys, *given, tmp_path / "own.pth")
    assert f"{source}: byte" in fail(capsys, *given, out)
    assert not out.exists()
    assert "whole numbers" in fail(capsys, *given, out, "--levels", "6,x")
    out.write_bytes(b"x")
    assert "another file" in fail(capsys, "import", out, "--backbone", "zf5", "--out", out)
    assert "weights list: expected no file" in fail(capsys, "list", source)
