"""What is recorded beside the files of an artifact."""

import json
from pathlib import Path

import pytest

from lib.pipeline.manifest import MANIFEST, missing_files, read_manifest, write_manifest

PLAN = {"version": 1, "config": {"lr": 0.1}, "inputs": {}}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "inside").mkdir()
    (tmp_path / "words.txt").write_text("hello")
    (tmp_path / "inside" / "more.txt").write_text("")
    (tmp_path / "_times.jsonl").write_text("1.5")
    return tmp_path


def write_and_read(
    folder: Path, plan: dict = PLAN, facts: dict | None = None, seconds: float = 1.0
) -> dict:
    write_manifest(folder, plan, facts or {}, seconds, check_seconds=0.5)
    manifest = read_manifest(folder)
    assert manifest is not None
    return manifest


def digest(*arguments, **options) -> str:
    return write_and_read(*arguments, **options)["digest"]


def test_a_manifest_lists_the_files_with_their_sizes(folder):
    manifest = write_and_read(folder, facts={"rows": 5})
    sizes = {name: file["bytes"] for name, file in manifest["files"].items()}
    assert sizes == {"words.txt": 5, "inside/more.txt": 0}
    assert manifest["facts"] == {"rows": 5}
    assert manifest["config"] == {"lr": 0.1}
    assert manifest["check_seconds"] >= 0.5
    assert "numpy" in manifest["libraries"]
    assert missing_files(folder, manifest) == []


def test_the_digest_covers_the_plan_and_the_bytes_and_nothing_else(folder):
    first = digest(folder)
    assert digest(folder, facts={"rows": 7}, seconds=9.0) == first
    (folder / "_times.jsonl").write_text("2.5")
    assert digest(folder) == first
    assert digest(folder, PLAN | {"version": 2}) != first
    (folder / "words.txt").write_text("hallo")
    assert digest(folder) != first


def test_missing_and_cut_files_are_named(folder):
    manifest = write_and_read(folder)
    (folder / "words.txt").write_text("hell")
    (folder / "inside" / "more.txt").unlink()
    assert missing_files(folder, manifest) == ["inside/more.txt", "words.txt"]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", json.dumps({"files": {}})])
def test_an_unreadable_manifest_is_none(tmp_path, text):
    (tmp_path / MANIFEST).write_text(text)
    assert read_manifest(tmp_path) is None


def test_a_folder_without_manifest_has_none(tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path, tmp_path / "absent", tmp_path / "file"):
        assert read_manifest(folder) is None
