"""Some faults of every kind, in real runs. `python -m tests.faults.campaign` tries thousands."""

import os
import random
import shutil
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.faults.fault import KINDS, SLOW_STAGES, draw_fault
from tests.faults.reference import Reference, build_reference
from tests.faults.server import Server
from tests.faults.trial import try_fault

NUM_FAULTS = 2  # of each kind


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    if shutil.which("cc") is None:
        pytest.skip("no C compiler, which the failing system calls need")
    with Server(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(scope="module")
def reference(server, tmp_path_factory) -> Reference:
    whole = build_reference(server, tmp_path_factory.mktemp("faults"), with_new=False)
    quick = {name: stage for name, stage in whole.stage_of.items() if stage not in SLOW_STAGES}
    return replace(whole, stage_of=quick)  # the campaign does the others


@pytest.mark.parametrize("number", range(NUM_FAULTS))
@pytest.mark.parametrize("kind", KINDS)
def test_after_a_fault_the_same_command_ends_with_the_same_bytes(server, reference, kind, number):
    if kind == "missing rights" and os.geteuid() != 0:
        pytest.skip("only root can run as another user")
    fault = draw_fault(kind, random.Random(f"{kind} {number}"), reference, server)
    result = try_fault(server, reference, fault)
    assert not result.is_defect, (fault.text, result)


def test_a_silent_difference_would_be_seen(server, reference, monkeypatch):
    fault = draw_fault("edited settings", random.Random(0), reference, server)
    (reference.work / "submit" / "ladder.txt").open("a").write("changed\n")
    assert try_fault(server, reference, fault).outcome in ("silent", "lost")
