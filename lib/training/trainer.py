"""Trains one network: head alone, then what is not frozen (C3); `lib/training/schedule.py` says
when.

Everything random follows from (seed, epoch, segment), and a checkpoint falls between segments: a
run that was killed and resumed ends, on a CPU, with the bytes of one that was not. What it leaves
on disk is in `lib/training/checkpoint.py`. Several processes may train it together
(`lib/runtime/distributed.py`): all that decides is the same in each, and the first alone writes.
"""

import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from tqdm import tqdm

from lib.config.model import Model
from lib.config.schema import Run
from lib.data.shuffle import EpochOrder
from lib.errors import UserError
from lib.runtime import device as devices
from lib.runtime.distributed import ProcessGroup, here
from lib.training import checkpoint
from lib.training.checkpoint import TrainState
from lib.training.dataset import TrainingSet
from lib.training.evaluate import spread, watch
from lib.training.loader import MicroBatch, of_ranks, pieces
from lib.training.losses import Losses, mixed
from lib.training.optimizer import OptimizerStep
from lib.training.sampler import count_of_epoch, rows_of_epoch
from lib.training.schedule import Schedule
from lib.training.weight_averaging import BATCHES, averaged

SEGMENT_STEPS = 250  # between two moments at which a checkpoint may be written
SAVE_SECONDS = 120.0  # between two checkpoints within an epoch
CHECK_STEPS = 25  # between two looks at the loss: each makes a GPU wait
WATCHED = 5_000  # rows that are scored after an epoch, at most: half a point of error


def train(folder: Path, model: Model, lesson: TrainingSet, seed: int, run: Run) -> dict[str, Any]:
    """Train `model` into `folder`, from where an earlier call was stopped.

    Returns facts, in the first rank: images, epochs, accuracy of the last and best epoch,
    images_per_second. Raises UserError for a loss that is no number, for weights that cannot be
    had, for a crop that the network cannot take, and where memory does not suffice.
    """
    lesson.check()
    ranks = here()
    if not ranks.said(checkpoint.finished(folder)):
        training = _Training(folder, model, lesson, seed, ranks)
        with devices.catch_oom(folder, devices.oom_advice(model)):
            training.start(devices.select_device(run, model))
            training.run()
    # The first may be about to rename the folder: no other looks into it any more.
    return checkpoint.facts(folder, len(lesson.train_rows)) if ranks.first else {}


