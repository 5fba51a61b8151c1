"""Fresh, stale, missing and unfinished artifacts, and recovery from kills at any moment."""

import errno
import json
import logging
import multiprocessing
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from lib.errors import UserError
from lib.pipeline.artifact import Artifact, ensure, link, status, status_all
from lib.pipeline.fingerprint import fingerprint
from lib.pipeline.manifest import MANIFEST, read_manifest


@pytest.fixture(autouse=True)
def empty_cache():
    fingerprint.cache_clear()


def text_artifact(path: Path, words: str, **options) -> Artifact:
    """An artifact with one file of text."""

    def build(folder: Path) -> dict:
        (folder / "words.txt").write_text(words)
        return {"rows": len(words)}

    return Artifact(path, build, **options)


def counting_artifact(path: Path, steps: int, **options) -> Artifact:
    """Writes one file a step, and continues after those that are there."""

    def build(folder: Path) -> dict:
        done = len(list(folder.glob("step-*")))
        for step in range(done, steps):
            (folder / f"step-{step}").write_text(str(os.getpid()))
            time.sleep(0.02)
        return {"resumed": done}

    return Artifact(path, build, resumable=True, **options)


def manifest_of(path: Path) -> dict:
    manifest = read_manifest(path)
    assert manifest is not None
    return manifest


def test_an_artifact_is_built_once_then_fresh(tmp_path):
    artifact = text_artifact(tmp_path / "a", "hello", config={"lr": 0.1, "size": (1, 2)})
    assert status(artifact).state == "missing"
    assert ensure(artifact, rebuild=False)
    assert status(artifact).state == "fresh"
    assert not ensure(artifact, rebuild=False)
    manifest = manifest_of(tmp_path / "a")
    assert manifest["facts"] == {"rows": 5}
    assert list(manifest["files"]) == ["words.txt"]


def test_a_build_is_logged_with_its_reason_and_its_facts(tmp_path, caplog):
    caplog.set_level(logging.DEBUG, "lib")
    artifact = text_artifact(tmp_path / "a", "hello")
    ensure(artifact, rebuild=False)
    ensure(artifact, rebuild=False)
    building, built, fresh = caplog.records
    assert building.getMessage() == f"{artifact.path}: building (missing)"
    assert built.getMessage().startswith(f"{artifact.path}: built in ")
    assert built.getMessage().endswith(": rows 5")
    assert fresh.getMessage() == f"{artifact.path}: fresh"
    assert [one.levelname for one in caplog.records] == ["INFO", "INFO", "DEBUG"]


def test_a_stale_artifact_names_the_changed_setting_and_stays(tmp_path):
    old = text_artifact(tmp_path / "a", "old", config={"train": {"lr": 0.03}})
    ensure(old, rebuild=False)
    changed = text_artifact(tmp_path / "a", "new", config={"train": {"lr": 0.01}})
    with pytest.raises(UserError, match=r"train.lr 0.03 -> 0.01.*--rebuild"):
        ensure(changed, rebuild=False)
    assert (tmp_path / "a" / "words.txt").read_text() == "old"
    assert ensure(changed, rebuild=True)
    assert (tmp_path / "a" / "words.txt").read_text() == "new"
    assert sorted(p.name for p in tmp_path.iterdir() if not p.name.startswith(".")) == ["a"]


def test_settings_that_come_and_go_and_new_formats_are_named(tmp_path):
    ensure(text_artifact(tmp_path / "a", "x", config={"old": 1}), rebuild=False)
    changed = text_artifact(tmp_path / "a", "x", config={"new": 2}, version=3)
    assert status(changed).reasons == ("new unset -> 2", "old 1 -> unset", "format 2 -> 3")


