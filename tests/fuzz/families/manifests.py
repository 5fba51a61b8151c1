"""Manifests, plans, marks of damage, and artifacts of which any file may be damaged."""

import json
from pathlib import Path

from lib.errors import UserError
from lib.pipeline import integrity
from lib.pipeline.artifact import Artifact, ensure, status
from tests.fuzz.family import Family, clear, write

FILES = ("values.npy", "model.ubj", "facts.json")


def _build(folder: Path) -> dict[str, int]:
    for number, name in enumerate(FILES):
        write(folder / name, b"%d" % number * 40)
    return {"rows": 3}


def _artifact(folder: Path) -> Artifact:
    return Artifact(folder / "part", _build, {"a": {"b": [1, 2]}, "c": 0.5}, resumable=True)


def _whole(folder: Path) -> Artifact:
    artifact = _artifact(folder)
    ensure(artifact, rebuild=False)
    return artifact


def manifest_seeds(folder: Path) -> list[bytes]:
    """The manifest of a small artifact."""
    return [(_whole(folder).path / "_manifest.json").read_bytes()]


def prepare(inside: Path) -> None:
    """An artifact that is valid but for one file."""
    _whole(inside)


def _with_file(inside: Path, name: str, data: bytes) -> None:
    """The artifact with other bytes in one file: its state, comparison, use and rebuild."""
    integrity._intact.clear()
    artifact = _artifact(inside)
    path = artifact.path / name
    before = path.read_bytes() if path.exists() else None
    write(path, data)
    try:
        str(status(artifact))
        integrity.verify([artifact.path])
        reader = Artifact(inside / "reader", _build, inputs={"part": artifact})
        clear(inside / "reader").rmdir()
        ensure(reader, rebuild=True)
    finally:
        (artifact.path / integrity.DAMAGED).unlink(missing_ok=True)
        if before is None:
            path.unlink()
        else:
            write(path, before)


def read_manifest(data: bytes, inside: Path) -> None:
    """Another manifest; the artifact must then be rebuilt, and be whole."""
    try:
        _with_file(inside, "_manifest.json", data)
    finally:
        artifact = _artifact(inside)
        write(artifact.path / "_manifest.json", data)
        ensure(artifact, rebuild=True)
        if not status(artifact).fresh:
            raise AssertionError("the rebuilt artifact is not fresh")


def plan_seeds(folder: Path) -> list[bytes]:
    """The plan of an interrupted build."""
    plan = {"version": 2, "config": {"a": {"b": [1, 2]}, "c": 0.5}, "inputs": {}}
    return [json.dumps(plan).encode()]


def read_plan(data: bytes, inside: Path) -> None:
    """Resume a build with another plan."""
    clear(inside / "part").rmdir()
    write(clear(inside / "part.partial") / "_plan.json", data)
    ensure(_artifact(inside), rebuild=False)


def mark_seeds(folder: Path) -> list[bytes]:
    """Marks of damage."""
    return [b"values.npy\n", b"x"]


def read_mark(data: bytes, inside: Path) -> None:
    """The mark names a file, in one line; a rebuild clears it."""
    artifact = _artifact(inside)
    write(artifact.path / integrity.DAMAGED, data)
    text = str(status(artifact))
    if status(artifact).fresh or "\n" in text:
        raise AssertionError(text)
    ensure(artifact, rebuild=True)


def file_seeds(folder: Path) -> list[bytes]:
    """Files of the artifact; the first byte says which."""
    return [bytes([n]) + b"%d" % n * 40 for n in range(len(FILES))]


def read_file(data: bytes, inside: Path) -> None:
    """A changed file is never read: it is named, and marked."""
    number = (data[0] if data else 0) % len(FILES)
    same = data[1:] == b"%d" % number * 40
    try:
        _with_file(inside, FILES[number], data[1:])
    except UserError:
        if same:
            raise AssertionError("whole bytes were taken for damaged ones") from None
        raise
    if not same:
        raise AssertionError("damaged bytes were read")


TOKENS = (
    b'"../../outside/secret"',
    b'"/etc/passwd"',
    b'"files": {}',
    b"null",
    b"[]",
    b"-1",
    b"true",
)
FAMILIES = [
    Family("manifests-manifest", manifest_seeds, read_manifest, prepare, tokens=TOKENS, weight=0.3),
    Family("manifests-plan", plan_seeds, read_plan, tokens=TOKENS, weight=0.3),
    Family("manifests-damaged", mark_seeds, read_mark, prepare, tokens=TOKENS, weight=0.3),
    Family("manifests-files", file_seeds, read_file, prepare, weight=0.3),
]
