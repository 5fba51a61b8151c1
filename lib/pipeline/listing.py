"""Lines that say whether artifacts are fresh, stale or missing, for `--dry-run` and `--status`"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from lib.pipeline.artifact import Artifact, Status


def state_lines(artifacts: Sequence[Artifact], states: dict[Path, Status]) -> Iterator[str]:
    """A line for each artifact, with all reasons why it is stale."""
    for artifact in listed(artifacts, states):
        yield state_line(artifact, str(states[artifact.path]))


def listed(artifacts: Sequence[Artifact], states: dict[Path, Status]) -> list[Artifact]:
    """The artifacts that a command builds, and those that it only reads and that are not fresh."""
    return [a for a in artifacts if not a.frozen or not states[a.path].fresh]


def state_line(artifact: Artifact, state: str) -> str:
    """The line of an artifact. state: of `Status`, in words."""
    line = f"{artifact.path}: {state}"
    return f"{line}; not built by this command; train first" if artifact.frozen else line
