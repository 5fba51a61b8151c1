"""Fresh, stale, missing, unfinished; and what a kill at the worst moment leaves."""

import json
import multiprocessing
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
from lib.artifacts import Artifact, ensure, status, survey

from lib import artifacts, fingerprint
from lib.errors import UserError


def quiet(_: str) -> None:
    pass


def text(path: Path, words: str, **kind) -> Artifact:
    def build(folder: Path) -> dict:
        (folder / "words.txt").write_text(words)
        return {"rows": len(words)}

    return Artifact(path, build, **kind)


def test_built_once_then_fresh(tmp_path):
    artifact = text(tmp_path / "a", "hello", config={"lr": 0.1, "size": (1, 2)})
    assert status(artifact).state == "missing"
    assert ensure(artifact, False, quiet)
    assert status(artifact).state == "fresh"
    assert not ensure(artifact, False, quiet)
    manifest = artifacts.read_manifest(tmp_path / "a")
    assert manifest is not None
    assert manifest["facts"] == {"rows": 5}
    assert list(manifest["files"]) == ["words.txt"]


def test_stale_names_what_changed_and_keeps_the_old(tmp_path):
    ensure(text(tmp_path / "a", "old", config={"train": {"lr": 0.03}}), False, quiet)
    changed = text(tmp_path / "a", "new", config={"train": {"lr": 0.01}})
    with pytest.raises(UserError, match=r"train.lr 0.03 -> 0.01.*--rebuild"):
        ensure(changed, False, quiet)
    assert (tmp_path / "a" / "words.txt").read_text() == "old"
    assert ensure(changed, True, quiet)
    assert (tmp_path / "a" / "words.txt").read_text() == "new"
    assert sorted(p.name for p in tmp_path.iterdir() if not p.name.startswith(".")) == ["a"]


def test_a_change_travels_only_where_bytes_change(tmp_path):
    def chain(words: str, note: int) -> list[Artifact]:
        first = text(tmp_path / "first", words, config={"note": note})
        return [first, text(tmp_path / "second", "2", inputs={"first": first})]

    for artifact in chain("x", 1):
        ensure(artifact, False, quiet)
    first, second = chain("x", 2)
    states = survey([first, second])
    assert states[first.path].reasons == ("note 1 -> 2",)
    assert states[second.path].reasons == ("input first is stale",)
    ensure(first, True, quiet)
    assert "config" in str(artifacts.read_manifest(first.path))
    assert status(second).state == "stale"  # its input's settings are part of its identity
    first, second = chain("y", 2)
    ensure(second, True, quiet)
    assert status(second).state == "fresh"


def test_a_lost_or_cut_file_is_noticed(tmp_path):
    artifact = text(tmp_path / "a", "hello")
    ensure(artifact, False, quiet)
    (tmp_path / "a" / "words.txt").write_text("hell")
    assert "words.txt is damaged or gone" in str(status(artifact))


def test_a_missing_input_names_the_remedy(tmp_path):
    first = text(tmp_path / "first", "x")
    with pytest.raises(UserError, match="run the earlier stages"):
        ensure(text(tmp_path / "second", "y", inputs={"first": first}), False, quiet)


def test_a_user_file_counts_by_its_content(tmp_path):
    file = tmp_path / "in.bin"
    file.write_bytes(b"abc")
    artifact = text(tmp_path / "a", "x", inputs={"in": file})
    ensure(artifact, False, quiet)
    os.utime(file, (1, 1))
    fingerprint.fingerprint.cache_clear()
    assert status(artifact).state == "fresh"
    file.write_bytes(b"abd")
    fingerprint.fingerprint.cache_clear()
    assert "input in has changed" in str(status(artifact))
    with pytest.raises(UserError, match="no such file"):
        fingerprint.fingerprint(tmp_path / "none.bin")


def test_a_failing_build_leaves_the_old_one_and_no_manifest(tmp_path):
    def fail(folder: Path) -> dict:
        (folder / "half").write_text("half")
        raise UserError("no")

    ensure(text(tmp_path / "a", "old", config={"v": 1}), False, quiet)
    with pytest.raises(UserError):
        ensure(Artifact(tmp_path / "a", fail, config={"v": 2}), True, quiet)
    assert (tmp_path / "a" / "words.txt").read_text() == "old"
    ensure(text(tmp_path / "a", "new", config={"v": 2}), True, quiet)
    assert not (tmp_path / "a" / "half").exists()


