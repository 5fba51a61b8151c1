"""Trains one network: head alone, then what `trainable_from` leaves, under a one-cycle rate (C3).

    last.pt        {"network", "classes", "model"}; while training also what a resume needs
    best.pt        the same of the epoch with the best accuracy on the watched pictures
    history.jsonl  one line an epoch: rate, losses, accuracy
    _times.jsonl   one line an epoch: its seconds, images a second; decides nothing

Everything random follows from (seed, epoch, segment), and a checkpoint falls between segments: a
run that was killed and resumed ends, on a CPU, with the bytes of one that was not.
"""

import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from tqdm import tqdm

from lib.artifacts import replacing
from lib.catalogue.reader import PictureReader
from lib.catalogue.shuffle import EpochOrder
from lib.config import Model, Run
from lib.errors import UserError
from lib.vision import device as devices
from lib.vision import zoo
from lib.vision.network import Network
from lib.vision.views import centre, cut

SEGMENT_STEPS = 250  # between two moments at which a checkpoint may be written
SAVE_SECONDS = 120.0  # between two checkpoints within an epoch
CHECK_STEPS = 25  # between two looks at the loss: each makes a GPU wait
WATCHED = 5_000  # pictures that are scored after an epoch, at most: half a point of error
TIMES = ("images_per_second", "seconds")  # of an epoch's line
WARM_UP = 0.25  # share of the steps in which the rate rises


@dataclass
class Progress:
    """Where a run stands: plain data, stored in `last.pt`."""

    epoch: int = 0  # finished ones
    segment: int = 0  # finished ones of the epoch under way
    loss: float = 0.0  # sum over the steps of the epoch under way
    seconds: float = 0.0  # spent on the epoch under way
    history: list[dict[str, Any]] = field(default_factory=list)

    @property
    def best(self) -> float:
        return max((line["valid_accuracy"] or 0.0 for line in self.history), default=-1.0)


@dataclass(frozen=True)
class Lesson:
    """What a network learns from.

    labels int16 [I]: class of each picture row of the reader's catalogue. train_rows, valid_rows
    int64, ascending: rows that train, and rows that only watch (may be empty: best.pt is then
    last.pt).
    """

    reader: PictureReader
    labels: np.ndarray
    train_rows: np.ndarray
    valid_rows: np.ndarray
    classes: int


def train(folder: Path, model: Model, lesson: Lesson, seed: int, run: Run) -> dict[str, Any]:
    """Train `model` into `folder`, from where an earlier call was stopped.

    Returns facts: images, epochs, accuracy of the last and best epoch, images_per_second.
    Raises UserError for a loss that is no number, for weights that cannot be had, and for a crop
    that the network cannot take.
    """
    _check_rows(lesson)
    if not _finished(folder):
        training = _Training(folder, model, lesson, seed)
        training.start(devices.choose(run, model))
        training.run()
    return _facts(folder, len(lesson.train_rows))


