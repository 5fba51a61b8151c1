"""Artifacts: when a folder is fresh or stale (`status`), its build (`ensure`), another's (`link`).

An `Artifact` names a folder, the settings and inputs it depends on, and the function that builds
it. `ensure` builds in `<folder>.partial`, fsyncs every file, writes `_manifest.json` last and
renames. After kill -9 at any moment there is the old folder, the new folder, or a partial one that
the next call resumes or clears.

The digest of a manifest covers the bytes of all files, except files whose name begins with an
underscore: these hold times. So a change invalidates only what it changes, and a rebuild that
produces identical bytes does not invalidate downstream artifacts.
"""

import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lib.errors import BeingBuilt, UserError
from lib.pipeline.fingerprint import fingerprint
from lib.pipeline.integrity import check_intact, marked_damage
from lib.pipeline.manifest import MANIFEST, missing_files, read_manifest, write_manifest
from lib.utils.disk_errors import naming
from lib.utils.files import file_lock, fsync

logger = logging.getLogger(__name__)

PLAN = "_plan.json"


@dataclass(frozen=True)
class Artifact:
    """One folder of the pipeline.

    path: the folder.
    build: `build(folder)` fills the folder and returns facts for the manifest (row counts and the
        like). It writes nothing outside the folder.
    config: the settings it depends on, as plain data that JSON can hold.
    inputs: other artifacts, or files of the user, by name.
    version: the format of what `build` writes; raise it when the code writes something else.
    resumable: an unfinished build of the same plan is given back to `build` as it was left.
        Otherwise `build` starts in an empty folder.
    frozen: built by an earlier run and only read by this one. It is never built, and files of the
        user among its inputs may be gone.
    on_all_ranks: under torchrun all processes build it together.
    """

    path: Path
    build: Callable[[Path], dict[str, Any] | None]
    config: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, "Artifact | Path"] = field(default_factory=dict)
    version: int = 2
    resumable: bool = False
    frozen: bool = False
    on_all_ranks: bool = False


@dataclass(frozen=True)
class Status:
    """state: "fresh", "missing", "unfinished" or "stale"; reasons: why it is stale."""

    state: str
    reasons: tuple[str, ...] = ()

    @property
    def fresh(self) -> bool:
        """Whether nothing needs to be built."""
        return self.state == "fresh"

    def __str__(self) -> str:
        return self.state + (f" ({'; '.join(self.reasons)})" if self.reasons else "")

    def short(self) -> str:
        """The state with the first reason, and how many more there are."""
        more = f"; {len(self.reasons) - 1} more" if len(self.reasons) > 1 else ""
        return self.state + (f" ({self.reasons[0]}{more})" if self.reasons else "")


def status_all(artifacts: Sequence[Artifact]) -> dict[Path, Status]:
    """The status of each artifact by its path; every artifact comes after its inputs.

    An artifact that is fresh by its own manifest is stale if one of its inputs is not fresh.
    """
    states: dict[Path, Status] = {}
    for artifact in artifacts:
        state = status(artifact)
        if state.fresh:
            reasons = [
                f"input {name} is {states[source.path].state}"
                for name, source in artifact.inputs.items()
                if isinstance(source, Artifact)
                and source.path in states
                and not states[source.path].fresh
            ]
            state = Status("stale", tuple(reasons)) if reasons else state
        states[artifact.path] = state
    return states


def status(artifact: Artifact) -> Status:
    """Compare the folder on disk with what the artifact should be. Reads no large file."""
    manifest = read_manifest(artifact.path)
    if manifest is None and (artifact.path / MANIFEST).exists():  # no kill leaves such a one
        return Status("stale", (f"{MANIFEST} is damaged",))
    if manifest is None:
        unfinished = _partial(artifact.path).exists()
        return Status("unfinished" if unfinished else "missing")
    damaged = [marked_damage(artifact.path), *missing_files(artifact.path, manifest)]
    for name in filter(None, damaged):
        return Status("stale", (f"{name} is damaged or gone",))
    reasons = _differences(manifest, artifact)
    return Status("stale", tuple(reasons)) if reasons else Status("fresh")


def partial_folder(artifact: Artifact) -> Path | None:
    """The folder of an interrupted build that `ensure` would go on with; None if there is none."""
    partial = _partial(artifact.path)
    try:
        resumes = artifact.resumable and _has_plan(partial, _plan(artifact))
    except UserError:  # an input is missing
        return None
    return partial if resumes else None


def ensure(artifact: Artifact, rebuild: bool) -> bool:
    """Build the artifact unless it is fresh; returns whether it was built.

    Raises UserError for a stale artifact without `rebuild`, for a missing or damaged input, and
    when another process is building the same folder.
    """
    state = status(artifact)
    if state.fresh:
        logger.debug("%s: fresh", artifact.path)
        return False
    if artifact.frozen:
        raise ValueError(f"{artifact.path} is {state}, and this run only reads it")
    if state.state == "stale" and not rebuild:
        raise UserError(
            f"{artifact.path} is stale: {'; '.join(state.reasons)}."
            " Pass --rebuild to rebuild it, or revert the change"
        )
    with naming(artifact.path), _lock(artifact.path):
        _build(artifact, state)
    return True


def link(artifact: Artifact, source: Path) -> bool:
    """Take over the folder `source` of another run if it is what `build` would write; whether so.

    Its files become hard links, or copies on a file system without: nobody writes to the files of a
    finished artifact.
    """
    if artifact.frozen or not status(replace(artifact, path=source)).fresh:
        return False
    partial = _partial(artifact.path)
    with naming(artifact.path), _lock(artifact.path):
        _remove(partial)
        shutil.copytree(source, partial, copy_function=_link_file)
        _rename_into_place(partial, artifact.path)
    return True


