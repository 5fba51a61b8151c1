"""The common interface of backbones: the network without its classifier, and what it expects."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from lib.errors import UserError

Units = list[list[nn.Module]]
StateDict = dict[str, torch.Tensor]

IMAGENET_MEAN = (0.485 * 255, 0.456 * 255, 0.406 * 255)
IMAGENET_STD = (0.229 * 255, 0.224 * 255, 0.225 * 255)


@dataclass(frozen=True)
class InputStats:
    """How the training images of a backbone were normalised.

    mean, std: of the channels R, G, B on a scale of 0 to 255. bgr: whether the backbone expects
    its channels in the order B, G, R.
    """

    mean: Sequence[float] = IMAGENET_MEAN
    std: Sequence[float] = IMAGENET_STD
    bgr: bool = False


@dataclass(frozen=True)
class InputSize:
    """Image sizes, in pixels, that a backbone accepts.

    min: smaller sides are refused. min_padded: smaller sides are padded to this. fixed: the only
    side that is accepted; None = any.
    multiple_of, offset, slack: a side is accepted if (side - offset) % multiple_of < slack; other
    sides are padded up to the next accepted one.
    """

    min: int = 16
    min_padded: int = 1
    multiple_of: int = 1
    offset: int = 0
    slack: int = 1
    fixed: int | None = None

    def check(self, name: str, size: tuple[int, int]) -> None:
        """Raise UserError if backbone `name` does not accept images of (height, width)."""
        place = f"crop = {list(size)}: {name}"
        if self.fixed is not None and set(size) != {self.fixed}:
            square = [self.fixed, self.fixed]
            raise UserError(
                f"{place} needs images of {self.fixed} by {self.fixed} pixels; set crop = {square}"
            )
        if min(size) < self.min:
            raise UserError(f"{place} needs at least {self.min} pixels a side")

    def round_up(self, side: int) -> int:
        """The smallest accepted side that is at least `side`."""
        side = max(side, self.min_padded)
        while (side - self.offset) % self.multiple_of >= self.slack:
            side += 1
        return side


def global_mean_pool(_: nn.Module, maps: torch.Tensor) -> torch.Tensor:
    """[n, channels, h, w] -> [n, channels]; a vector [n, channels] stays as it is."""
    return maps.mean((2, 3)) if maps.ndim == 4 else maps


@dataclass
class Backbone:
    """A network without its classifier.

    module: the network. units: its parts in the order of execution, for freezing.
    num_features: length of the pooled vector. map_channels: channels of the feature map; 0 if
    there is none (the features are a vector or tokens).
    forward_features(module, images): images float [n, 3, h, w] -> the feature map
    [n, map_channels, h, w], or whatever `pool` accepts; None = run the units in turn.
    pool(module, features) -> [n, num_features].
    load_pretrained() -> (state dict, its origin); None = no pretrained weights exist.
    convert_state_dict(state) renames the tensors of a foreign file to those of `module`.
    """

    module: nn.Module
    units: Units
    num_features: int
    map_channels: int = 0
    stats: InputStats = field(default_factory=InputStats)
    input_size: InputSize = field(default_factory=InputSize)
    forward_features: Callable[[nn.Module, torch.Tensor], Any] | None = None
    pool: Callable[[nn.Module, Any], torch.Tensor] = global_mean_pool
    load_pretrained: Callable[[], tuple[StateDict, str]] | None = None
    convert_state_dict: Callable[[StateDict], StateDict] = dict
