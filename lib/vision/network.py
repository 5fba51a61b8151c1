"""The one face of all networks (C2): a body, a mean over its map, a linear head."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from lib.errors import UserError
from lib.vision import folding

Units = list[list[nn.Module]]

IMAGENET_MEAN = (0.485 * 255, 0.456 * 255, 0.406 * 255)
IMAGENET_STD = (0.229 * 255, 0.224 * 255, 0.225 * 255)
RELU_AFTER = ("densenet", "xception", "nasnet", "pnasnet")  # their maps end before the activation
# By the start of the name. The pools of these shrink anything smaller to nothing.
LEAST_SIZE = {"alexnet": 63, "densenet": 32, "vgg": 32, "squeezenet": 32}
PADDED_TO = {"inception": 75, "polynet": 75}
# In these, branches meet whose maps agree only where (side - start) % period < width.
MEETING = {
    "bninception": (32, 31, 8),
    "nasnetamobile": (32, 31, 4),
    "nasnetalarge": (16, 11, 8),
    "pnasnet5large": (16, 11, 8),
}


@dataclass(frozen=True)
class Input:
    """What a body was trained on: RGB means and deviations on the 0..255 scale; its order."""

    mean: Sequence[float] = IMAGENET_MEAN
    std: Sequence[float] = IMAGENET_STD
    bgr: bool = False


class Network(nn.Module):
    """pictures float [n, 3, h, w] (from `normalise`) -> logits [n, classes].

    `units` lists the body's parts in the order of the data; `freeze_until` counts them. With
    `in_turn` they are run one after the other, else the body's own `features` is called.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self,
        name: str,
        body: nn.Module,
        units: Units,
        width: int,
        classes: int,
        given: Input,
        in_turn: bool = True,
    ) -> None:
        super().__init__()
        self.name = name
        self.body = body
        self.units = units
        self.width = width
        self.head = nn.Linear(width, classes)
        self.least_size = _by_start(name, LEAST_SIZE, 16)
        self._in_turn = in_turn
        self._relu_after = name.startswith(RELU_AFTER)
        self._bgr = given.bgr
        self._frozen_units = 0
        self._frozen_body = False
        self._folded: list[nn.Module] = []  # the frozen prefix; in a list, not to be registered
        self.register_load_state_dict_post_hook(_forget_folded)
        self.register_buffer("mean", torch.tensor(given.mean, dtype=torch.float32), False)
        self.register_buffer("std", torch.tensor(given.std, dtype=torch.float32), False)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return self.head(self.embed(pictures)).float()

    def embed(self, pictures: torch.Tensor) -> torch.Tensor:
        """[n, width]: what the head sees."""
        maps = self._padded(pictures)
        if self._in_turn:
            frozen = self._frozen_count()
            if frozen:
                with torch.no_grad():
                    maps = self._prefix(maps)(maps)
            for unit in self.units[frozen:]:
                for module in unit:
                    maps = module(maps)
        else:
            maps = self.body.features(maps)  # type: ignore[operator]
        if self._relu_after:
            maps = functional.relu(maps)
        return maps.mean((2, 3)) if maps.ndim == 4 else maps

    def normalise(self, pictures: torch.Tensor) -> torch.Tensor:
        """uint8 RGB [n, 3, h, w] -> float32, in the memory order that convolutions like best."""
        values = pictures.to(torch.float32, memory_format=torch.channels_last)
        values = (values - self.mean[:, None, None]) / self.std[:, None, None]
        return values.flip(1) if self._bgr else values

    def check_size(self, size: tuple[int, int]) -> None:
        """Raises UserError for a (height, width) that the pools would shrink to nothing."""
        if min(size) < self.least_size:
            raise UserError(
                f"crop = {list(size)}: {self.name} needs at least {self.least_size} pixels a side"
            )

    def freeze_until(self, unit: int) -> None:
        """Keep `units[:unit]` as they are: no gradient, BatchNorm with its stored statistics.

        Autograd records nothing before the first unit that trains and BatchNorm is folded into
        the convolutions there, so a frozen prefix costs what a prediction does.
        """
        if not 0 <= unit <= len(self.units):
            raise UserError(
                f"trainable_from = {unit}: {self.name} has units 0 to {len(self.units) - 1}"
                f" ({len(self.units)} trains the head alone)"
            )
        self._frozen_units = unit
        self._apply_freeze()

    def freeze_body(self, frozen: bool) -> None:
        """Freeze everything but the head, or only what `freeze_until` froze."""
        self._frozen_body = frozen
        self._apply_freeze()

    def train(self, mode: bool = True) -> "Network":
        super().train(mode)
        for module in self._frozen_modules():
            module.eval()
        return self

    def _apply(self, *arguments: Any, **settings: Any) -> "Network":
        self._folded.clear()  # a device or type of its own
        return super()._apply(*arguments, **settings)

    def _prefix(self, maps: torch.Tensor) -> nn.Module:
        if not self._folded:
            units = (nn.Sequential(*unit) for unit in self.units[: self._frozen_count()])
            self._folded.append(folding.fold(nn.Sequential(*units), maps[:1]))
        return self._folded[0]

    def _frozen_count(self) -> int:
        return len(self.units) if self._frozen_body else self._frozen_units

    def _frozen_modules(self) -> list[nn.Module]:
        if self._frozen_body:
            return [self.body]
        return [module for unit in self.units[: self._frozen_count()] for module in unit]

    def _apply_freeze(self) -> None:
        self._folded.clear()
        self.body.requires_grad_(True)
        for module in self._frozen_modules():
            module.requires_grad_(False)
        self.train(self.training)

    def _padded(self, pictures: torch.Tensor) -> torch.Tensor:
        height, width = pictures.shape[-2:]
        bottom, right = (_next_side(self.name, side) - side for side in (height, width))
        return functional.pad(pictures, (0, right, 0, bottom)) if bottom or right else pictures


def _forget_folded(net: nn.Module, _: Any) -> None:
    """A function and not a bound method, so that a copy of a network forgets its own."""
    assert isinstance(net, Network)
    net._folded.clear()


def _next_side(name: str, side: int) -> int:
    """The least side from `side` up that the body can take; the mean colour fills the rest."""
    side = max(side, _by_start(name, PADDED_TO, 1))
    period, start, width = MEETING.get(name, (1, 0, 1))
    while (side - start) % period >= width:
        side += 1
    return side


def _by_start(name: str, table: dict[str, int], otherwise: int) -> int:
    return next((value for start, value in table.items() if name.startswith(start)), otherwise)
