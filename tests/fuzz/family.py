"""What a family of inputs is."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.mutators import Mutator, mutated


class PassedOver(Exception):
    """The reader says, as documented, that this one image or record cannot be used."""


def _nothing(inside: Path) -> None:
    pass


@dataclass(frozen=True)
class Family:
    """One kind of input.

    make_seeds(folder): valid inputs, the same in each process.
    read(data, inside): calls the real reader on a mutated input, with files in the folder `inside`;
        returns "passed over" where bad records were left out, or raises `PassedOver`. UserError is
        the clear line to the user; any other exception is a finding.
    prepare(inside): called once in each process, before its first input.
    own: mutators that know the format. tokens: words of the format.
    behind_checksum: the reader runs only after the bytes were compared with a checksum, and may
        fail in any way but one: memory, hangs and files elsewhere are findings still.
    weight: share of the inputs of a campaign.
    is_slow: not part of the quick run of the tests.
    max_bytes: that memory may grow by; 0: the default.
    """

    name: str
    make_seeds: Callable[[Path], Sequence[bytes]]
    read: Callable[[bytes, Path], str | None]
    prepare: Callable[[Path], None] = _nothing
    own: Sequence[Mutator] = ()
    tokens: Sequence[bytes] = ()
    behind_checksum: bool = False
    weight: float = 1.0
    max_bytes: int = 0
    is_slow: bool = False

    def input(self, number: int, seeds: Sequence[bytes]) -> bytes:
        """Input `number`; the seeds themselves come first, and must be accepted."""
        if number < len(seeds):
            return seeds[number]
        return mutated(self.name, number, seeds, self.own, self.tokens)


def write(path: Path, data: bytes) -> Path:
    """Write a file quickly: no new file where one of that name exists."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.write(descriptor, data) if len(data) < 1 << 20 else path.write_bytes(data)
    os.close(descriptor)
    return path


def clear(folder: Path) -> Path:
    """An empty folder: what earlier inputs left is deleted."""
    if folder.exists():
        for entry in os.scandir(folder):
            if entry.is_dir(follow_symlinks=False):
                clear(Path(entry.path)).rmdir()
            else:
                os.unlink(entry.path)
    else:
        folder.mkdir(parents=True)
    return folder
