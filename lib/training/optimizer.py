"""The steps of an optimiser: over what trains, with the rate and the momentum of the moment."""

import torch
from torch import nn

from lib.config.model import Model
from lib.training.rates import MOMENTUM


class OptimizerStep:
    """Adds up gradients of the pieces of a batch, and takes a step.

    head: only the head trains, by Adam (T4, T5); else everything that requires a gradient now, of
    which some may be frozen for a while. Biases and scales of norms do not decay.
    """

    def __init__(self, net: nn.Module, model: Model, head: bool) -> None:
        self.model = model
        self.trained = [p for p in net.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in self.trained if p.ndim > 1], "weight_decay": model.weight_decay},
            {"params": [p for p in self.trained if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.optimizer: torch.optim.Optimizer
        if head or model.optimizer == "adamw":
            self.optimizer = torch.optim.AdamW(groups, lr=model.lr)
        else:
            self.optimizer = torch.optim.SGD(groups, lr=model.lr, momentum=MOMENTUM, nesterov=True)

    def set(self, rate: float, momentum: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = rate
            if "momentum" in group:
                group["momentum"] = momentum
            else:
                group["betas"] = (momentum, group["betas"][1])

    def add(self, loss: torch.Tensor) -> None:
        """Add the gradient of one piece's mean loss; the pieces of a batch weigh the same."""
        (loss / self.model.grad_accum_steps).backward()

    def step(self) -> None:
        if self.model.clip_grad_norm > 0:
            nn.utils.clip_grad_norm_(self.trained, self.model.clip_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
