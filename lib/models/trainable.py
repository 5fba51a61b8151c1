"""What the training loop asks of a network, whatever it sees."""

from typing import Self

import torch
from torch import nn

from lib.errors import UserError


class Classifier(nn.Module):
    """What `normalise` gives -> logits float [n, classes]. `mean` is a buffer on its device."""

    mean: torch.Tensor
    head: nn.Module

    def normalise(self, inputs: torch.Tensor) -> torch.Tensor:
        """What a feed gives, on the device -> float32, first axis kept."""
        raise NotImplementedError

    def freeze_until(self, unit: int) -> None:
        """Keep the body's parts before `unit` as they are; UserError for one that is not there."""
        raise NotImplementedError

    def freeze_body(self, frozen: bool) -> None:
        """Freeze everything but the head, or only what `freeze_until` froze."""
        raise NotImplementedError

    @property
    def classes(self) -> int:
        count = self.head.out_features
        assert isinstance(count, int)
        return count


class SingleStageClassifier(Classifier):
    """A network whose `body` trains as a whole or not at all."""

    body: nn.Module

    def __init__(self) -> None:
        super().__init__()
        self._frozen_body = False

    def freeze_until(self, unit: int) -> None:
        """There is nothing to freeze by parts. Raises UserError for any unit but 0."""
        if unit:
            raise UserError(f"freeze_until = {unit}: this network trains as a whole; set 0")

    def freeze_body(self, frozen: bool) -> None:
        """Freeze everything but the head, or nothing."""
        self._frozen_body = frozen
        self.body.requires_grad_(not frozen)
        if frozen:
            self.body.zero_grad(set_to_none=True)  # an optimizer would go on with what is left
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if self._frozen_body:
            self.body.eval()
        return self