def counting(path: Path, steps: int, **kind) -> Artifact:
    """Writes one file a step and goes on where it was."""

    def build(folder: Path) -> dict:
        done = len(list(folder.glob("step-*")))
        for step in range(done, steps):
            (folder / f"step-{step}").write_text(str(os.getpid()))
            time.sleep(0.02)
        return {"resumed": done}

    return Artifact(path, build, resumable=True, **kind)


def test_kill_9_resumes_the_same_plan_and_clears_another(tmp_path):
    artifact = counting(tmp_path / "a", 200, config={"v": 1})
    process = multiprocessing.get_context("fork").Process(
        target=ensure, args=(artifact, False, quiet)
    )
    process.start()
    assert process.pid is not None
    while not (tmp_path / "a.partial" / "step-3").exists():
        time.sleep(0.01)
    with pytest.raises(UserError, match="another process"):
        ensure(artifact, False, quiet)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert status(artifact).state == "unfinished"
    other = counting(tmp_path / "a", 5, config={"v": 2})
    shorter = counting(tmp_path / "a", 5, config={"v": 1})
    ensure(shorter, False, quiet)
    manifest = artifacts.read_manifest(tmp_path / "a")
    assert manifest is not None
    assert manifest["facts"]["resumed"] >= 4
    ensure(other, True, quiet)
    manifest = artifacts.read_manifest(tmp_path / "a")
    assert manifest is not None
    assert manifest["facts"]["resumed"] == 0


def test_killed_between_manifest_and_rename_is_recovered(tmp_path):
    artifact = text(tmp_path / "a", "x", config={"v": 1})
    ensure(artifact, False, quiet)
    (tmp_path / "a").rename(tmp_path / "a.partial")
    lines: list[str] = []
    assert ensure(artifact, False, lines.append)
    assert "recovered" in lines[0]
    assert status(artifact).state == "fresh"


def test_an_unreadable_manifest_means_missing(tmp_path):
    artifact = text(tmp_path / "a", "x")
    ensure(artifact, False, quiet)
    (tmp_path / "a" / artifacts.MANIFEST).write_text(json.dumps({})[:-1])
    assert status(artifact).state == "missing"
    assert ensure(artifact, False, quiet)


def test_a_folder_counts_by_names_and_sizes(tmp_path):
    folder = tmp_path / "pictures"
    (folder / "a").mkdir(parents=True)
    (folder / "a" / "1.jpg").write_bytes(b"one")

    def digest() -> str:
        fingerprint.fingerprint.cache_clear()
        return fingerprint.fingerprint(folder)

    first = digest()
    assert fingerprint.files_under(folder) == [("a/1.jpg", 3)]
    (folder / "a" / ".DS_Store").write_bytes(b"x")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "2.jpg").write_bytes(b"x")
    assert digest() == first
    (folder / "a" / "1.jpg").write_bytes(b"three")
    second = digest()
    assert second != first
    (folder / "a" / "1.jpg").rename(folder / "a" / "2.jpg")
    assert digest() != second
    (folder / "0.jpg").symlink_to(folder / "nowhere")
    assert fingerprint.files_under(folder) == [("0.jpg", 0), ("a/2.jpg", 5)]


def test_a_settled_one_stays_fresh_without_the_files_of_the_user(tmp_path):
    file = tmp_path / "in.bin"
    file.write_bytes(b"abc")
    first = text(tmp_path / "first", "x", config={"v": 1}, inputs={"in": file})
    second = text(tmp_path / "second", "y", inputs={"first": first})
    ensure(first, False, quiet)
    ensure(second, False, quiet)
    file.unlink()
    fingerprint.fingerprint.cache_clear()
    settled = [replace(one, settled=True) for one in (first, second)]
    assert [state.state for state in survey(settled).values()] == ["fresh", "fresh"]
    changed = replace(settled[0], config={"v": 2})
    assert status(changed).reasons == ("v 1 -> 2",)
    with pytest.raises(ValueError, match="not this run's to build"):
        ensure(changed, True, quiet)
    (tmp_path / "first" / "words.txt").unlink()
    assert "damaged or gone" in str(status(settled[0]))
