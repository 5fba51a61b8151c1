"""Folders of predictors: deleted at the end, kept while another lives, cleared after a kill."""

import os
import signal
import subprocess
import sys

from lib.serving.temporary import temporary_folder
from tests.conftest import ROOT

HOLD = """
import sys, time
from pathlib import Path
from lib.serving.temporary import temporary_folder
with temporary_folder(Path(sys.argv[1])) as folder:
    (folder / "picture").write_bytes(b"1")
    print(folder, flush=True)
    time.sleep(60)
"""


def test_a_folder_is_deleted_at_the_end_and_not_while_it_is_in_use(tmp_path):
    with temporary_folder(tmp_path) as first, temporary_folder(tmp_path) as second:
        (first / "picture").write_bytes(b"1")
        assert first != second
        with temporary_folder(tmp_path):
            assert (first / "picture").exists()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_deleted_by_the_next(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        left = process.stdout.readline().strip()
        os.kill(process.pid, signal.SIGKILL)
    assert [str(path) for path in tmp_path.iterdir()] == [left]
    with temporary_folder(tmp_path) as folder:
        assert list(tmp_path.iterdir()) == [folder]