class _Training:
    """The state that the steps of one run share."""

    def __init__(
        self, folder: Path, model: Model, lesson: TrainingSet, seed: int, ranks: ProcessGroup
    ) -> None:
        self.folder, self.model, self.lesson, self.seed = folder, model, lesson, seed
        self.ranks, self.feed = ranks, of_ranks(lesson.feed, ranks)
        self.labels = torch.from_numpy(lesson.labels.astype(np.int64))
        weights = np.ones(0) if lesson.weights is None else lesson.weights
        self.weights = torch.from_numpy(weights.astype(np.float32))
        self.watched = spread(lesson.valid_rows, WATCHED)
        shown = count_of_epoch(model.sampling, lesson.train_rows, lesson.product)
        self.plan = Schedule(model, shown)
        self.progress = TrainState()
        # 1 - p of the true class of each row that trains, when it was last seen: before this
        # epoch, which decides what it shows, and up to now.
        rows = len(lesson.train_rows) if model.sampling.hard_example_weight else 0
        self.hardness = np.ones((2, rows), np.float32)

    def start(self, device: torch.device) -> None:
        """Build the network and its optimizer, or take them up from `last.pt`."""
        self.device = device
        saved = checkpoint.read(self.folder / "last.pt")
        if saved:
            self.progress = TrainState(**saved["progress"])
        stand = (self.progress.epoch, self.progress.segment, len(self.lesson.train_rows))
        if self.ranks.said(stand) != stand:
            raise UserError(f"{self.folder}: not the same on all nodes; let them share `work`")
        torch.manual_seed(self.seed)
        net = self.lesson.build("none" if saved else self.model.weights)
        if saved:
            net.load_state_dict(saved["model"])
        self.net = net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.ranks.norms_of_all(self.net)
        self.compiled = torch.compile(self.net) if self.model.compile else self.net
        self.losses = Losses(self.model.loss, self.lesson.levels).to(device)
        self.average = averaged(self.model.weight_average, self.net)
        self._begin_phase()
        if saved:
            self._take_up(saved)

    def _take_up(self, saved: dict[str, Any]) -> None:
        self.stepper.optimizer.load_state_dict(saved["optimizer"])
        if self.average:
            self.average.load_state(saved["average"])
        self.hardness = saved["hardness"].numpy()

    def run(self) -> None:
        sizes = [self.plan.steps(e) * self.plan.batch(e) for e in range(self.plan.epochs)]
        done = sum(sizes[: self.progress.epoch])
        title = f"{self.folder.parent.name}/{self.folder.name.removesuffix('.partial')}"
        silent = None if self.ranks.first else True
        shown = {"unit": " images", "desc": title, "disable": silent, "mininterval": 1}
        with tqdm(total=sum(sizes), initial=done, **shown) as bar:
            bar.update(self._first_step() * self.batch if self.progress.segment else 0)
            while self.progress.epoch < self.plan.epochs:
                self._run_epoch(bar)
        self._finish()

    @property
    def batch(self) -> int:
        return self.plan.batch(self.progress.epoch)

    def _first_step(self) -> int:
        return self.progress.segment * SEGMENT_STEPS

    def _begin_phase(self) -> None:
        """A new optimizer, over all that will ever train; the epoch's own units are frozen."""
        head = self.plan.of_head(self.progress.epoch)
        self.net.freeze_until(self.plan.lowest_unit)
        self.net.freeze_body(head)
        self.stepper = OptimizerStep(self.net, self.model, head)
        self._freeze()

    def _freeze(self) -> None:
        if self.model.unfreeze_schedule and self.progress.epoch < self.plan.epochs:
            self.net.freeze_until(self.plan.trainable_from(self.progress.epoch))
        self.forward = self.ranks.wrap(self.compiled)

    def _run_epoch(self, bar: tqdm) -> None:
        progress, start = self.progress, _clock()
        before = np.array([progress.seconds, progress.cpu_seconds])
        lesson, epoch = self.lesson, progress.epoch
        known = lesson.train_rows, lesson.labels, lesson.product
        rows = rows_of_epoch(self.model.sampling, *known, self.seed, epoch, self.hardness[0])
        order = EpochOrder(rows, self.seed, epoch)
        steps = self.plan.steps(epoch)
        segments = math.ceil(steps / SEGMENT_STEPS)
        saved_at = start[0]
        while progress.segment < segments:
            first = self._first_step()
            last = min(first + SEGMENT_STEPS, steps)
            self._run_segment(order.slice(first * self.batch, last * self.batch), first, bar)
            progress.segment += 1
            now = _clock()
            progress.seconds, progress.cpu_seconds = (before + now - start).tolist()
            if progress.segment < segments and now[0] - saved_at > SAVE_SECONDS:
                self._stop_if_spoilt()
                self._save("last.pt", resume=True)
                saved_at = now[0]
        self._end_epoch(bar)

    def _run_segment(self, rows: np.ndarray, first: int, bar: tqdm) -> None:
        seeds = np.random.SeedSequence([self.seed, self.progress.epoch, self.progress.segment])
        torch.manual_seed(int(seeds.generate_state(1)[0]) + self.ranks.rank)  # dropout, mixup
        self.net.train()
        self.right = np.zeros(len(rows), np.float32)  # p of the true class, of this rank's rows
        total = torch.zeros((), device=self.device)
        self.hits = torch.zeros((), device=self.device)  # sum of shares of batches that are right
        for step, batch in enumerate(self._steps(rows, seeds), first):
            loss = self._step(step, batch)
            total += loss
            bar.update(self.batch)
            if step % CHECK_STEPS == 0:
                bar.set_postfix_str(f"loss {self._looked_at(loss, step):.3f}", refresh=False)
        self.progress.loss += self._looked_at(total, first + len(rows) // self.batch)
        self.progress.hits += float(self.ranks.mean(np.array([float(self.hits)]))[0])
        if self.model.sampling.hard_example_weight:
            places = np.searchsorted(self.lesson.train_rows, rows)
            self.hardness[1, places] = 1 - self.ranks.highest(self.right)

    def _steps(self, rows: np.ndarray, seeds: np.random.SeedSequence) -> Iterator[list[MicroBatch]]:
        """The batches of a segment, each in as many pieces as it passes in."""
        epoch, size = self.progress.epoch, self.plan.piece(self.progress.epoch)
        fed = pieces(self.feed, self.ranks, rows, size, seeds, epoch, self.plan.epochs)
        while batch := list(islice(fed, self.model.grad_accum_steps)):
            yield batch

    def _step(self, step: int, batch: list[MicroBatch]) -> torch.Tensor:
        """Take a step; returns this rank's loss, whose mean over the ranks is the batch's."""
        progress = self.progress
        self.stepper.set(*self.plan.rate(progress.epoch, step, progress.losses))
        total = torch.zeros((), device=self.device)
        for number, piece in enumerate(batch, 1):
            with self.ranks.hold(self.forward, number < len(batch)):
                loss = self._loss(piece) * piece.weight
                self.stepper.add(loss)
            total += loss.detach() / len(batch)
        self.stepper.step()
        self.ranks.settle(self.net)
        if self.average:
            self.average.after_step()
        return total

    def _loss(self, piece: MicroBatch) -> torch.Tensor:
        """Mean loss of a piece."""
        rows = piece.rows
        truth = self.labels[rows].to(self.device, non_blocking=True)
        weight = self.weights[rows].to(self.device) if len(self.weights) else None
        shown = self.net.normalise(devices.to_device(piece.inputs, self.device))
        alpha = self.model.loss.mixup_alpha
        if not alpha:
            logits = self._logits(shown)
            self._remember(piece, logits.detach(), truth)
            return _mean(self.losses(logits, truth), weight)
        shown, other, share = mixed(shown, alpha)
        logits = self._logits(shown)
        of_other = _mean(
            self.losses(logits, truth[other]), None if weight is None else weight[other]
        )
        return share * _mean(self.losses(logits, truth), weight) + (1 - share) * of_other

    def _logits(self, shown: torch.Tensor) -> torch.Tensor:
        with devices.autocast(self.model, self.device):
            return self.forward(shown).float()

    def _remember(self, piece: MicroBatch, logits: torch.Tensor, truth: torch.Tensor) -> None:
        hits = (logits.argmax(1) == truth).float().mean()
        self.hits += hits * piece.weight / self.model.grad_accum_steps
        if self.model.sampling.hard_example_weight:
            right = logits.softmax(1).gather(1, truth[:, None])[:, 0]
            self.right[piece.place] = right.cpu().numpy()

    def _looked_at(self, of_rank: torch.Tensor, step: int) -> float:
        """The loss over all ranks; UserError in each of them if it is no number."""
        loss = float(self.ranks.mean(np.array([float(of_rank)]))[0])
        if not math.isfinite(loss):
            self._stop(f"the loss is {loss}", step)
        return loss

    def _stop_if_spoilt(self) -> None:
        """Nothing is saved of weights that are no numbers: the loss is that of before the step."""
        kept = [
            *self.net.state_dict().values(),
            *(self.average.mean.values() if self.average else ()),
        ]
        sums = [value.abs().sum() for value in kept if value.is_floating_point()]
        if not bool(torch.isfinite(torch.stack(sums)).all()):
            self._stop("weights are no numbers any more", self._first_step())

    def _stop(self, what: str, step: int) -> NoReturn:
        epoch = self.progress.epoch
        steps, last = self.plan.steps(epoch), self.folder / "last.pt"
        kept = (
            f'; {last} is from before: copy it and set weights = "its new path" to go on from there'
            if self.progress.history
            else ""
        )
        raise UserError(
            f"{self.folder}: {what} in epoch {epoch + 1}, step {min(step, steps)} of {steps}; lower"
            f' lr ({self.model.lr}) or set precision = "float32", and training begins anew{kept}'
        )

    def _end_epoch(self, bar: tqdm) -> None:
        progress, plan, epoch = self.progress, self.plan, self.progress.epoch
        steps, head = plan.steps(epoch), plan.of_head(epoch)
        if self.average and not head:
            self.average.after_epoch(epoch - self.model.head_only_epochs, self.model.epochs)
        self._stop_if_spoilt()
        with self._averaged():
            watched = self._watch()
            accuracy = watched["valid_accuracy"]
            if accuracy is not None and accuracy > progress.best:
                self._save("best.pt", resume=False)
        progress.history.append(
            {
                "epoch": epoch + 1,
                "phase": "head" if head else "body",
                "lr": plan.rate(epoch, steps - 1, progress.losses)[0],
                "loss": progress.loss / steps,
                # As it was met: with dropout, altered pictures, and weights that still moved.
                "accuracy": None if self.model.loss.mixup_alpha else progress.hits / steps,
                **watched,
                "images_per_second": round(steps * plan.batch(epoch) / progress.seconds, 1),
                "seconds": round(progress.seconds, 2),
                "cpu_seconds": round(progress.cpu_seconds, 2),
            }
        )
        self.hardness[0] = self.hardness[1]
        progress.epoch += 1
        progress.segment, progress.loss, progress.hits = 0, 0.0, 0.0
        progress.seconds, progress.cpu_seconds = 0.0, 0.0
        if plan.of_head(progress.epoch) != head:
            self._begin_phase()
        else:
            self._freeze()
        self._save("last.pt", resume=True)

    def _averaged(self) -> AbstractContextManager:
        """The mean of the weights in place of the last ones, where one is asked for."""
        if not self.average or not self.average.begun:
            return nullcontext()
        rows, batch = self.lesson.train_rows, self.plan.piece(max(self.plan.epochs - 1, 0))
        seeds = np.random.SeedSequence([self.seed, self.progress.epoch])
        # Whole batches: norms take the mean over batches, where a small one would count as much.
        batches = max(1, min(BATCHES, len(rows) // batch))
        order = EpochOrder(rows, self.seed, self.progress.epoch).slice(0, batch * batches)
        fed = self.feed.altered(order, batch, seeds, self.plan.epochs - 1, self.plan.epochs)
        shown = (self.net.normalise(devices.to_device(inputs, self.device)) for _, inputs in fed)
        return self.average.in_place(shown, self.ranks)

    def _watch(self) -> dict[str, Any]:
        judged = self.watched, self.labels, self.losses, 2 * self.plan.piece(0)
        return watch(self.net, self.model, self.lesson.feed, *judged, self.ranks)

    def _save(self, name: str, resume: bool) -> None:
        if not self.ranks.first:
            return
        state: dict[str, Any] = {
            "network": self.model.arch,
            "classes": self.lesson.classes,
            "model": {key: value.cpu() for key, value in self.net.state_dict().items()},
        }
        if resume:
            checkpoint.write_history(self.folder, self.progress.history)
            state["optimizer"] = self.stepper.optimizer.state_dict()
            state["progress"] = asdict(self.progress)
            if self.average:
                state["average"] = self.average.state()
            state["hardness"] = torch.from_numpy(self.hardness)
        checkpoint.write(self.folder / name, state)

    def _finish(self) -> None:
        """Leave weights alone in last.pt, which marks the folder as finished."""
        with self._averaged():
            if len(self.watched) == 0:
                self._save("best.pt", resume=False)
            self._save("last.pt", resume=False)


def _clock() -> np.ndarray:
    """float64 [2]: seconds by wall, and of all cores that worked for this process."""
    return np.array([time.monotonic(), time.process_time()])


def _mean(loss: torch.Tensor, weight: torch.Tensor | None) -> torch.Tensor:
    """Of a piece: what weighs less has less of a say, and does not lend it to the others."""
    return (loss if weight is None else loss * weight).mean()