def _link_file(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _build(artifact: Artifact, state: Status) -> None:
    partial, plan = _partial(artifact.path), _plan(artifact)
    if _is_complete(partial, artifact):  # killed between its manifest and its rename
        _rename_into_place(partial, artifact.path)
        logger.info("%s: recovered", artifact.path)
        return
    check_seconds = _check_inputs(artifact)
    resumed = _open_partial(partial, plan, artifact.resumable)
    logger.info("%s: %s (%s)", artifact.path, "resuming" if resumed else "building", state)
    start = time.monotonic()
    facts = artifact.build(partial) or {}
    seconds = time.monotonic() - start
    (partial / PLAN).unlink(missing_ok=True)
    write_manifest(partial, plan, facts, seconds, check_seconds)
    _rename_into_place(partial, artifact.path)
    logger.info("%s: built in %.1f s%s", artifact.path, seconds, _format_facts(facts))


def _check_inputs(artifact: Artifact) -> float:
    """Compare the inputs with their manifests; returns the seconds that it took."""
    start = time.monotonic()
    for source in artifact.inputs.values():
        if isinstance(source, Artifact):
            check_intact(source.path)
    return time.monotonic() - start


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
    return {"version": artifact.version, "config": _as_json(artifact.config), "inputs": inputs}


def _as_json(config: dict[str, Any]) -> Any:
    """`config` as JSON reads it back, so that tuples compare equal to lists."""
    return json.loads(json.dumps(config))


def _input_digest(source: Artifact | Path) -> str | None:
    if isinstance(source, Path):
        return fingerprint(source)
    manifest = read_manifest(source.path)
    return manifest["digest"] if manifest else None


def _differences(manifest: dict[str, Any], artifact: Artifact) -> list[str]:
    """How the artifact differs from its manifest, as in "train.lr 0.03 -> 0.01"."""
    old, new = _flatten(manifest["config"]), _flatten(_as_json(artifact.config))
    reasons = [
        f"{key} {_value(old, key)} -> {_value(new, key)}"
        for key in sorted(old.keys() | new.keys())
        if _value(old, key) != _value(new, key)
    ]
    if manifest["version"] != artifact.version:
        reasons.append(f"format {manifest['version']} -> {artifact.version}")
    return reasons + _changed_inputs(manifest["inputs"], artifact)


def _changed_inputs(digests: dict[str, str], artifact: Artifact) -> list[str]:
    reasons = []
    for name in sorted(digests.keys() | artifact.inputs.keys()):
        source = artifact.inputs.get(name)
        if source is None or name not in digests:
            reasons.append(f"input {name} {'added' if source is not None else 'removed'}")
            continue
        if artifact.frozen and isinstance(source, Path):
            continue
        digest = _input_digest(source)
        if digest != digests[name]:
            reasons.append(f"input {name} {'has changed' if digest else 'is missing'}")
    return reasons


def _flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Nested dicts as one dict with dotted keys."""
    if not isinstance(tree, dict):
        return {prefix: tree}
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flatten(value, f"{prefix}.{key}" if prefix else key)
    return flat


def _value(flat: dict[str, Any], key: str) -> str:
    return json.dumps(flat[key]) if key in flat else "unset"


def _partial(path: Path) -> Path:
    return path.with_name(path.name + ".partial")


def _open_partial(partial: Path, plan: dict[str, Any], resumable: bool) -> bool:
    """Make the folder to build in; True if it holds an unfinished build of the same plan."""
    if resumable and _has_plan(partial, plan):
        return True
    _remove(partial)
    partial.mkdir(parents=True)
    (partial / PLAN).write_text(json.dumps(plan))
    return False


def _has_plan(partial: Path, plan: dict[str, Any]) -> bool:
    """Whether an unfinished build was started with this plan."""
    try:
        return json.loads((partial / PLAN).read_text()) == plan
    except (ValueError, RecursionError, OSError):  # no JSON, no text, or no file
        return False


def _is_complete(partial: Path, artifact: Artifact) -> bool:
    manifest = read_manifest(partial)
    return (
        manifest is not None
        and not missing_files(partial, manifest)
        and not _differences(manifest, artifact)
    )


def _rename_into_place(partial: Path, path: Path) -> None:
    """Replace the old folder by the new one. A kill between the two renames leaves `partial`
    complete, and the next `ensure` finishes the job."""
    old = path.with_name(path.name + ".old")
    _remove(old)
    if path.exists() or path.is_symlink():
        path.rename(old)
    partial.rename(path)
    fsync(path.parent)
    _remove(old)


def _remove(path: Path) -> None:
    """Delete a folder, or whatever lies in its place."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """One process at a time builds an artifact."""
    lock = path.with_name(f".{path.name}.lock")
    if lock.is_dir() or lock.is_symlink():
        raise UserError(f"{lock} is a folder or a link where a lock should lie; delete it")
    with ExitStack() as stack:
        try:
            stack.enter_context(file_lock(lock))
        except BlockingIOError:
            raise BeingBuilt(f"{path}: another process is building it; wait for that one") from None
        yield


def _format_facts(facts: dict[str, Any]) -> str:
    """The numbers among the facts, floats to four digits: ": rows 120, accuracy 0.8713"."""
    numbers = [
        f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}"
        for key, value in facts.items()
        if isinstance(value, int | float)
    ]
    return f": {', '.join(numbers)}" if numbers else ""
