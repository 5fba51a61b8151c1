"""Training losses: cross-entropy, focal, hierarchical, binary for label sets; mixup."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from lib.config.model import Loss

MIN_PROB = 1e-6  # lower bound of a probability whose logarithm or power is taken


class Losses(nn.Module):
    """logits float [n, classes], targets int64 [n] -> loss of each row, float [n].

    levels: int [classes] for each upper level of the category tree, the group of each class.
        Probabilities are added up by group for the loss and the accuracy of a level.

    Source of the focal loss: Lin et al., "Focal Loss for Dense Object Detection" (2017).
    """

    def __init__(self, settings: Loss, levels: Sequence[np.ndarray] = ()) -> None:
        super().__init__()
        self.settings = settings
        self.num_levels = len(levels)
        for i, level in enumerate(levels):
            group = torch.from_numpy(np.asarray(level, np.int64))
            self.register_buffer(f"group{i}", group)
            # A product with the one-hot groups adds up probabilities by group. Unlike a scatter,
            # it gives the same result on every device and in every run.
            self.register_buffer(f"one_hot{i}", functional.one_hot(group).float())

    def forward(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Loss of each row, float [n]."""
        smoothing = self.settings.label_smoothing
        if self.settings.focal_gamma:
            loss = _focal_loss(logits, targets, self.settings.focal_gamma, smoothing)
        else:
            loss = functional.cross_entropy(
                logits, targets, label_smoothing=smoothing, reduction="none"
            )
        if self.settings.hierarchy_weight and self.num_levels:
            loss = loss + self.settings.hierarchy_weight * self._hierarchical_loss(logits, targets)
        return loss

    def plain_sum(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Sum of the cross-entropies of all rows, float, as it is reported."""
        return functional.cross_entropy(logits, targets, reduction="sum")

    def correct(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Whether the most probable class is the true one, bool [n]."""
        return logits.argmax(1) == targets

    def correct_by_level(self, logits: torch.Tensor, targets: torch.Tensor) -> list[torch.Tensor]:
        """Whether the most probable group is the true one, bool [n] for each level."""
        probs = logits.softmax(1)
        return [(probs @ one_hot).argmax(1) == group[targets] for group, one_hot in self._levels()]

    def _hierarchical_loss(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Mean cross-entropy over the upper levels, float [n]."""
        probs = logits.softmax(1)
        total = torch.zeros_like(probs[:, 0])
        for group, one_hot in self._levels():
            target_prob = (probs @ one_hot).gather(1, group[targets][:, None])[:, 0]
            total = total - target_prob.clamp(min=MIN_PROB).log()
        return total / self.num_levels

    def _levels(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        return [
            (self.get_buffer(f"group{i}"), self.get_buffer(f"one_hot{i}"))
            for i in range(self.num_levels)
        ]


class LabelSetLosses(nn.Module):
    """logits float [n, classes], targets int8 [n, classes] -> loss of each row, float [n].

    A target is 1 for a class of the row, 0 for one that is verified to be absent, -1 for one that
    nobody looked for: it counts as absent, with the weight `unannotated_weight`. Binary
    cross-entropy, summed over the classes, has the gradient p - target for a logit, as
    cross-entropy has, so learning rates may stay.
    """

    num_levels = 0  # a set of classes has no one group on an upper level

    def __init__(self, settings: Loss, unannotated_weight: float) -> None:
        super().__init__()
        self.settings, self.unannotated_weight = settings, unannotated_weight

    def forward(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Loss of each row, float [n]; the focal factor is that of each class."""
        smoothing, gamma = self.settings.label_smoothing, self.settings.focal_gamma
        present = (targets == 1).float() * (1 - smoothing) + smoothing / 2
        if not gamma:
            loss = functional.binary_cross_entropy_with_logits(logits, present, reduction="none")
            return self._weigh(loss, targets).sum(1)
        yes, no = logits.sigmoid(), (-logits).sigmoid()
        yes_loss = present * no.clamp(min=MIN_PROB) ** gamma * functional.logsigmoid(logits)
        no_loss = (1 - present) * yes.clamp(min=MIN_PROB) ** gamma * functional.logsigmoid(-logits)
        return self._weigh(-yes_loss - no_loss, targets).sum(1)

    def plain_sum(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Sum of the binary cross-entropies of all rows, float, as it is reported."""
        present = (targets == 1).float()
        loss = functional.binary_cross_entropy_with_logits(logits, present, reduction="none")
        return self._weigh(loss, targets).sum()

    def correct(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Whether the most probable class is one of the row's, bool [n]."""
        return targets.gather(1, logits.argmax(1, keepdim=True))[:, 0] == 1

    def correct_by_level(self, logits: torch.Tensor, targets: torch.Tensor) -> list[torch.Tensor]:
        """No upper levels."""
        return []

    def _weigh(self, loss: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return torch.where(targets < 0, loss * self.unannotated_weight, loss)


def _focal_loss(
    logits: torch.Tensor, targets: torch.Tensor, gamma: float, smoothing: float
) -> torch.Tensor:
    """Focal loss of each row, float [n], class by class.

    The factor (1 - p) ** gamma belongs to each class of the smoothed label. If the true class's
    factor weighed the whole smoothed loss, p = 1 would have the lowest loss, and smoothing would
    have no effect.
    """
    num_classes = logits.shape[1]
    soft_targets = torch.full_like(logits, smoothing / num_classes)
    soft_targets.scatter_(1, targets[:, None], 1 - smoothing + smoothing / num_classes)
    log_probs = logits.log_softmax(1)
    # A gamma below 1 has no finite gradient at p = 1.
    complement = (1 - log_probs.exp()).clamp(min=MIN_PROB)
    return -(soft_targets * complement**gamma * log_probs).sum(1)


def weighted_mean(loss: torch.Tensor, weight: torch.Tensor | None) -> torch.Tensor:
    """Mean over a micro-batch of loss times weight, both float [n].

    The divisor is n: rows of low weight do not make the other rows count more.
    """
    return (loss if weight is None else loss * weight).mean()


def mixup_batch(inputs: torch.Tensor, alpha: float) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Mix each input [n, ...] with another one of the batch.

    Returns the mixed inputs, the index of each input's partner (int64 [n]), and the weight of the
    input itself, drawn once per batch from Beta(alpha, alpha) by torch's generator.
    Source: Zhang et al., "mixup: Beyond Empirical Risk Minimization" (2018).
    """
    share = float(torch.distributions.Beta(alpha, alpha).sample())
    partner = torch.randperm(len(inputs)).to(inputs.device)
    return inputs * share + inputs[partner] * (1 - share), partner, share
