"""What training leaves on disk, and where a run stands.

last.pt        {"network", "classes", "model"}; while training also what a resume needs
best.pt        the same of the epoch with the best accuracy on the watched rows
history.jsonl  one line an epoch: rate, losses, accuracy
_times.jsonl   one line an epoch: its seconds, by wall and of this process's cores; decides nothing
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from lib.utils.files import atomic_write

TIMES = ("images_per_second", "seconds", "cpu_seconds")  # of an epoch's line


@dataclass
class TrainState:
    """Where a run stands: plain data, stored in `last.pt`."""

    epoch: int = 0  # finished ones
    segment: int = 0  # finished ones of the epoch under way
    loss: float = 0.0  # sum over the steps of the epoch under way
    hits: float = 0.0  # the same of the shares of pictures that were right
    seconds: float = 0.0  # spent on the epoch under way
    cpu_seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)

    @property
    def best(self) -> float:
        return max((line["valid_accuracy"] or 0.0 for line in self.history), default=-1.0)

    @property
    def losses(self) -> list[float]:
        """Of the body's finished epochs: the watched loss, or the trained one without it."""
        body = [line for line in self.history if line["phase"] == "body"]
        return [line["loss"] if line["valid_loss"] is None else line["valid_loss"] for line in body]


def read(path: Path) -> dict[str, Any] | None:
    """A checkpoint, None if there is none."""
    if not path.exists():
        return None
    return torch.load(path, map_location="cpu", weights_only=True)


def write(path: Path, state: dict[str, Any]) -> None:
    """In one step: a kill leaves the old file or the new one."""
    with atomic_write(path) as temporary:
        torch.save(state, temporary)


def finished(folder: Path) -> bool:
    saved = read(folder / "last.pt")
    return saved is not None and "progress" not in saved


def write_history(folder: Path, history: list[dict[str, Any]]) -> None:
    learnt = [{key: line[key] for key in line if key not in TIMES} for line in history]
    times = [{key: line.get(key) for key in ("epoch", *TIMES)} for line in history]
    for name, lines in (("history.jsonl", learnt), ("_times.jsonl", times)):
        with atomic_write(folder / name) as path:
            path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def facts(folder: Path, images: int) -> dict[str, Any]:
    """What a finished folder says of its run, for the manifest."""
    history = list(_lines(folder / "history.jsonl"))
    accuracies = [h["valid_accuracy"] for h in history if h["valid_accuracy"] is not None]
    return {
        "images": images,
        "epochs": len(history),
        "last_accuracy": accuracies[-1] if accuracies else None,
        "best_accuracy": max(accuracies, default=None),
        "images_per_second": list(_lines(folder / "_times.jsonl"))[-1]["images_per_second"],
    }


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open() as file:
        for line in file:
            yield json.loads(line)
