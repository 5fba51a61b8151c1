"""Files of a training run, and trained networks loaded from them.

last.pt        {"network", "classes", "model"}; while training also what a resume needs
best.pt        with checkpoint = "best": the epoch with the best accuracy on the validation rows
history.jsonl  one line per epoch: learning rate, losses, accuracies
_times.jsonl   one line per epoch: wall-clock and CPU seconds; nothing depends on it
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from lib.config.model import Backbone, Model
from lib.errors import UserError
from lib.models import factory
from lib.models.classifier import ImageClassifier
from lib.models.fusion import FusionModel
from lib.models.workarounds import load_tensors
from lib.pipeline.reading import read_json_lines, reading
from lib.utils.files import atomic_write
from lib.utils.kept import kept

MAX_CLASSES = 32_767  # as `lib/data/catalog.py` has it
TIMES = ("images_per_second", "seconds", "cpu_seconds")  # of an epoch's line


@dataclass
class Progress:
    """The position and the figures of a run: plain data, stored in `last.pt`."""

    epoch: int = 0  # finished epochs
    chunk: int = 0  # finished chunks of the current epoch
    loss: float = 0.0  # sum over the steps of the current epoch
    num_correct: float = 0.0  # sum over its steps of the fraction of rows that were correct
    seconds: float = 0.0  # wall-clock time spent on the current epoch
    cpu_seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)  # finished epochs

    @property
    def best_accuracy(self) -> float:
        """Highest validation accuracy of the finished epochs; -1 before the first."""
        return max((line["valid_accuracy"] or 0.0 for line in self.history), default=-1.0)

    @property
    def losses(self) -> list[float]:
        """Validation loss of the body's finished epochs; training loss if nothing validates."""
        body = [line for line in self.history if line["phase"] == "body"]
        return [line["loss"] if line["valid_loss"] is None else line["valid_loss"] for line in body]

    def begin_next_epoch(self) -> None:
        """Move to the start of the next epoch."""
        self.epoch += 1
        self.chunk, self.loss, self.num_correct = 0, 0.0, 0.0
        self.seconds, self.cpu_seconds = 0.0, 0.0


def read(path: Path) -> dict[str, Any] | None:
    """A checkpoint, None if there is none."""
    if not path.exists():
        return None
    with reading(path):
        checkpoint = load_tensors(path)
        return _checked(checkpoint)


def write(path: Path, checkpoint: dict[str, Any]) -> None:
    """Write a checkpoint in one step: a kill leaves the old file or the new one."""
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        torch.save(checkpoint, file)  # given a path, it hides why a write failed


def is_finished(folder: Path) -> bool:
    """Whether `last.pt` holds only weights, as at the end of a run."""
    checkpoint = read(folder / "last.pt")
    return checkpoint is not None and "progress" not in checkpoint


def read_progress(path: Path, checkpoint: dict[str, Any]) -> Progress:
    """The position of a run that was stopped.

    Raises UserError if another version of the program wrote the checkpoint.
    """
    try:
        return Progress(**checkpoint["progress"])
    except (TypeError, KeyError):
        raise UserError(
            f"{path}: written by another version, training cannot resume; delete {path.parent}"
        ) from None


def write_history(folder: Path, history: list[dict[str, Any]]) -> None:
    """Write `history.jsonl`, and the times apart from it, which differ from run to run."""
    figures = [{key: line[key] for key in line if key not in TIMES} for line in history]
    times = [{key: line.get(key) for key in ("epoch", *TIMES)} for line in history]
    for name, lines in (("history.jsonl", figures), ("_times.jsonl", times)):
        with atomic_write(folder / name) as path:
            path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def read_history(folder: Path) -> list[dict[str, Any]]:
    """What `write_history` wrote last; empty before."""
    if not (folder / "_times.jsonl").exists():  # the second of the two files
        return []
    pairs = (read_json_lines(folder / n, "epoch") for n in ("history.jsonl", "_times.jsonl"))
    return [figures | times for figures, times in zip(*pairs, strict=False)]


def facts(folder: Path, num_images: int) -> dict[str, Any]:
    """Figures of a finished run for the manifest."""
    history = read_json_lines(folder / "history.jsonl", "valid_accuracy")
    accuracies = [h["valid_accuracy"] for h in history if h["valid_accuracy"] is not None]
    times = read_json_lines(folder / "_times.jsonl", "images_per_second")
    with reading(folder / "history.jsonl"):
        return {
            "images": num_images,
            "epochs": len(history),
            "last_accuracy": accuracies[-1] if accuracies else None,
            "best_accuracy": max(accuracies, default=None),
            "images_per_second": times[-1]["images_per_second"],
        }


@kept
def load_classifier(path: Path, model_cfg: Model, device: torch.device) -> ImageClassifier:
    """The image network of a `last.pt` or `best.pt`, ready to predict.

    Raises UserError for a file that is missing, damaged or of another network.
    """
    checkpoint = _require(path)
    if checkpoint["network"] != model_cfg.arch:
        raise UserError(f"{path} holds {checkpoint['network']}, the config says {model_cfg.arch}")
    model = factory.create_from_config(model_cfg, checkpoint["classes"], "none")
    with reading(path):
        model.load_state_dict(checkpoint["model"])
    model.freeze_until(model_cfg.lowest_trainable_unit)
    return prepare_for_inference(model, device)


@kept
def load_fusion_model(
    path: Path, model_cfg: Model, width: int, device: torch.device
) -> FusionModel:
    """The fusion network of a `last.pt` or `best.pt`, ready to predict.

    width: length of the concatenated embeddings of an image.
    Raises UserError for a file that is missing, damaged or of other embeddings or settings.
    """
    checkpoint = _require(path)
    model = FusionModel(model_cfg.fusion, width, checkpoint["classes"])
    try:
        model.load_state_dict(checkpoint["model"])
    except RuntimeError:
        raise UserError(
            f"{path} is of another fusion than the config says ({width} values per image,"
            f" hidden_sizes = {list(model_cfg.fusion.hidden_sizes)}); delete its folder"
            " and run 02_train_cnn.py"
        ) from None
    return model.eval().to(device)


@kept
def load_backbone(backbone: Backbone, device: torch.device) -> ImageClassifier:
    """A backbone with its pretrained weights, for its embeddings; its classifier is untrained."""
    model = factory.create_model(backbone.arch, 2, backbone.weights)
    return prepare_for_inference(model, device)


def prepare_for_inference(model: ImageClassifier, device: torch.device) -> ImageClassifier:
    """The model on the device in evaluation mode, its batch norms fused into convolutions."""
    model.freeze_body(True)
    return model.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def _require(path: Path) -> dict[str, Any]:
    try:
        return _checked(load_tensors(path))
    except FileNotFoundError:
        raise UserError(f"{path}: no such checkpoint; run 02_train_cnn.py first") from None
    except Exception as error:  # a damaged zip or pickle fails in many ways
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path}: not a readable checkpoint: {reason}") from None


def _checked(checkpoint: Any) -> dict[str, Any]:
    """A value that `write` may have written. Raises ValueError for another."""
    names = {"network": str, "classes": int, "model": dict}
    for name, kind in names.items():
        if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get(name), kind):
            raise ValueError(f"no {name} in it")
    if not 0 < checkpoint["classes"] <= MAX_CLASSES:  # 1: a network that draws one class
        raise ValueError(f"{checkpoint['classes']} classes")
    return checkpoint
