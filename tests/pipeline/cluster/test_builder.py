"""What a process says of an artifact that it builds, and what it waits for."""

import threading

from lib.pipeline.artifact import Artifact, ensure
from lib.pipeline.cluster.builder import outcome, wait_for_inputs
from lib.pipeline.manifest import read_manifest
from lib.utils.files import file_lock
from tests.pipeline.cluster import builds


def test_an_outcome_is_plain_text(tmp_path):
    assert outcome(Artifact(tmp_path / "a", builds.write_process), False) == ("done",)
    failed = outcome(Artifact(tmp_path / "b", builds.fail), False)
    assert failed == ("UserError", "this one cannot be built")
    kind, number, text, path = outcome(Artifact(tmp_path / "c", builds.fail_to_write), False)
    assert (kind, number, text) == ("OSError", "21", "Is a directory")
    assert path.endswith("c.partial/folder")


def test_an_input_that_is_seen_late_is_waited_for(tmp_path):
    source = Artifact(tmp_path / "source", builds.write_process)
    artifact = Artifact(tmp_path / "a", builds.write_process, inputs={"source": source})
    threading.Timer(0.3, ensure, (source, False)).start()
    wait_for_inputs(artifact)
    assert read_manifest(source.path) is not None


def test_an_input_that_never_comes_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("lib.pipeline.cluster.builder.LATE_SECONDS", 0.1)
    source = Artifact(tmp_path / "source", builds.write_process)
    artifact = Artifact(tmp_path / "a", builds.write_process, inputs={"source": source})
    kind, text = outcome(artifact, False)
    assert kind == "UserError"
    assert f"{source.path} is missing" in text


def test_the_lock_of_a_process_that_just_died_is_waited_for(tmp_path):
    lock = file_lock(tmp_path / ".a.lock")
    lock.__enter__()
    threading.Timer(0.4, lock.__exit__, (None, None, None)).start()
    assert outcome(Artifact(tmp_path / "a", builds.write_process), False) == ("done",)