def test_a_change_travels_downstream_only_if_an_input_changes(tmp_path):
    def chain(words: str, note: int) -> list[Artifact]:
        first = text_artifact(tmp_path / "first", words, config={"note": note})
        return [first, text_artifact(tmp_path / "second", "2", inputs={"first": first})]

    for artifact in chain("x", 1):
        ensure(artifact, rebuild=False)
    first, second = chain("x", 2)
    states = status_all([first, second])
    assert states[first.path].reasons == ("note 1 -> 2",)
    assert states[second.path].reasons == ("input first is stale",)
    ensure(first, rebuild=True)
    assert "config" in str(read_manifest(first.path))
    assert status(second).state == "stale"  # the settings of an input are part of its identity
    first, second = chain("y", 2)
    ensure(second, rebuild=True)
    assert status(second).state == "fresh"


def test_a_rebuild_of_identical_bytes_invalidates_nothing_downstream(tmp_path):
    first = text_artifact(tmp_path / "first", "x")
    second = text_artifact(tmp_path / "second", "2", inputs={"first": first})
    for artifact in (first, second):
        ensure(artifact, rebuild=False)
    (tmp_path / "first" / "words.txt").unlink()
    assert not status_all([first, second])[second.path].fresh
    ensure(first, rebuild=True)
    assert status_all([first, second])[second.path].fresh


def test_a_cut_file_is_noticed(tmp_path):
    artifact = text_artifact(tmp_path / "a", "hello")
    ensure(artifact, rebuild=False)
    (tmp_path / "a" / "words.txt").write_text("hell")
    assert "words.txt is damaged or gone" in str(status(artifact))


def test_a_missing_input_names_the_remedy(tmp_path):
    first = text_artifact(tmp_path / "first", "x")
    with pytest.raises(UserError, match="run the earlier stages"):
        ensure(text_artifact(tmp_path / "second", "y", inputs={"first": first}), rebuild=False)


def test_inputs_that_come_and_go_are_named(tmp_path):
    first, other = (text_artifact(tmp_path / name, "x") for name in ("first", "other"))
    for artifact in (first, other):
        ensure(artifact, rebuild=False)
    ensure(text_artifact(tmp_path / "a", "y", inputs={"first": first}), rebuild=False)
    changed = text_artifact(tmp_path / "a", "y", inputs={"other": other})
    assert status(changed).reasons == ("input first removed", "input other added")


def test_a_user_file_counts_by_its_content(tmp_path):
    file = tmp_path / "in.bin"
    file.write_bytes(b"abc")
    artifact = text_artifact(tmp_path / "a", "x", inputs={"in": file})
    ensure(artifact, rebuild=False)
    os.utime(file, (1, 1))
    fingerprint.cache_clear()
    assert status(artifact).state == "fresh"
    file.write_bytes(b"abd")
    fingerprint.cache_clear()
    assert "input in has changed" in str(status(artifact))


def test_a_failing_build_leaves_the_old_folder_and_no_manifest(tmp_path):
    def fail(folder: Path) -> dict:
        (folder / "half").write_text("half")
        raise UserError("no")

    ensure(text_artifact(tmp_path / "a", "old", config={"v": 1}), rebuild=False)
    with pytest.raises(UserError):
        ensure(Artifact(tmp_path / "a", fail, config={"v": 2}), rebuild=True)
    assert (tmp_path / "a" / "words.txt").read_text() == "old"
    ensure(text_artifact(tmp_path / "a", "new", config={"v": 2}), rebuild=True)
    assert not (tmp_path / "a" / "half").exists()


def test_kill_9_resumes_the_same_plan_and_clears_another(tmp_path):
    artifact = counting_artifact(tmp_path / "a", 200, config={"v": 1})
    process = multiprocessing.get_context("fork").Process(target=ensure, args=(artifact, False))
    process.start()
    assert process.pid is not None
    while not (tmp_path / "a.partial" / "step-3").exists():
        time.sleep(0.01)
    with pytest.raises(UserError, match="another process"):
        ensure(artifact, rebuild=False)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert status(artifact).state == "unfinished"
    other = counting_artifact(tmp_path / "a", 5, config={"v": 2})
    shorter = counting_artifact(tmp_path / "a", 5, config={"v": 1})
    ensure(shorter, rebuild=False)
    assert manifest_of(tmp_path / "a")["facts"]["resumed"] >= 4
    ensure(other, rebuild=True)
    assert manifest_of(tmp_path / "a")["facts"]["resumed"] == 0


