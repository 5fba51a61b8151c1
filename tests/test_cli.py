"""Options, messages and exit statuses of the scripts; `tests/stages/test_runs.py` runs them all."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from lib import cli
from lib.cli import run_all, run_stage
from lib.pipeline.experiment import load_experiment
from lib.pipeline.manifest import MANIFEST
from lib.stages import extract, train
from lib.stages.order import build_stage
from tests.conftest import ROOT
from tests.scripts import SCRIPTS, run_script

TINY = """
name = "tiny"
[data]
source = "sample"
[sample]
train_products = 60
test_products = 10
num_classes = 3
image_size = 16
[split]
locked = 0.2
n_folds = 2
[models.a]
arch = "small"
weights = "none"
n_folds = 2
[run]
threads = 1
device = "cpu"
"""


@pytest.fixture
def config(tmp_path) -> str:
    path = tmp_path / "tiny.toml"
    path.write_text(f'work = "{tmp_path}"\n{TINY}')
    return str(path)


@pytest.fixture(autouse=True)
def restored_environment() -> Iterator[None]:
    """Undo the limits of threads and progress bars that a stage sets for its libraries."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """The folder of the experiment after stage 01; read only."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "tiny.toml").write_text(f'work = "{folder}"\n{TINY}')
    build_stage(extract, load_experiment(folder / "tiny.toml", []), rebuild=False)
    return folder / "tiny"


@pytest.fixture
def splits_missing(config, finished, tmp_path) -> str:
    """A config whose stage 01 has only the splits to build."""
    shutil.copytree(finished, tmp_path / "tiny")
    shutil.rmtree(tmp_path / "tiny" / "extract" / "splits")
    return config


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def test_progress_goes_to_stderr_and_to_a_log_file_beside_the_artifacts(config, tmp_path, capsys):
    assert run_stage(extract, ["--config", config]) == 0
    output = capsys.readouterr()
    assert output.out == ""
    assert f"{tmp_path}/tiny/extract/train: building (missing)" in output.err
    built = len(list((tmp_path / "tiny").rglob(MANIFEST)))
    assert f"extract: {built} built, 0 fresh" in output.err
    (log,) = (tmp_path / "tiny" / "logs").iterdir()
    assert re.fullmatch(r"\d{8}-\d{6}-extract\.log", log.name)
    text = log.read_text()
    assert "DEBUG lib.cli: command: " in text
    assert f"INFO lib.pipeline.artifact: {tmp_path}/tiny/extract/train: building" in text


def test_verify_names_damaged_files_and_rebuild_mends_them(config, finished, tmp_path, capsys):
    shutil.copytree(finished, tmp_path / "tiny")
    assert run_all([config, "--verify"]) == 0
    count = len(list(finished.rglob(MANIFEST)))
    assert f"{count} artifacts, none is damaged" in capsys.readouterr().err
    splits = tmp_path / "tiny" / "extract" / "splits" / "splits.arrow"
    content = bytearray(splits.read_bytes())
    content[-9] ^= 1
    splits.write_bytes(content)
    assert run_all([config, "--verify"]) == 2
    errors = capsys.readouterr().err
    assert f"{splits} is damaged" in errors
    assert "1 files are damaged; pass --rebuild" in errors
    assert run_stage(extract, ["--config", config]) == 2
    assert "splits.arrow is damaged or gone" in capsys.readouterr().err
    assert run_stage(extract, ["--config", config, "--rebuild"]) == 0
    assert run_all([config, "--verify"]) == 0


def test_a_lock_that_is_a_folder_is_one_line(config, finished, tmp_path, capsys):
    shutil.copytree(finished, tmp_path / "tiny")
    (tmp_path / "tiny" / "extract" / ".splits.lock").unlink(missing_ok=True)
    (tmp_path / "tiny" / "extract" / ".splits.lock").mkdir()
    shutil.rmtree(tmp_path / "tiny" / "extract" / "splits")
    assert run_stage(extract, ["--config", config]) == 2
    assert ".splits.lock is a folder or a link where a lock should lie" in capsys.readouterr().err


def test_quiet_reports_warnings_alone_but_logs_everything(splits_missing, tmp_path, capsys):
    assert run_stage(extract, ["--config", splits_missing, "--quiet"]) == 0
    assert capsys.readouterr().err == ""
    (log,) = (tmp_path / "tiny" / "logs").iterdir()
    assert "extract/splits: built in" in log.read_text()


def test_verbose_reports_fresh_artifacts_too(splits_missing, tmp_path, capsys):
    assert run_stage(extract, ["--config", splits_missing]) == 0
    assert f"{tmp_path}/tiny/extract/train: fresh" not in capsys.readouterr().err
    assert run_stage(extract, ["--config", splits_missing, "--verbose"]) == 0
    assert f"{tmp_path}/tiny/extract/train: fresh" in capsys.readouterr().err


