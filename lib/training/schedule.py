"""How long a model's epochs are and what is set in each: plain numbers, nothing trains here."""

from dataclasses import dataclass

from lib.config.model import Model
from lib.training import rates


@dataclass(frozen=True)
class Schedule:
    """A model's epochs over `shown` items each: first those of the head alone, then the body's."""

    model: Model
    shown: int

    @property
    def epochs(self) -> int:
        return self.model.head_only_epochs + self.model.epochs

    def of_head(self, epoch: int) -> bool:
        return epoch < self.model.head_only_epochs

    def batch(self, epoch: int) -> int:
        """Items a step; it may grow while the rate stays (C4)."""
        body = epoch - self.model.head_only_epochs
        grown = [size for first, size in self.model.batch_size_schedule if first <= body]
        return min(grown[-1] if grown else self.model.batch_size, self.shown)

    def piece(self, epoch: int) -> int:
        """Items that pass at a time."""
        return -(-self.batch(epoch) // self.model.grad_accum_steps)

    def steps(self, epoch: int) -> int:
        """Of an epoch; what is left of less than a batch is not shown."""
        return self.shown // self.batch(epoch)

    def trainable_from(self, epoch: int) -> int:
        """The first unit of the body that trains in an epoch (T4, O6)."""
        plan = self.model.unfreeze_schedule
        body = max(epoch - self.model.head_only_epochs, 0)
        return plan[min(body, len(plan) - 1)] if plan else self.model.freeze_until

    @property
    def lowest_unit(self) -> int:
        """The first that ever trains."""
        return min(self.model.unfreeze_schedule, default=self.model.freeze_until)

    def rate(self, epoch: int, step: int, losses: list[float]) -> tuple[float, float]:
        """Learning rate and momentum of a step; losses: of the body's epochs so far."""
        if self.of_head(epoch):
            return self.model.head_lr, rates.MOMENTUM
        plan, first = self.model.lr_schedule, self.model.head_only_epochs
        done = sum(self.steps(e) for e in range(first, epoch)) + step
        steps = sum(self.steps(e) for e in range(first, self.epochs))
        falls = rates.plateaus(plan, losses) if plan.kind == "plateau" else 0
        rate = rates.rate(plan, self.model.lr, done, steps, epoch - first, falls)
        return rate, rates.momentum(plan, done, steps)
