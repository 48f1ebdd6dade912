"""The files around a release agree with one another."""

import configparser
import re
from pathlib import Path

import yaml

import detection
from detection.cli.commands import COMMANDS

ROOT = Path(__file__).parents[1]


def text_of(name):
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_changelog_has_a_section_for_the_version():
    headings = re.findall(r"^## \[(.+)\]", text_of("CHANGELOG.md"), re.MULTILINE)
    assert headings[:2] == ["Unreleased", detection.__version__]


def test_the_citation_is_of_this_version_and_licence():
    citation = yaml.safe_load(text_of("CITATION.cff"))
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == detection.__version__
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert citation["license"] == setup["metadata"]["license"]
    for work in (citation, *citation["references"]):
        assert work["title"]
        assert work["authors"]


def test_the_workflow_runs_what_continuous_integration_runs():
    jobs = yaml.safe_load(text_of(".github/workflows/ci.yml"))["jobs"]
    runs = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert runs == [".ci/run"]
    assert (ROOT / ".ci/run").stat().st_mode & 0o100


def test_the_container_starts_the_command():
    lines = text_of("Dockerfile").splitlines()
    assert lines[-2:] == ['ENTRYPOINT ["detection"]', 'CMD ["--help"]']
    examples = re.findall(r"docker run .* sppnet-detection (\w+)", text_of("Dockerfile"))
    assert len(examples) == 2
    assert set(examples) <= set(COMMANDS)
    (python,) = re.findall(r"^FROM python:(\d\.\d+)-", text_of("Dockerfile"), re.MULTILINE)
    assert f"Programming Language :: Python :: {python}\n" in text_of("setup.cfg")
    extras = re.findall(r'"/src\[([\w,]+)\]"', text_of("Dockerfile"))[0].split(",")
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert set(extras) <= set(setup["options.extras_require"])


def test_the_extra_that_documented_commands_name_is_still_there():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert setup["options.extras_require"]["fast"] == ""
    assert "numba>=" in setup["options"]["install_requires"]
