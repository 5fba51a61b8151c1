"""A training run: its fixed setup and its changing state; how it starts, resumes and is saved."""

import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from lib.config.model import Model
from lib.config.schema import Run
from lib.errors import UserError
from lib.models.classifier import Classifier
from lib.runtime import device as devices
from lib.runtime.distributed import ProcessGroup
from lib.training import checkpoint
from lib.training.checkpoint import Progress
from lib.training.dataset import TrainingSet, num_rows_of_epoch
from lib.training.evaluate import evenly_spaced
from lib.training.loaders.image_loader import Loader, shard_loader
from lib.training.losses import LabelSetLosses, Losses
from lib.training.masks import MaskLosses
from lib.training.optimizer import OptimizerStep
from lib.training.schedule import Schedule
from lib.training.weight_averaging import WeightAverage, create_average

SAVE_SECONDS = 120.0  # least time between two checkpoints within an epoch
MAX_VALID_ROWS = 5_000  # rows evaluated after an epoch; standard error of at most 0.7 points


@dataclass(frozen=True)
class TrainSetup:
    """What stays the same during a run.

    loader: loads this rank's shards. weights: float32 [R] or None.
    labels: int64 [R], the class of each row; or int8 [R, classes], its set of classes.
    valid_rows: int64, rows to evaluate after each epoch.
    """

    folder: Path
    model_cfg: Model
    training_set: TrainingSet
    seed: int
    run: Run
    group: ProcessGroup
    device: torch.device
    schedule: Schedule
    loader: Loader
    labels: torch.Tensor
    weights: torch.Tensor | None
    valid_rows: np.ndarray
    losses: Losses | LabelSetLosses | MaskLosses


@dataclass
class ChunkStats:
    """Sums over the steps of the current chunk, on the device, so that no step waits for them.

    loss: sum of this rank's losses. num_correct: sum of the fractions of rows that were correct.
    true_probs: float32 [rows of the chunk], probability of the true class; 0 in other ranks' rows.
    """

    loss: torch.Tensor
    num_correct: torch.Tensor
    true_probs: np.ndarray

    @classmethod
    def zeros(cls, num_rows: int, device: torch.device) -> Self:
        """The sums before the first step of a chunk of `num_rows` rows."""
        zero = torch.zeros((), device=device)
        return cls(zero, zero.clone(), np.zeros(num_rows, np.float32))


@dataclass
class TrainState:
    """What changes during a run.

    forward: `model`, compiled and wrapped for gradients over all ranks.
    hardness: float32 [2, train rows], 1 - p of the true class when each row was last shown: before
        the current epoch, which decides what it shows, and up to now.
    clock: time when `progress.seconds` was last updated. saved_at: time of the last checkpoint.
    """

    model: Classifier
    compiled: Any
    optimizer: OptimizerStep
    average: WeightAverage | None
    hardness: np.ndarray
    progress: Progress
    stats: ChunkStats
    forward: Any = None
    clock: np.ndarray = field(default_factory=lambda: read_clock())
    saved_at: float = 0.0


def create_setup(
    folder: Path,
    model_cfg: Model,
    training_set: TrainingSet,
    seed: int,
    run: Run,
    group: ProcessGroup,
) -> TrainSetup:
    """What the settings and the training set decide for the whole run."""
    device = devices.select_device(run, model_cfg)
    sampling, weights = model_cfg.sampling, training_set.weights
    labels = training_set.label_sets
    if labels is None:
        labels = training_set.labels.astype(np.int64)
    num_rows = num_rows_of_epoch(
        sampling, training_set.train_rows, training_set.labels, training_set.product
    )
    return TrainSetup(
        folder=folder,
        model_cfg=model_cfg,
        training_set=training_set,
        seed=seed,
        run=run,
        group=group,
        device=device,
        schedule=Schedule(model_cfg, num_rows),
        loader=shard_loader(training_set.loader, group),
        labels=torch.from_numpy(labels),
        weights=None if weights is None else torch.from_numpy(weights.astype(np.float32)),
        valid_rows=evenly_spaced(training_set.valid_rows, MAX_VALID_ROWS),
        losses=create_losses(model_cfg, training_set).to(device),
    )


def create_losses(
    model_cfg: Model, training_set: TrainingSet
) -> Losses | LabelSetLosses | MaskLosses:
    """The loss of classes, that of sets of classes, or that of masks."""
    if model_cfg.kind == "segmentation":
        return MaskLosses(model_cfg.segmentation)
    if training_set.label_sets is not None:
        return LabelSetLosses(model_cfg.loss, training_set.unannotated_weight)
    return Losses(model_cfg.loss, training_set.levels)


