"""Optimizer steps: parameter groups, gradient accumulation, gradient clipping."""

import torch
from torch import nn

from lib.config.model import Model
from lib.training.schedule import MOMENTUM


class OptimizerStep:
    """Accumulates the gradients of the micro-batches of a batch, and takes a step.

    It optimizes every parameter that requires a gradient now; some of them may be frozen later
    for a while. Biases and the scales of norms have no weight decay.
    head_only: only the head trains, which takes AdamW whatever the settings say.
    """

    def __init__(self, model: nn.Module, model_cfg: Model, head_only: bool) -> None:
        self.model_cfg = model_cfg
        self.params = [p for p in model.parameters() if p.requires_grad]
        groups = parameter_groups(self.params, model_cfg.weight_decay)
        self.optimizer: torch.optim.Optimizer
        if head_only or model_cfg.optimizer == "adamw":
            self.optimizer = torch.optim.AdamW(groups, lr=model_cfg.lr)
        else:
            self.optimizer = torch.optim.SGD(
                groups, lr=model_cfg.lr, momentum=MOMENTUM, nesterov=True
            )

    def set_lr(self, lr: float, momentum: float) -> None:
        """Set the learning rate, and the momentum of SGD or the first beta of AdamW."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr
            if "momentum" in group:
                group["momentum"] = momentum
            else:
                group["betas"] = (momentum, group["betas"][1])

    def backward(self, loss: torch.Tensor, num_parts: float = 1.0) -> None:
        """Add the gradient of a micro-batch's mean loss, which is one of `num_parts` of a batch."""
        (loss / num_parts).backward()

    def step(self) -> None:
        """Clip the accumulated gradient, take a step, and clear the gradient."""
        if self.model_cfg.clip_grad_norm > 0:
            nn.utils.clip_grad_norm_(self.params, self.model_cfg.clip_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


def parameter_groups(params: list[nn.Parameter], weight_decay: float) -> list[dict]:
    """The weights, which decay, and the biases and scales of norms, which do not."""
    return [
        {"params": [p for p in params if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in params if p.ndim <= 1], "weight_decay": 0.0},
    ]