def test_a_kill_between_manifest_and_rename_is_recovered(tmp_path, caplog):
    artifact = text_artifact(tmp_path / "a", "x", config={"v": 1})
    ensure(artifact, rebuild=False)
    (tmp_path / "a").rename(tmp_path / "a.partial")
    caplog.set_level(logging.INFO, "lib")
    caplog.clear()
    assert ensure(artifact, rebuild=False)
    assert caplog.messages == [f"{artifact.path}: recovered"]
    assert status(artifact).state == "fresh"


@pytest.mark.parametrize("text", ["{", "{}", '{"digest": 1}'])
def test_a_damaged_manifest_is_said_and_never_built_over_in_silence(tmp_path, text):
    artifact = text_artifact(tmp_path / "a", "x")
    ensure(artifact, rebuild=False)
    (tmp_path / "a" / MANIFEST).write_text(text)
    assert str(status(artifact)) == "stale (_manifest.json is damaged)"
    with pytest.raises(UserError, match=r"damaged.*--rebuild"):
        ensure(artifact, rebuild=False)
    assert ensure(artifact, rebuild=True)


def test_a_bit_of_a_manifest_that_flips_is_damage(tmp_path):
    artifact = text_artifact(tmp_path / "a", "x")
    ensure(artifact, rebuild=False)
    path = tmp_path / "a" / MANIFEST
    manifest = json.loads(path.read_text())
    (file,) = manifest["files"].values()
    file["sha256"] = file["sha256"][::-1]
    path.write_text(json.dumps(manifest))
    assert status(artifact).state == "stale"


def test_an_error_of_the_disk_names_the_artifact(tmp_path):
    def build(folder: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with pytest.raises(OSError, match="Input/output error") as caught:
        ensure(Artifact(tmp_path / "a", build), rebuild=False)
    assert caught.value.filename == str(tmp_path / "a")


def test_a_frozen_artifact_stays_fresh_without_the_files_of_the_user(tmp_path):
    file = tmp_path / "in.bin"
    file.write_bytes(b"abc")
    first = text_artifact(tmp_path / "first", "x", config={"v": 1}, inputs={"in": file})
    second = text_artifact(tmp_path / "second", "y", inputs={"first": first})
    ensure(first, rebuild=False)
    ensure(second, rebuild=False)
    file.unlink()
    fingerprint.cache_clear()
    frozen = [replace(artifact, frozen=True) for artifact in (first, second)]
    assert [state.state for state in status_all(frozen).values()] == ["fresh", "fresh"]


def test_a_frozen_artifact_is_compared_but_never_built(tmp_path):
    artifact = text_artifact(tmp_path / "a", "x", config={"v": 1})
    ensure(artifact, rebuild=False)
    changed = replace(artifact, frozen=True, config={"v": 2})
    assert status(changed).reasons == ("v 1 -> 2",)
    with pytest.raises(ValueError, match="this run only reads it"):
        ensure(changed, rebuild=True)
    (tmp_path / "a" / "words.txt").unlink()
    assert "damaged or gone" in str(status(replace(artifact, frozen=True)))


def test_an_artifact_of_another_run_is_linked_if_it_is_the_same(tmp_path):
    words = text_artifact(tmp_path / "first" / "words", "a b", config={"words": "a b"})
    ensure(words, rebuild=False)
    same = replace(words, path=tmp_path / "second" / "words")
    assert link(same, words.path)
    assert status(same).fresh
    assert (same.path / MANIFEST).samefile(words.path / MANIFEST)
    other = text_artifact(tmp_path / "third" / "words", "a c", config={"words": "a c"})
    assert not link(other, words.path)
    assert not other.path.exists()
    assert not link(replace(same, frozen=True, path=tmp_path / "fourth"), words.path)