def start_or_resume(setup: TrainSetup) -> TrainState:
    """A new model and optimizer, or those of `last.pt`.

    Raises UserError if the nodes do not see the same `last.pt`.
    """
    cfg, data, path = setup.model_cfg, setup.training_set, setup.folder / "last.pt"
    saved = checkpoint.read(path)
    progress = checkpoint.read_progress(path, saved) if saved else Progress()
    position = (progress.epoch, progress.chunk, len(data.train_rows))
    if setup.group.broadcast(position) != position:
        raise UserError(f"{setup.folder}: differs between nodes; `work` must be a shared folder")
    torch.manual_seed(setup.seed)
    model = data.build_model("none" if saved else cfg.weights)
    if saved:
        model.load_state_dict(saved["model"])
    model.to(setup.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    setup.group.sync_bn(model)
    state = TrainState(
        model=model,
        compiled=torch.compile(model) if cfg.compile else model,
        optimizer=begin_phase(setup, model, progress.epoch),
        average=create_average(cfg.weight_average, model),
        hardness=np.ones(
            (2, len(data.train_rows) if cfg.sampling.hard_example_weight else 0), np.float32
        ),
        progress=progress,
        stats=ChunkStats.zeros(0, setup.device),
    )
    if saved:
        state.optimizer.optimizer.load_state_dict(saved["optimizer"])
        state.hardness = saved["hardness"].numpy()
        if state.average:
            state.average.load_state_dict(saved["average"])
    return state


def begin_phase(setup: TrainSetup, model: Classifier, epoch: int) -> OptimizerStep:
    """A new optimizer for the head, or for every unit that trains in some epoch of the body."""
    head_only = setup.schedule.is_head_only(epoch)
    model.freeze_until(setup.model_cfg.lowest_trainable_unit)
    model.freeze_body(head_only)
    return OptimizerStep(model, setup.model_cfg, head_only)


def freeze_units(setup: TrainSetup, state: TrainState) -> None:
    """Freeze the units that do not train in the current or, at the end, the last epoch."""
    if setup.model_cfg.unfreeze_schedule:
        epoch = min(state.progress.epoch, setup.schedule.num_epochs - 1)
        state.model.freeze_until(setup.schedule.first_trainable_unit(epoch))


def begin_epoch(setup: TrainSetup, state: TrainState) -> None:
    """Prepare the model for the steps of an epoch."""
    freeze_units(setup, state)
    state.model.train()
    state.forward = setup.group.wrap_ddp(state.compiled)
    state.clock = read_clock()
    state.saved_at = state.clock[0]


def read_clock() -> np.ndarray:
    """float64 [2]: wall-clock seconds, and CPU seconds of all cores of this process."""
    return np.array([time.monotonic(), time.process_time()])


def save_if_due(setup: TrainSetup, state: TrainState) -> None:
    """Write `last.pt` within an epoch if the last checkpoint is old enough."""
    in_epoch = state.progress.chunk < setup.schedule.num_chunks(state.progress.epoch)
    if in_epoch and state.clock[0] - state.saved_at > SAVE_SECONDS:
        check_finite_weights(setup, state)
        save_progress(setup, state)
        state.saved_at = state.clock[0]


def save_progress(setup: TrainSetup, state: TrainState) -> None:
    """Write `history.jsonl`, and `last.pt` with all that a resume needs."""
    if not setup.group.is_primary:
        return
    checkpoint.write_history(setup.folder, state.progress.history)
    resume = {
        "optimizer": state.optimizer.optimizer.state_dict(),
        "progress": asdict(state.progress),
        "hardness": torch.from_numpy(state.hardness),
    }
    if state.average:
        resume["average"] = state.average.state_dict()
    save_weights(setup, state, "last.pt", resume)


def save_weights(
    setup: TrainSetup, state: TrainState, name: str, resume: dict[str, Any] | None = None
) -> None:
    """Write the model's weights, and what a resume needs."""
    if setup.group.is_primary:
        weights = {key: value.cpu() for key, value in state.model.state_dict().items()}
        content = {
            "network": network_name(setup.model_cfg),
            "classes": setup.training_set.num_classes,
            "model": weights,
        }
        checkpoint.write(setup.folder / name, content | (resume or {}))


def network_name(model_cfg: Model) -> str:
    """What a checkpoint says that it holds: the architecture, or "fusion"."""
    return "fusion" if model_cfg.input == "embedding" else model_cfg.arch


def check_finite_loss(
    setup: TrainSetup, progress: Progress, rank_loss: torch.Tensor, step: int
) -> float:
    """The mean of the ranks' losses. Raises UserError, in every rank, if it is not finite."""
    loss = float(setup.group.all_reduce_mean(np.array([float(rank_loss)]))[0])
    if not math.isfinite(loss):
        raise non_finite_error(setup, progress, f"the loss is {loss}", step)
    return loss


def check_finite_weights(setup: TrainSetup, state: TrainState) -> None:
    """Raises UserError for weights that are not finite, so that they are never saved.

    The loss does not show them yet: it is from before the step.
    """
    values = list(state.model.state_dict().values())
    if state.average:
        values += state.average.values.values()
    sums = [value.abs().sum() for value in values if value.is_floating_point()]
    if not bool(torch.isfinite(torch.stack(sums)).all()):
        last_step = setup.schedule.first_step(state.progress.chunk)
        raise non_finite_error(setup, state.progress, "non-finite weights", last_step)


def non_finite_error(setup: TrainSetup, progress: Progress, what: str, step: int) -> UserError:
    """A message that names the epoch, the step and what to change."""
    num_steps, last = setup.schedule.num_steps(progress.epoch), setup.folder / "last.pt"
    message = (
        f"{setup.folder}: {what} in epoch {progress.epoch + 1}, step {min(step, num_steps)} of"
        f' {num_steps}; lower lr ({setup.model_cfg.lr}) or set precision = "float32", which starts'
        " the training again"
    )
    if progress.history:
        message += f'; to start it from the last good weights, copy {last} and set weights = "COPY"'
    return UserError(message)
