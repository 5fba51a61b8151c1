"""Folders that are whole or absent, and know what they were made of.

An `Artifact` names a folder, the part of the configuration and the inputs that it depends on, and
the function that fills it. `ensure` builds it in `<folder>.partial` beside its place, fsyncs every
file, writes `_manifest.json` last and renames: kill -9 at any moment leaves the old folder, the
new one, or a partial one that the next call takes up or clears.

A manifest's digest covers the bytes of the artifact's files, but for those whose name begins with
an underscore: they hold times. So a change travels down the chain exactly as far as it changes
something, and a rebuild that yields the same bytes wakes nobody.
"""

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from lib.errors import UserError
from lib.fingerprint import fingerprint

MANIFEST = "_manifest.json"
PLAN = "_plan.json"
LIBRARIES = ("numpy", "torch", "lightgbm", "xgboost-cpu", "xgboost", "catboost", "scikit-learn")


@dataclass(frozen=True)
class Artifact:
    """One folder of the chain.

    `build(folder)` fills the folder and returns facts for the manifest (rows, counts); it must not
    write outside. `config` is plain data (what JSON can hold). `inputs` are other artifacts or
    files of the user. `version` is raised by whoever changes what the code writes.
    With `resumable`, an unfinished build of the same plan is handed back to `build` as it was
    left; without, it starts in an empty folder.
    `settled`: made by an earlier run, and only read by this one. It is never built, and files of
    the user among its inputs need not be there any more: what was made of them counts.
    """

    path: Path
    build: Callable[[Path], dict[str, Any] | None]
    config: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, "Artifact | Path"] = field(default_factory=dict)
    version: int = 1
    resumable: bool = False
    settled: bool = False


@dataclass(frozen=True)
class Status:
    state: str  # "fresh", "missing", "unfinished" or "stale"
    reasons: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.state + (f" ({'; '.join(self.reasons)})" if self.reasons else "")


def survey(artifacts: Sequence[Artifact]) -> dict[Path, Status]:
    """The status of each of a whole chain, inputs before what is made of them.

    What is fresh by its own manifest but has an input that is not, is stale too.
    """
    states: dict[Path, Status] = {}
    for artifact in artifacts:
        state = status(artifact)
        if state.state == "fresh":
            waiting = [
                f"input {name} is {states[source.path].state}"
                for name, source in artifact.inputs.items()
                if isinstance(source, Artifact) and states[source.path].state != "fresh"
            ]
            state = Status("stale", tuple(waiting)) if waiting else state
        states[artifact.path] = state
    return states


def status(artifact: Artifact) -> Status:
    """Compare what is on disk with what the artifact should be made of. Reads no large file."""
    manifest = read_manifest(artifact.path)
    if manifest is None:
        unfinished = _partial(artifact.path).exists()
        return Status("unfinished" if unfinished else "missing")
    lost = _lost_files(artifact.path, manifest)
    if lost:
        return Status("stale", (f"{lost[0]} is damaged or gone",))
    reasons = _differences(manifest, artifact)
    return Status("stale", tuple(reasons)) if reasons else Status("fresh")