class _Training:
    """The state that the steps of one run share."""

    def __init__(self, folder: Path, model: Model, lesson: Lesson, seed: int) -> None:
        self.folder, self.model, self.seed = folder, model, seed
        self.reader, self.classes = lesson.reader, lesson.classes
        self.labels = torch.from_numpy(lesson.labels.astype(np.int64))
        self.train_rows, self.valid_rows = lesson.train_rows, _spread(lesson.valid_rows, WATCHED)
        self.batch = min(model.batch, len(self.train_rows))
        # Of an epoch; the last, short batch is left out.
        self.steps = len(self.train_rows) // self.batch
        self.epochs = model.head_epochs + model.epochs
        self.progress = Progress()

    def start(self, device: torch.device) -> None:
        """Build the network and its optimizer, or take them up from `last.pt`."""
        self.device = device
        saved = _read_checkpoint(self.folder / "last.pt")
        if saved:
            self.progress = Progress(**saved["progress"])
        torch.manual_seed(self.seed)
        weights = "none" if saved else self.model.weights
        net = zoo.build(self.model.network, self.classes, weights)
        net.check_size(self.model.crop)
        if saved:
            net.load_state_dict(saved["model"])
        self.net = net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.net.freeze_until(self.model.trainable_from)
        self._begin_phase()
        if saved and saved["optimizer"]:
            self.optimizer.load_state_dict(saved["optimizer"])

    def run(self) -> None:
        images = self.epochs * self.steps * self.batch
        done = (self.progress.epoch * self.steps + self._first_step()) * self.batch
        title = f"{self.folder.parent.name}/{self.folder.name.removesuffix('.partial')}"
        with tqdm(
            total=images, initial=done, unit=" images", desc=title, disable=None, mininterval=1
        ) as bar:
            while self.progress.epoch < self.epochs:
                self._run_epoch(bar)
        self._finish()

    @property
    def phase(self) -> str:
        return "head" if self.progress.epoch < self.model.head_epochs else "body"

    def _first_step(self) -> int:
        return self.progress.segment * SEGMENT_STEPS

    def _begin_phase(self) -> None:
        self.net.freeze_body(self.phase == "head")
        self.optimizer = _optimizer(self.net, self.model, self.phase)

    def _run_epoch(self, bar: tqdm) -> None:
        progress, start = self.progress, time.monotonic()
        order = EpochOrder(self.train_rows, self.seed, progress.epoch)
        segments = math.ceil(self.steps / SEGMENT_STEPS)
        saved_at = start
        while progress.segment < segments:
            first = self._first_step()
            last = min(first + SEGMENT_STEPS, self.steps)
            self._run_segment(order.slice(first * self.batch, last * self.batch), first, bar)
            progress.segment += 1
            now = time.monotonic()
            if progress.segment < segments and now - saved_at > SAVE_SECONDS:
                before = progress.seconds
                progress.seconds += now - start
                self._save("last.pt", resume=True)
                progress.seconds = before
                saved_at = now
        progress.seconds += time.monotonic() - start
        self._end_epoch(bar)

    def _run_segment(self, rows: np.ndarray, first: int, bar: tqdm) -> None:
        model, progress = self.model, self.progress
        seeds = np.random.SeedSequence([self.seed, progress.epoch, progress.segment])
        torch.manual_seed(int(seeds.generate_state(1)[0]))  # dropout
        self.net.train()
        total = torch.zeros((), device=self.device)
        batches = self.reader.batches(rows, self.batch, model.crop, seeds, model.flip)
        for step, (piece, pictures) in enumerate(batches, first):
            loss = self._step(step, piece, pictures)
            total += loss
            bar.update(len(piece))
            if step % CHECK_STEPS == 0:
                self._look(float(loss), step)
                bar.set_postfix_str(f"loss {float(loss):.3f}", refresh=False)
        self._look(float(total), first + len(rows) // self.batch)
        progress.loss += float(total)

    def _step(self, step: int, rows: np.ndarray, pictures: np.ndarray) -> torch.Tensor:
        model = self.model
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate(step)
        truth = self.labels[rows].to(self.device, non_blocking=True)
        with devices.autocast(model, self.device):
            logits = self.net(self.net.normalise(devices.moved(pictures, self.device)))
        loss = functional.cross_entropy(logits, truth, label_smoothing=model.label_smoothing)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if model.clip_norm > 0:
            nn.utils.clip_grad_norm_(self.net.parameters(), model.clip_norm)
        self.optimizer.step()
        return loss.detach()

    def _rate(self, step: int) -> float:
        if self.phase == "head":
            return self.model.head_lr
        done = (self.progress.epoch - self.model.head_epochs) * self.steps + step
        return one_cycle(done, self.model.epochs * self.steps, self.model.lr)

    def _look(self, loss: float, step: int) -> None:
        if not math.isfinite(loss):
            raise UserError(
                f"{self.folder}: the loss is {loss} in epoch {self.progress.epoch + 1}, step {step}"
                f" of {self.steps}; lower lr ({self.model.lr}) or set precision ="
                ' "float32"; the last good epoch is kept in last.pt'
            )

    def _end_epoch(self, bar: tqdm) -> None:
        progress, phase = self.progress, self.phase
        loss, accuracy = self._watch()
        better = accuracy is not None and accuracy > progress.best
        progress.history.append(
            {
                "epoch": progress.epoch + 1,
                "phase": phase,
                "lr": self._rate(self.steps - 1),
                "loss": progress.loss / self.steps,
                "valid_loss": loss,
                "valid_accuracy": accuracy,
                "images_per_second": round(self.steps * self.batch / progress.seconds, 1),
                "seconds": round(progress.seconds, 2),
            }
        )
        progress.epoch += 1
        progress.segment, progress.loss, progress.seconds = 0, 0.0, 0.0
        if self.phase != phase:
            self._begin_phase()
        if better:
            self._save("best.pt", resume=False)
        self._save("last.pt", resume=True)
        self._write_history()

    def _watch(self) -> tuple[float | None, float | None]:
        """Loss and accuracy, by picture, of the centre crops of the watched rows."""
        if len(self.valid_rows) == 0:
            return None, None
        self.net.eval()
        loss, right = 0.0, 0
        whole, crop = self.model.resize, self.model.crop
        for rows, pictures in self.reader.batches(self.valid_rows, 2 * self.batch, crop):
            middle = cut(devices.moved(pictures, self.device), centre(whole, crop), crop)
            truth = self.labels[rows].to(self.device)
            with torch.inference_mode(), devices.autocast(self.model, self.device):
                logits = self.net(self.net.normalise(middle))
            loss += float(functional.cross_entropy(logits, truth, reduction="sum"))
            right += int((logits.argmax(1) == truth).sum())
        return loss / len(self.valid_rows), right / len(self.valid_rows)

    def _save(self, name: str, resume: bool) -> None:
        state: dict[str, Any] = {
            "network": self.model.network,
            "classes": self.classes,
            "model": {key: value.cpu() for key, value in self.net.state_dict().items()},
        }
        if resume:
            state["optimizer"] = self.optimizer.state_dict()
            state["progress"] = asdict(self.progress)
        with replacing(self.folder / name) as path:
            torch.save(state, path)

    def _write_history(self) -> None:
        history = self.progress.history
        learnt = [{key: line[key] for key in line if key not in TIMES} for line in history]
        times = [{key: line[key] for key in ("epoch", *TIMES)} for line in history]
        for name, lines in (("history.jsonl", learnt), ("_times.jsonl", times)):
            with replacing(self.folder / name) as path:
                path.write_text("".join(json.dumps(line) + "\n" for line in lines))

    def _finish(self) -> None:
        """Leave weights alone in last.pt, which marks the folder as finished."""
        self._write_history()
        if len(self.valid_rows) == 0:
            self._save("best.pt", resume=False)
        self._save("last.pt", resume=False)


def one_cycle(step: int, steps: int, peak: float) -> float:
    """The rate at `step` of `steps`: from peak/25 up in a line, then down to 0 along a cosine."""
    rise = WARM_UP * steps
    if step < rise:
        return peak * (0.04 + 0.96 * step / rise)
    return peak * 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1.0, steps - rise)))


