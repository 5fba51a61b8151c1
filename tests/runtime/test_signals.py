import os
import signal
import subprocess
import sys

import pytest

from tests.conftest import ROOT

# One call of a library that takes minutes and looks at no signal, as the fit of a booster.
IN_A_LIBRARY = """
import hashlib
from threading import Timer
from lib.runtime import signals
signals.GRACE_SECONDS = 0.2
signals.raise_when_terminated()
signals.end_when_stuck()
Timer(0.5, print, ["started"], {"flush": True}).start()
hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)
"""
IN_PYTHON = """
import time
from lib.runtime import signals
signals.raise_when_terminated()
signals.end_when_stuck()
try:
    print("started", flush=True)
    time.sleep(60)
except signals.Terminated:
    raise SystemExit(7)
"""


def send(script: str, number: int) -> tuple[int, str]:
    """The exit status of a script that gets a signal, and what it printed on stderr."""
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(number)
    _, error = process.communicate(timeout=60)
    return process.returncode, error


@pytest.mark.parametrize(
    ("number", "word"), [(signal.SIGTERM, "terminated"), (signal.SIGINT, "interrupted")]
)
def test_a_run_that_is_deep_in_a_library_ends_all_the_same(number, word):
    line = f"error: {word}; rerun the same command to resume\n"
    assert send(IN_A_LIBRARY, number) == (128 + number, line)


def test_python_hears_the_signal_at_once():
    assert send(IN_PYTHON, signal.SIGTERM) == (7, "")


def test_torchrun_ends_its_processes_as_it_likes(by_torchrun, monkeypatch):
    from lib.runtime import signals

    monkeypatch.setattr(signal, "signal", lambda *_: pytest.fail("a handler was set"))
    signals.raise_when_terminated()
