"""`run_all.sh --data` as a shell calls it: the plan, its config, a second call, and errors."""

import subprocess
import sys
from collections.abc import Sequence

import pytest

from lib.config.load import load
from lib.planning import rates
from lib.planning.__main__ import main
from lib.planning.request import read_plan
from tests import scripts
from tests.conftest import ROOT


def make_plan(arguments: Sequence[str]) -> int:
    """`python -m lib.planning` with short measurements."""
    rates.SECONDS = 0.1
    return main(arguments)


def call(tmp_path, *arguments):
    command = [sys.executable, "-m", "lib.cli", *map(str, arguments)]
    return subprocess.run(
        [*command, "--set", f"work={tmp_path}/work", "--set", "run.threads=1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


@pytest.fixture
def planned(tmp_path, folder_of_classes):
    """A plan of the folder of classes, and what its command line printed; no stage is run."""
    options = ["--data", str(folder_of_classes), "--test", str(folder_of_classes.parent / "new")]
    options += ["--set", f"work={tmp_path}/work", "--set", "run.threads=1"]
    return scripts.call_in_fork(make_plan, options)


def test_a_plan_is_said_and_written_and_found_again(tmp_path, folder_of_classes, planned):
    assert planned.returncode == 0, planned.stderr
    for line in (
        "catalog: a folder for each class",
        "24 labelled products",
        "plan: ",
        "ends after",
    ):
        assert line in planned.stderr
    folder = tmp_path / "work" / "shop-train"
    config = load(folder / "config.toml")
    assert config.models["probe"].fusion.inputs == tuple(config.backbones)
    expected = read_plan(folder)["expected_seconds"]
    assert list(expected) == ["plan", "extract", "train", "predict", "features", "stack", "submit"]

    edited = (folder / "config.toml").read_text() + "\n# mine\n"
    (folder / "config.toml").write_text(edited)
    paths = ["--data", folder_of_classes, "--test", folder_of_classes.parent / "new"]
    again = call(tmp_path, *paths, "--dry-run")
    assert again.returncode == 0, again.stderr
    assert f"{folder}/extract/train: fresh" in again.stdout
    assert "extract/embeddings/train: missing" in again.stdout
    assert (folder / "config.toml").read_text() == edited


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "{folder}", "--time-limit", "20"], "--time-limit 20: write a duration"),
        (["--data", "{folder}", "--dry-run"], "no plan yet; call it without --dry-run first"),
        (["configs/sample.toml", "--test", "x"], "--test belongs to --data"),
        (["--data", "nowhere.csv"], "nowhere.csv: no such file or folder"),
        (["--data", "{folder}", "--set", "data.bad=1"], "data.bad"),
    ],
)
def test_an_error_is_one_line(tmp_path, folder_of_classes, arguments, message):
    arguments = [argument.format(folder=folder_of_classes) for argument in arguments]
    result = call(tmp_path, *arguments)
    assert result.returncode == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
