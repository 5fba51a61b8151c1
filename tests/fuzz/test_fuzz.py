"""Some thousands of mutated inputs; `python -m tests.fuzz.campaign` tries a million by hand."""

import os
import subprocess
import sys

from lib.errors import UserError
from tests.conftest import ROOT
from tests.fuzz import worker
from tests.fuzz.campaign import fuzz
from tests.fuzz.family import Family

COUNT = 2500


def test_no_mutated_input_is_a_finding():
    """In a process of its own: one that has started threads cannot be forked."""
    command = [sys.executable, "-m", "tests.fuzz.campaign", "--count", str(COUNT), "--quick"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout + process.stderr
    assert "| boosters-xgboost |" in process.stdout


def _misbehave(data: bytes, inside) -> None:
    """One kind of misbehaviour for each seed."""
    kind = int(data or b"0")
    if kind == 1:
        raise UserError("a clear line")
    if kind == 2:
        raise KeyError("a traceback")
    if kind == 3:
        os.abort()
    if kind == 4:
        import mmap  # malloc may have as much at hand

        mmap.mmap(-1, 64 << 20).write(b"x" * (64 << 20))
    if kind == 5:
        (inside.parent / "elsewhere").write_bytes(b"x")
    if kind == 6:
        import pickle

        pickle.loads(b"cposix\ngetpid\n.")
    if kind == 7:
        while True:
            pass
    if kind == 8:
        import warnings

        for number in range(100):
            warnings.warn(f"storm {number}", stacklevel=2)


def test_the_worker_sees_each_kind_of_finding(monkeypatch, tmp_path):
    monkeypatch.setattr(worker, "MAX_SECONDS", 0.5)
    seeds = [b"%d" % kind for kind in range(9)]
    family = Family("misbehavior", lambda _: seeds, _misbehave, max_bytes=32 << 20)
    tally = fuzz(family, range(len(seeds)))
    words = ["KeyError", "SIGABRT", "memory", "elsewhere", "pickle.find_class", "CPU time", "storm"]
    assert [finding.number for finding in tally.findings] == [2, 3, 4, 5, 6, 7, 8]
    for word, finding in zip(words, tally.findings, strict=True):
        assert word in finding.text
    assert tally.counts[worker.ACCEPTED] == tally.counts[worker.REFUSED] == 1


def test_an_input_follows_from_its_number_alone():
    family = Family("x", lambda _: [], lambda *_: None)
    seeds = [b'{"a": 12}\n' * 9, b"another seed"]
    inputs = [family.input(number, seeds) for number in range(300)]
    assert inputs == [family.input(number, seeds) for number in range(300)]
    assert len(set(inputs)) > 250
