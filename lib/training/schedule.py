"""What changes from epoch to epoch and step to step: batch size, learning rate, frozen units."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lib.config.model import LRSchedule, Model

CHUNK_STEPS = 250  # steps between two moments at which a checkpoint may be written
WARMUP_START = 0.04  # share of the peak that a warm-up starts from
MOMENTUM = 0.9
ONE_CYCLE_MOMENTA = (0.85, 0.95)  # of one_cycle, at the peak and far from it
MIN_GAIN = 1e-4  # share of the loss; an epoch that gains less belongs to a plateau


@dataclass(frozen=True)
class Schedule:
    """The epochs of a model over `num_rows` rows each: head-only epochs first, then the body's."""

    model_cfg: Model
    num_rows: int

    @property
    def num_epochs(self) -> int:
        """Head-only epochs and epochs of the body."""
        return self.model_cfg.head_only_epochs + self.model_cfg.epochs

    def is_head_only(self, epoch: int) -> bool:
        """Whether only the head trains in this epoch."""
        return epoch < self.model_cfg.head_only_epochs

    def batch_size(self, epoch: int) -> int:
        """Rows of a step. It may grow by epoch in place of a falling learning rate.

        Source: Smith et al., "Don't Decay the Learning Rate, Increase the Batch Size" (2018).
        """
        body_epoch = epoch - self.model_cfg.head_only_epochs
        sizes = [size for first, size in self.model_cfg.batch_size_schedule if first <= body_epoch]
        return min(sizes[-1] if sizes else self.model_cfg.batch_size, self.num_rows)

    def micro_batch_size(self, epoch: int) -> int:
        """Rows of a forward pass; several make a batch where gradients are accumulated."""
        return -(-self.batch_size(epoch) // self.model_cfg.grad_accum_steps)

    def num_steps(self, epoch: int) -> int:
        """Steps of an epoch; rows that do not fill a batch are left out."""
        return self.num_rows // self.batch_size(epoch)

    def num_images(self, epoch: int) -> int:
        """Rows that the steps of an epoch show."""
        return self.num_steps(epoch) * self.batch_size(epoch)

    def num_chunks(self, epoch: int) -> int:
        """Chunks of CHUNK_STEPS steps of an epoch; the last one may be shorter."""
        return math.ceil(self.num_steps(epoch) / CHUNK_STEPS)

    def first_step(self, chunk: int) -> int:
        """The first step of a chunk in its epoch, both from 0."""
        return chunk * CHUNK_STEPS

    def first_trainable_unit(self, epoch: int) -> int:
        """The first unit of the body that trains in an epoch (gradual unfreezing)."""
        unfreeze = self.model_cfg.unfreeze_schedule
        body_epoch = max(epoch - self.model_cfg.head_only_epochs, 0)
        if not unfreeze:
            return self.model_cfg.freeze_until
        return unfreeze[min(body_epoch, len(unfreeze) - 1)]

    def lr_and_momentum(
        self, epoch: int, step: int, losses: Sequence[float]
    ) -> tuple[float, float]:
        """Learning rate and momentum of a step; losses: of the body's finished epochs."""
        if self.is_head_only(epoch):
            return self._head_lr(epoch), MOMENTUM
        settings, first = self.model_cfg.lr_schedule, self.model_cfg.head_only_epochs
        done = sum(self.num_steps(e) for e in range(first, epoch)) + step
        total = sum(self.num_steps(e) for e in range(first, self.num_epochs))
        plateaus = num_plateaus(settings, losses) if settings.kind == "plateau" else 0
        lr = learning_rate(settings, self.model_cfg.lr, done, total, epoch - first, plateaus)
        return lr, momentum(settings, done, total)

    def _head_lr(self, epoch: int) -> float:
        rows = self.model_cfg.head_lr_milestones
        return (
            [rate for first, rate in rows if first <= epoch][-1] if rows else self.model_cfg.head_lr
        )


def learning_rate(
    settings: LRSchedule, peak: float, step: int, steps: int, epoch: int, plateaus: int
) -> float:
    """Learning rate at body step `step` (0-based, of `steps`), in body epoch `epoch` (0-based).

    peak: highest learning rate. plateaus: result of `num_plateaus` for the epochs before.
    """
    if settings.kind == "multistep":
        return [value for first, value in settings.milestones if first <= epoch][-1]
    if settings.kind == "cyclical":
        height = 1 - abs(2 * (step / steps * settings.num_cycles % 1) - 1)
        return peak * (settings.min_lr_ratio + (1 - settings.min_lr_ratio) * height)
    warmup = settings.warmup_fraction * steps
    if step < warmup:
        return peak * (WARMUP_START + (1 - WARMUP_START) * step / warmup)
    if settings.kind == "plateau":
        return peak * settings.plateau_factor**plateaus
    if settings.kind == "constant":
        return peak
    phase = (step - warmup) / max(1.0, steps - warmup) * settings.num_cycles % 1
    cosine = 0.5 * (1 + math.cos(math.pi * phase))
    return peak * (settings.min_lr_ratio + (1 - settings.min_lr_ratio) * cosine)


def momentum(settings: LRSchedule, step: int, steps: int) -> float:
    """Momentum of SGD or first beta of AdamW at step `step` (0-based, of `steps`) of the body."""
    if settings.kind != "one_cycle":
        return MOMENTUM
    low, high = ONE_CYCLE_MOMENTA
    return high - (high - low) * learning_rate(settings, 1.0, step, steps, 0, 0)


def num_plateaus(settings: LRSchedule, losses: Sequence[float]) -> int:
    """How often `patience` epochs in a row did not improve on the lowest loss before them."""
    lowest, waited, plateaus = math.inf, 0, 0
    for loss in losses:
        if loss < lowest - MIN_GAIN * abs(loss):
            lowest, waited = loss, 0
            continue
        waited += 1
        if waited >= settings.plateau_patience:
            plateaus, waited = plateaus + 1, 0
    return plateaus