def test_the_resolved_config_is_written_beside_the_artifacts(splits_missing, tmp_path):
    assert run_stage(extract, ["--config", splits_missing, "--set", "train.lr=0.005"]) == 0
    written = tomllib.loads((tmp_path / "tiny" / "config.toml").read_text())
    assert written["sample"]["train_products"] == 60
    assert written["models"]["a"]["lr"] == 0.005


def test_show_config_prints_all_settings_and_builds_nothing(config, tmp_path, capsys):
    before = files(tmp_path)
    assert run_stage(extract, ["--config", config, "--show-config", "--set", "seed=5"]) == 0
    shown = tomllib.loads(capsys.readouterr().out)
    assert shown["seed"] == 5
    assert shown["models"]["a"]["arch"] == "small"
    assert files(tmp_path) == before


@pytest.mark.parametrize("option", ["--show-config", "--dry-run"])  # more and less than a buffer
def test_output_that_nobody_reads_any_more_ends_the_command_in_silence(config, option):
    """As `| head` does."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer) as output:
        done = subprocess.run(
            [sys.executable, "01_extract.py", "--config", config, option],
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


def test_a_dry_run_shows_every_artifact_and_changes_nothing(config, tmp_path, capsys):
    before = files(tmp_path)
    assert run_stage(train, ["--config", config, "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"{tmp_path}/tiny/cnn/a/fold{i}: missing" for i in (0, 1)]
    assert files(tmp_path) == before


def test_the_status_has_a_line_for_each_artifact_and_changes_nothing(config, tmp_path, finished):
    shutil.copytree(finished, tmp_path / "tiny")
    before = files(tmp_path)
    probe = (
        "import sys; from lib.cli import run_all; run_all([sys.argv[1], '--status']);"
        "sys.exit(3 if {'torch', 'numpy', 'lightgbm'} & sys.modules.keys() else 0)"
    )
    command = [sys.executable, "-c", probe, config]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    count = len(list(finished.rglob(MANIFEST)))
    assert lines[0].startswith(f"extract: {count} of {count} fresh, ")
    assert sum(line.endswith(": fresh") for line in lines) == count
    assert any(re.search(rf" unknown  {tmp_path}/tiny/cnn/a/fold1: missing$", x) for x in lines)
    assert lines[-1].startswith("left: unknown for ")
    assert files(tmp_path) == before


def test_a_stage_names_the_script_that_must_run_before(config, capsys):
    assert run_stage(train, ["--config", config]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: ")
    assert last.endswith("is missing; run 01_extract.py first")


@pytest.mark.parametrize("run", [run_all, lambda argv: run_stage(extract, ["--config", *argv])])
def test_an_unknown_config_is_one_line_and_exit_status_2(run, tmp_path, capsys):
    assert run([str(tmp_path / "none.toml")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {tmp_path}/none.toml")


def test_an_unknown_option_is_exit_status_2(config, capsys):
    with pytest.raises(SystemExit) as error:
        run_stage(extract, ["--config", config, "--rebild"])
    assert error.value.code == 2
    assert "--rebild" in capsys.readouterr().err


def test_an_unexpected_error_keeps_its_traceback(config, monkeypatch):
    def fail(experiment):
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(cli, "declare_all", fail)
    with pytest.raises(RuntimeError, match="a fault of ours"):
        run_stage(extract, ["--config", config])


def test_a_file_in_place_of_a_folder_is_one_line(config, tmp_path, capsys):
    (tmp_path / "tiny").write_text("a file where the folder of the experiment should be")
    assert run_stage(extract, ["--config", config]) == 2
    assert f"{tmp_path}/tiny/logs: Not a directory; mend that" in capsys.readouterr().err


def test_ctrl_c_is_one_line_and_exit_status_130(config, tmp_path):
    command = [sys.executable, "01_extract.py", "--config", config]
    process = subprocess.Popen(
        [*command, "--set", "sample.train_products=50000"],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that starts the tests in the background has them ignore SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "building" in line:
            os.kill(process.pid, signal.SIGINT)
            break
    rest = process.stderr.read()
    assert process.wait() == 130
    process.stderr.close()
    assert rest.splitlines()[-1] == "error: interrupted; rerun the same command to resume"
    assert "Traceback" not in rest


def test_lack_of_memory_anywhere_is_one_line(config, capsys, monkeypatch):
    def no_memory(*_):
        raise MemoryError("Unable to allocate 3.2 TiB")

    monkeypatch.setattr(cli, "build_stage", no_memory)
    assert run_stage(extract, ["--config", config]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert ": out of memory; free some, or lower run.threads or run.workers" in error


@pytest.mark.parametrize("script", SCRIPTS.values())
def test_help_shows_an_example(script):
    result = run_script(script, "--help")
    assert result.returncode == 0
    assert f"python {script} --config" in result.stdout


def test_help_of_all_stages_shows_an_example(capsys):
    with pytest.raises(SystemExit) as error:
        run_all(["--help"])
    assert error.value.code == 0
    assert "./run_all.sh configs/fashion.toml --set train.lr=0.01 --dry-run" in (
        capsys.readouterr().out
    )
