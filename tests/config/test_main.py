import subprocess
import sys

from tests.conftest import ROOT


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lib.config", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


def test_a_key_is_printed():
    assert run("train.lr").stdout.startswith("train.lr = 0.05\n")


def test_markdown_is_the_committed_file():
    assert run("--markdown").stdout == (ROOT / "docs/settings.md").read_text()


def test_an_unknown_key_is_one_line_on_stderr_and_status_2():
    result = run("train.batch")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "error: train.batch is now train.batch_size\n"


def test_a_reader_that_stops_early_sees_no_traceback():
    command = f"{sys.executable} -m lib.config | head -1"
    result = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=ROOT)
    assert (result.stdout, result.stderr) == ("Top level\n", "")
