"""Damage: files of an artifact whose bytes are no longer those that its manifest records.

A disk, a copy or a person may change a finished file. Before an artifact is built, the artifacts
that it reads are compared with their manifests: small files as a whole, large ones by samples, so
that the cost is bounded. `./run_all.sh --verify` compares all bytes. A damaged artifact gets the
file `_damaged`, and is stale until it is built again.
"""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lib.errors import UserError, one_line
from lib.pipeline.manifest import (
    missing_files,
    read_manifest,
    sample_digest,
    whole_digest,
)

logger = logging.getLogger(__name__)

DAMAGED = "_damaged"
# Files for libraries whose parsers of damaged bytes abort the process: compared as a whole.
NATIVE_SUFFIXES = (".faiss", ".ubj", ".txt", ".cbm", ".pt")
_intact: set[tuple[Path, str]] = set()  # artifacts that this process has compared, and digests


def marked_damage(folder: Path) -> str | None:
    """The damaged file of an artifact, if an earlier check found one."""
    try:
        return one_line((folder / DAMAGED).read_text(errors="replace")) or "a file"
    except (FileNotFoundError, NotADirectoryError):
        return None
    except IsADirectoryError:
        return DAMAGED


def check_intact(folder: Path) -> None:
    """Compare an artifact with its manifest once in a process, large files by samples.

    Raises UserError that names the damaged file, after marking the artifact. An artifact without
    a manifest is not complete, and is left to others.
    """
    manifest = read_manifest(folder)
    if manifest is None or (folder, manifest["digest"]) in _intact:
        return
    damaged = _damaged_files(folder, manifest, whole=False)
    if damaged:
        _mark(folder, damaged[0])
        raise UserError(
            f"{folder / damaged[0]} is damaged: its bytes are not those that were written;"
            " pass --rebuild to build it again"
        )
    _intact.add((folder, manifest["digest"]))


def check_all(folders: Iterable[Path]) -> None:
    """Compare every finished artifact with its manifest, and log the damaged files.

    Raises UserError if there are any.
    """
    count, damaged = verify(folders)
    for path in damaged:
        logger.error("%s is damaged", path)
    if damaged:
        raise UserError(f"{len(damaged)} files are damaged; pass --rebuild to build them again")
    logger.info("%d artifacts, none is damaged", count)


def verify(folders: Iterable[Path]) -> tuple[int, list[Path]]:
    """Compare all bytes of artifacts with their manifests; damaged ones are marked.

    Returns how many artifacts are complete, and the damaged files.
    """
    complete = [(path, manifest) for path in folders if (manifest := read_manifest(path))]
    sizes = [sum(file["bytes"] for file in m["files"].values()) for _, m in complete]
    damaged = []
    with tqdm(total=sum(sizes), desc="verify", unit="B", unit_scale=True, disable=None) as bar:
        for (folder, manifest), size in zip(complete, sizes, strict=True):
            files = _damaged_files(folder, manifest, whole=True)
            if files:
                _mark(folder, files[0])
            damaged += [folder / name for name in files]
            bar.update(size)
    return len(complete), damaged


def _damaged_files(folder: Path, manifest: dict[str, Any], whole: bool) -> list[str]:
    """Names of files that differ from the manifest; of large ones only samples, unless `whole`."""
    missing = missing_files(folder, manifest)

    def differs(name: str, recorded: dict[str, Any]) -> bool:
        if name in missing:
            return True
        if "sample" in recorded and not whole and not name.endswith(NATIVE_SUFFIXES):
            return sample_digest(folder / name) != recorded["sample"]
        return whole_digest(folder / name) != recorded["sha256"]

    return [name for name, recorded in manifest["files"].items() if differs(name, recorded)]


def _mark(folder: Path, name: str) -> None:
    (folder / DAMAGED).write_text(f"{name}\n")
