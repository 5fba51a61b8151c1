"""The manifest of an artifact: what it was built from, and the size and digest of its files."""

import hashlib
import json
import resource
import time
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Any

from lib.runtime.workers import openmp_threads
from lib.utils.files import atomic_write, fsync

MANIFEST = "_manifest.json"
IDENTITY = ("version", "config", "inputs", "files")  # what the digest covers
LARGE = 64 << 20  # bytes of a file from which samples of it have a digest of their own
NUM_SAMPLES, SAMPLE_BYTES = 16, 1 << 20
LIBRARIES = ("numpy", "torch", "lightgbm", "xgboost-cpu", "xgboost", "catboost", "scikit-learn")


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a complete artifact, or None if there is none that can be read."""
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError, RecursionError):
        return None
    return manifest if _is_manifest(manifest) and _is_whole(manifest) else None


def _is_manifest(value: Any) -> bool:
    """Whether a JSON value has the keys and types of a manifest; its files lie in its folder."""
    if not isinstance(value, dict) or not value.keys() >= {"digest", *IDENTITY}:
        return False
    tables = (value["inputs"], value["files"], value["config"])
    if not isinstance(value["digest"], str) or not all(isinstance(t, dict) for t in tables):
        return False
    return all(_is_entry(name, file) for name, file in value["files"].items())


def _is_whole(manifest: dict[str, Any]) -> bool:
    """Whether the digest is that of the manifest itself."""
    try:
        return identity_digest(manifest) == manifest["digest"]
    except RecursionError:  # nested more deeply than it can be written
        return False


def _is_entry(name: str, file: Any) -> bool:
    """Whether a file of a manifest is described as `write_manifest` does."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name or not isinstance(file, dict):
        return False
    digests = (file.get("sha256"), file.get("sample", ""))
    return type(file.get("bytes")) is int and all(isinstance(digest, str) for digest in digests)


def write_manifest(
    folder: Path, plan: dict[str, Any], facts: dict[str, Any], seconds: float, check_seconds: float
) -> None:
    """Hash and fsync the files of `folder` and write its manifest, the last file of a build.

    plan: version, config and inputs. The digest covers the plan and the files. `facts`, `seconds`
    of the build, the most memory of this process until then (bytes), library versions and the
    number of threads are recorded beside it and decide nothing. check_seconds: spent on comparing
    the inputs with their digests; the time of hashing is added to it.
    """
    files = _fsync_files(folder)
    start = time.monotonic()
    identity = {**plan, "files": {name: _describe(folder / name) for name in files}}
    check_seconds += time.monotonic() - start
    manifest = {
        "digest": identity_digest(identity),
        **identity,
        "facts": facts,
        "seconds": round(seconds, 3),
        "check_seconds": round(check_seconds, 3),
        "libraries": _library_versions(),
        "threads": openmp_threads(),
        "peak_memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10,
    }
    with atomic_write(folder / MANIFEST) as path:
        path.write_text(json.dumps(manifest, indent=1))


def identity_digest(manifest: dict[str, Any]) -> str:
    """SHA-256 of what a manifest says its artifact was built from, and of its files."""
    identity = {key: manifest[key] for key in IDENTITY}
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def missing_files(folder: Path, manifest: dict[str, Any]) -> list[str]:
    """Names of files that are gone or have another size than the manifest says."""

    def intact(name: str, size: int) -> bool:
        path = folder / name
        return path.is_file() and path.stat().st_size == size

    return [name for name, file in manifest["files"].items() if not intact(name, file["bytes"])]


def _fsync_files(folder: Path) -> list[str]:
    """Fsync all files; the relative names of those to hash.

    Files whose name begins with an underscore are left out: they hold times.
    """
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    for path in files:
        fsync(path)
    return [str(path.relative_to(folder)) for path in files if not path.name.startswith("_")]


def _describe(path: Path) -> dict[str, Any]:
    """Size and SHA-256 of a file; of a large one also of its samples."""
    size = path.stat().st_size
    description = {"bytes": size, "sha256": whole_digest(path)}
    if size > LARGE:
        description["sample"] = sample_digest(path)
    return description


def whole_digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sample_digest(path: Path) -> str:
    """SHA-256 of NUM_SAMPLES evenly spaced parts of a file, the first and the last among them."""
    digest, last = hashlib.sha256(), path.stat().st_size - SAMPLE_BYTES
    with path.open("rb") as file:
        for number in range(NUM_SAMPLES):
            file.seek(max(last, 0) * number // (NUM_SAMPLES - 1))
            digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()


def _library_versions() -> dict[str, str]:
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions
