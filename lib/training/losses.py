"""What a step minimises (O6, T2, T6): cross-entropy, smoothed, focal, mixed, along the tree."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from lib.config.model import Loss

LEAST = 1e-6  # of a group's probability, whose logarithm is taken


class Losses(nn.Module):
    """logits float [n, classes] and truth int64 [n] -> loss of each, float [n].

    levels: for each upper level of the tree int [classes], the group that a class is of. Loss and
    accuracy of a level are those of the probabilities added up by group.
    """

    def __init__(self, settings: Loss, levels: Sequence[np.ndarray] = ()) -> None:
        super().__init__()
        self.settings = settings
        self.count = len(levels)
        for number, level in enumerate(levels):
            group = torch.from_numpy(np.asarray(level, np.int64))
            self.register_buffer(f"group{number}", group)
            # A product with it adds up by group, the same on every device and in every run.
            self.register_buffer(f"member{number}", functional.one_hot(group).float())

    def forward(self, logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        smoothing = self.settings.label_smoothing
        if self.settings.focal_gamma:
            loss = _focal(logits, truth, self.settings.focal_gamma, smoothing)
        else:
            loss = functional.cross_entropy(
                logits, truth, label_smoothing=smoothing, reduction="none"
            )
        if self.settings.hierarchy_weight and self.count:
            loss = loss + self.settings.hierarchy_weight * self._of_levels(logits, truth)
        return loss

    def right_by_level(self, logits: torch.Tensor, truth: torch.Tensor) -> list[torch.Tensor]:
        """bool [n] for each level: the likeliest group is the true one."""
        probs = logits.softmax(1)
        return [(probs @ member).argmax(1) == group[truth] for group, member in self._levels()]

    def _of_levels(self, logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        probs = logits.softmax(1)
        total = torch.zeros_like(probs[:, 0])
        for group, member in self._levels():
            of_truth = (probs @ member).gather(1, group[truth][:, None])[:, 0]
            total = total - of_truth.clamp(min=LEAST).log()
        return total / self.count

    def _levels(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        return [
            (self.get_buffer(f"group{number}"), self.get_buffer(f"member{number}"))
            for number in range(self.count)
        ]


def _focal(
    logits: torch.Tensor, truth: torch.Tensor, power: float, smoothing: float
) -> torch.Tensor:
    """Focal loss of each row [n], class by class, so that smoothed labels keep their say.

    Were all of the smoothed loss weighed by what the true class lacks, it would be least where
    that lacks nothing: smoothing would be undone.
    """
    classes = logits.shape[1]
    share = torch.full_like(logits, smoothing / classes)
    share.scatter_(1, truth[:, None], 1 - smoothing + smoothing / classes)
    log_probs = logits.log_softmax(1)
    # A power below 1 has no gradient where nothing is lacking.
    lacking = (1 - log_probs.exp()).clamp(min=LEAST)
    return -(share * lacking**power * log_probs).sum(1)


def mixed(inputs: torch.Tensor, alpha: float) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Each input [n, ...] mixed with another of the batch, that other int64 [n], and the share.

    share is the weight of the input itself, drawn once a batch from Beta(alpha, alpha) by torch's
    generator.
    """
    share = float(torch.distributions.Beta(alpha, alpha).sample())
    other = torch.randperm(len(inputs)).to(inputs.device)
    return inputs * share + inputs[other] * (1 - share), other, share
