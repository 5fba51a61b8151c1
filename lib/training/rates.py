"""The learning rate and the momentum of each step of the body (C4, O6, T1, T4, T5)."""

import math
from collections.abc import Sequence

from lib.config.model import LRSchedule

START = 0.04  # of the peak, where a warm-up begins
MOMENTUM = 0.9
MOMENTA = (0.85, 0.95)  # of one_cycle, at the peak and far from it
LEAST_GAIN = 1e-4  # share of the loss; less is a plateau


def rate(plan: LRSchedule, peak: float, step: int, steps: int, epoch: int, plateaus: int) -> float:
    """The rate at `step` of `steps`, both of the body, in its epoch `epoch`, all from 0.

    plateaus: what `plateaus` counts in the epochs before.
    """
    if plan.kind == "multistep":
        return [value for first, value in plan.milestones if first <= epoch][-1]
    if plan.kind == "cyclical":
        up = 1 - abs(2 * (step / steps * plan.num_cycles % 1) - 1)
        return peak * (plan.min_lr_ratio + (1 - plan.min_lr_ratio) * up)
    rise = plan.warmup_fraction * steps
    if step < rise:
        return peak * (START + (1 - START) * step / rise)
    if plan.kind == "plateau":
        return peak * plan.plateau_factor**plateaus
    if plan.kind == "constant":
        return peak
    done = (step - rise) / max(1.0, steps - rise) * plan.num_cycles % 1
    return peak * (
        plan.min_lr_ratio + (1 - plan.min_lr_ratio) * 0.5 * (1 + math.cos(math.pi * done))
    )


def momentum(plan: LRSchedule, step: int, steps: int) -> float:
    """SGD's momentum or Adam's first beta at `step` of `steps` of the body."""
    if plan.kind != "one_cycle":
        return MOMENTUM
    low, high = MOMENTA
    return high - (high - low) * rate(plan, 1.0, step, steps, 0, 0)


def plateaus(plan: LRSchedule, losses: Sequence[float]) -> int:
    """How often `plan.patience` epochs in a row brought no loss below the least before."""
    least, waited, found = math.inf, 0, 0
    for loss in losses:
        if loss < least - LEAST_GAIN * abs(loss):
            least, waited = loss, 0
            continue
        waited += 1
        if waited >= plan.plateau_patience:
            found, waited = found + 1, 0
    return found
