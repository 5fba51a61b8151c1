import os
import signal
import subprocess
import sys

from lib.runtime import scripts
from lib.runtime.log import configure_logging
from tests.conftest import ROOT
from tests.test_cli import TINY


def test_a_script_that_is_killed_is_one_line(capsys):
    configure_logging()
    killed = [sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"]
    assert scripts.run_script(killed) == 128 + signal.SIGKILL
    error = capsys.readouterr().err
    assert error.startswith("error: -c was ended by SIGKILL (perhaps for lack of memory")
    assert error.endswith("; rerun the same command to resume\n")
    assert scripts.run_script([sys.executable, "-c", "raise SystemExit(3)"]) == 3


def test_kill_reaches_the_script_that_is_running(tmp_path):
    (tmp_path / "tiny.toml").write_text(TINY)
    sleeping = tmp_path / "sleeping.py"
    sleeping.write_text(
        "import sys, time; from lib import cli\n"
        "cli._run_stage = lambda *_: [print('started', flush=True), time.sleep(60)]\n"
        f"sys.exit(cli.run_stage(cli.extract, ['--config', {str(tmp_path / 'tiny.toml')!r}]))\n"
    )
    script = (
        "import sys; from lib.runtime import scripts, signals\n"
        "signals.raise_when_terminated()\n"
        f"sys.exit(scripts.run_script([sys.executable, {str(sleeping)!r}]))\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == "started\n"
    parent.terminate()
    _, error = parent.communicate(timeout=30)
    assert parent.returncode == 143
    assert error == "error: terminated; rerun the same command to resume\n"


def test_the_memory_of_a_script_and_its_children_is_measured():
    child = "x = bytearray(60 << 20); import time; time.sleep(1.2)"
    script = (
        "import subprocess, sys; x = bytearray(60 << 20);"
        f"subprocess.run([sys.executable, '-c', {child!r}])"
    )
    memory = scripts.PeakMemory()
    assert scripts.run_script([sys.executable, "-c", script], memory) == 0
    assert 120 << 20 < memory.peak < 300 << 20
