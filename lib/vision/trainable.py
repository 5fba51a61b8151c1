"""What the training loop asks of a network, whatever it sees."""

import torch
from torch import nn


class Trainable(nn.Module):
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