def _optimizer(net: Network, model: Model, phase: str) -> torch.optim.Optimizer:
    """Over what trains in the phase. Biases and BatchNorm's scales do not decay."""
    trained = [p for p in net.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": model.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if phase == "head" or model.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=model.lr)
    return torch.optim.SGD(groups, lr=model.lr, momentum=0.9, nesterov=True)


def _spread(rows: np.ndarray, most: int) -> np.ndarray:
    """At most `most` of the rows, evenly spread."""
    if len(rows) <= most:
        return rows
    return rows[np.linspace(0, len(rows) - 1, most).astype(np.int64)]


def _check_rows(lesson: Lesson) -> None:
    labels, rows, classes = lesson.labels, lesson.train_rows, lesson.classes
    if len(rows) < 2:
        raise UserError(f"{len(rows)} pictures are left to train on; lower split.locked or folds")
    wrong = (labels[rows] < 0) | (labels[rows] >= classes)
    if wrong.any():
        raise ValueError(f"picture row {rows[wrong.argmax()]} has no class below {classes}")


def _read_checkpoint(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    return torch.load(path, map_location="cpu", weights_only=True)


def _finished(folder: Path) -> bool:
    saved = _read_checkpoint(folder / "last.pt")
    return saved is not None and "progress" not in saved


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open() as file:
        for line in file:
            yield json.loads(line)


def _facts(folder: Path, images: int) -> dict[str, Any]:
    history = list(_lines(folder / "history.jsonl"))
    accuracies = [h["valid_accuracy"] for h in history if h["valid_accuracy"] is not None]
    return {
        "images": images,
        "epochs": len(history),
        "last_accuracy": accuracies[-1] if accuracies else None,
        "best_accuracy": max(accuracies, default=None),
        "images_per_second": list(_lines(folder / "_times.jsonl"))[-1]["images_per_second"],
    }