def ensure(artifact: Artifact, rebuild: bool, say: Callable[[str], None]) -> bool:
    """Build the artifact unless it is fresh; True if it was built.

    Raises UserError for a stale artifact without `rebuild`, for a missing input, and when another
    process is building the same folder.
    """
    name = artifact.path
    state = status(artifact)
    if state.state == "fresh":
        return False
    if artifact.settled:
        raise ValueError(f"{name} is {state} and not this run's to build")
    if state.state == "stale" and not rebuild:
        raise UserError(
            f"{artifact.path} is stale: {'; '.join(state.reasons)}."
            " Run again with --rebuild to make it anew, or undo the change"
        )
    with _lock(artifact.path):
        plan = _plan(artifact)
        partial = _partial(artifact.path)
        if _finished(partial, artifact):  # killed between its manifest and its rename
            _swap(partial, artifact.path)
            say(f"{name}: recovered")
            return True
        resumed = _prepare(partial, plan, artifact.resumable)
        say(f"{name}: {'resuming' if resumed else 'building'} ({state})")
        start = time.monotonic()
        facts = artifact.build(partial) or {}
        seconds = time.monotonic() - start
        _seal(partial, plan, facts, seconds)
        _swap(partial, artifact.path)
        say(f"{name}: built in {seconds:.1f} s" + _listed(facts))
    return True


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a finished artifact, or None where there is none that can be read."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
        return None
    return manifest if isinstance(manifest, dict) and "digest" in manifest else None


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary neighbour of `path` to write to, fsynced and renamed over it on success."""
    temporary = path.with_name(f".{path.name}.tmp")
    yield temporary
    _fsync(temporary)
    temporary.replace(path)
    _fsync(path.parent)


def _plan(artifact: Artifact) -> dict[str, Any]:
    inputs = {}
    for name, source in artifact.inputs.items():
        digest = _input_digest(source)
        if digest is None:
            assert isinstance(source, Artifact)
            raise UserError(
                f"{source.path} is missing; run the earlier stages (./run_all.sh) first"
            )
        inputs[name] = digest
    # Through JSON once, so that tuples compare equal to the lists that are read back.
    config = json.loads(json.dumps(artifact.config))
    return {"version": artifact.version, "config": config, "inputs": inputs}


def _input_digest(source: Artifact | Path) -> str | None:
    if isinstance(source, Path):
        return fingerprint(source)
    manifest = read_manifest(source.path)
    return manifest["digest"] if manifest else None


def _differences(manifest: dict[str, Any], artifact: Artifact) -> list[str]:
    old = _flat(manifest["config"])
    new = _flat(json.loads(json.dumps(artifact.config)))
    reasons = [
        f"{key} {_value(old, key)} -> {_value(new, key)}"
        for key in sorted(old.keys() | new.keys())
        if _value(old, key) != _value(new, key)
    ]
    if manifest["version"] != artifact.version:
        reasons.append(f"format {manifest['version']} -> {artifact.version}")
    for name in sorted(manifest["inputs"].keys() | artifact.inputs.keys()):
        source = artifact.inputs.get(name)
        if source is None or name not in manifest["inputs"]:
            reasons.append(f"input {name} {'added' if source is not None else 'removed'}")
            continue
        if artifact.settled and isinstance(source, Path):
            continue
        digest = _input_digest(source)
        if digest != manifest["inputs"][name]:
            reasons.append(f"input {name} {'has changed' if digest else 'is missing'}")
    return reasons


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict):
        return {prefix: tree}
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}.{key}" if prefix else key)
    return flat


def _value(flat: dict[str, Any], key: str) -> str:
    return json.dumps(flat[key]) if key in flat else "unset"


def _partial(path: Path) -> Path:
    return path.with_name(path.name + ".partial")


def _prepare(partial: Path, plan: dict[str, Any], resumable: bool) -> bool:
    """Make the folder to build in; True if an unfinished build of the same plan is taken up."""
    if resumable and (partial / PLAN).exists():
        try:
            if json.loads((partial / PLAN).read_text()) == plan:
                return True
        except json.JSONDecodeError:
            pass
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    (partial / PLAN).write_text(json.dumps(plan))
    return False


def _seal(partial: Path, plan: dict[str, Any], facts: dict[str, Any], seconds: float) -> None:
    (partial / PLAN).unlink(missing_ok=True)
    files = {}
    for path in sorted(partial.rglob("*")):
        if path.is_file():
            _fsync(path)
            if path.name.startswith("_"):  # times: two builds differ in them, and are the same
                continue
            name = str(path.relative_to(partial))
            files[name] = {"bytes": path.stat().st_size, "sha256": _sha256(path)}
    identity = {**plan, "files": files}
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    manifest = {
        "digest": digest,
        **identity,
        "facts": facts,
        "seconds": round(seconds, 3),
        "libraries": _libraries(),
    }
    with replacing(partial / MANIFEST) as path:
        path.write_text(json.dumps(manifest, indent=1))


def _finished(partial: Path, artifact: Artifact) -> bool:
    manifest = read_manifest(partial)
    return (
        manifest is not None
        and not _lost_files(partial, manifest)
        and not _differences(manifest, artifact)
    )


def _lost_files(folder: Path, manifest: dict[str, Any]) -> list[str]:
    def intact(name: str, size: int) -> bool:
        path = folder / name
        return path.is_file() and path.stat().st_size == size

    return [n for n, known in manifest["files"].items() if not intact(n, known["bytes"])]


def _swap(partial: Path, path: Path) -> None:
    """Put the finished folder in place. A kill between the two renames leaves `partial` whole,
    and the next `ensure` finishes the job."""
    old = path.with_name(path.name + ".old")
    if old.exists():
        shutil.rmtree(old)
    if path.exists():
        path.rename(old)
    partial.rename(path)
    _fsync(path.parent)
    if old.exists():
        shutil.rmtree(old)


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """An advisory lock that dies with its process, so that kill -9 leaves nothing to clear."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{path}: another process is building it; wait for that one") from None
        yield


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _libraries() -> dict[str, str]:
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _listed(facts: dict[str, Any]) -> str:
    shown = [f"{key} {value}" for key, value in facts.items() if isinstance(value, int | float)]
    return f": {', '.join(shown)}" if shown else ""
