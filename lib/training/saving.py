"""Writes the checkpoints of a run, and stops it at a loss or weights that are not finite."""

import math
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from lib.errors import UserError
from lib.training import checkpoint
from lib.training.checkpoint import Progress
from lib.training.state import TrainSetup, TrainState

SAVE_SECONDS = 120.0  # least time between two checkpoints within an epoch


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
            "network": setup.model_cfg.arch,
            "classes": setup.training_set.num_classes,
            "model": weights,
        }
        checkpoint.write(setup.folder / name, content | (resume or {}))


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
