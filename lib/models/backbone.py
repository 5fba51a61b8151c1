"""The one face of all networks (C2): a body, a pool over its map, a head (`heads.py`)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from lib.errors import UserError
from lib.models import fuse_bn
from lib.models.trainable import Classifier

Units = list[list[nn.Module]]
State = dict[str, torch.Tensor]

IMAGENET_MEAN = (0.485 * 255, 0.456 * 255, 0.406 * 255)
IMAGENET_STD = (0.229 * 255, 0.224 * 255, 0.225 * 255)


@dataclass(frozen=True)
class InputStats:
    """What a body was trained on: RGB means and deviations on the 0..255 scale; its order."""

    mean: Sequence[float] = IMAGENET_MEAN
    std: Sequence[float] = IMAGENET_STD
    bgr: bool = False


@dataclass(frozen=True)
class InputSize:
    """Which sides of a picture, in pixels, a body takes; the mean colour fills up to the next.

    least: what is smaller is refused. padded_to: what is smaller is filled up to it. meeting
    (period, start, width): the body takes a side where (side - start) % period < width. only: the
    one side that it takes, 0 for any.
    """

    least: int = 16
    padded_to: int = 1
    meeting: tuple[int, int, int] = (1, 0, 1)
    only: int = 0

    def check(self, name: str, size: tuple[int, int]) -> None:
        """Raises UserError for a (height, width) that the body `name` does not take."""
        given = f"crop = {list(size)}: {name}"
        if self.only and set(size) != {self.only}:
            alone = [self.only, self.only]
            raise UserError(
                f"{given} needs pictures of {self.only} by {self.only} pixels; set crop = {alone}"
            )
        if min(size) < self.least:
            raise UserError(f"{given} needs at least {self.least} pixels a side")

    def next(self, side: int) -> int:
        """The least side from `side` up that the body can take."""
        side = max(side, self.padded_to)
        period, start, width = self.meeting
        while (side - start) % period >= width:
            side += 1
        return side


def mean_of_map(_: nn.Module, maps: torch.Tensor) -> torch.Tensor:
    """[n, channels, h, w] -> [n, channels]; a vector stays as it is."""
    return maps.mean((2, 3)) if maps.ndim == 4 else maps


@dataclass
class Backbone:
    """A body without its classifier, as its maker hands it over.

    units: the body's parts in the order of the data. run(module, pictures) gives the map that the
    head is put on, [n, channels, h, w], or whatever `pool` takes; None: the units one after the
    other. pool(module, what run gave) -> [n, width]. channels: of the map, 0 where there is none
    (a vector, or tokens). own_weights() -> (state, where it is from), None where there are none;
    fitted(state) puts a foreign file under the body's own names.
    """

    module: nn.Module
    units: Units
    width: int
    channels: int = 0
    given: InputStats = field(default_factory=InputStats)
    sides: InputSize = field(default_factory=InputSize)
    run: Callable[[nn.Module, torch.Tensor], Any] | None = None
    pool: Callable[[nn.Module, Any], torch.Tensor] = mean_of_map
    own_weights: Callable[[], tuple[State, str]] | None = None
    fitted: Callable[[State], State] = dict


class ImageClassifier(Classifier):
    """pictures float [n, 3, h, w] (from `normalise`) -> logits [n, classes].

    `units` lists the body's parts in the order of the data; `freeze_until` counts them.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, name: str, backbone: Backbone, head: nn.Module) -> None:
        super().__init__()
        self.name = name
        self.body = backbone.module
        self.units = backbone.units
        self.width = backbone.width
        self.head = head
        self.sides = backbone.sides
        self._run, self._pool = backbone.run, backbone.pool
        self._has_map = backbone.channels > 0
        self._bgr = backbone.given.bgr
        self._frozen_units = 0
        self._frozen_body = False
        self._folded: list[nn.Module] = []  # what is frozen; in a list, not to be registered
        self.register_load_state_dict_post_hook(_forget_folded)
        for key in ("mean", "std"):
            values = torch.tensor(getattr(backbone.given, key), dtype=torch.float32)
            self.register_buffer(key, values, persistent=False)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        maps = self._maps(pictures)
        on_map = self._has_map and getattr(self.head, "on_map", False)
        return self.head(maps if on_map else self._pool(self.body, maps)).float()

    def embed(self, pictures: torch.Tensor) -> torch.Tensor:
        """[n, width]: the pooled map, which a linear head sees."""
        return self._pool(self.body, self._maps(pictures))

    def normalise(self, pictures: torch.Tensor) -> torch.Tensor:
        """uint8 RGB [n, 3, h, w] -> float32, in the memory order that convolutions like best."""
        values = pictures.to(torch.float32, memory_format=torch.channels_last)
        values = (values - self.mean[:, None, None]) / self.std[:, None, None]
        return values.flip(1) if self._bgr else values

    def check_size(self, size: tuple[int, int]) -> None:
        """Raises UserError for a (height, width) that the body does not take."""
        self.sides.check(self.name, size)

    def freeze_until(self, unit: int) -> None:
        """Keep `units[:unit]` as they are: no gradient, BatchNorm with its stored statistics.

        May be called again at any time, with fewer units (gradual unfreezing) or more. Autograd
        records nothing before the first unit that trains; where the units run one after the other,
        BatchNorm is folded into the convolutions there, so a frozen prefix costs what a prediction
        does. Raises UserError for a unit that is not there.
        """
        if not 0 <= unit <= len(self.units):
            raise UserError(
                f"freeze_until = {unit}: {self.name} has units 0 to {len(self.units) - 1}"
                f" ({len(self.units)} trains the head alone)"
            )
        self._frozen_units = unit
        self._apply_freeze()

    def freeze_body(self, frozen: bool) -> None:
        """Freeze everything but the head, or only what `freeze_until` froze."""
        self._frozen_body = frozen
        self._apply_freeze()

    def train(self, mode: bool = True) -> "ImageClassifier":
        super().train(mode)
        for module in self._frozen_modules():
            module.eval()
        return self

    def _apply(self, *arguments: Any, **settings: Any) -> "ImageClassifier":
        self._folded.clear()  # a device or type of its own
        return super()._apply(*arguments, **settings)

    def _maps(self, pictures: torch.Tensor) -> Any:
        maps = self._padded(pictures)
        frozen = self._frozen_count()
        if self._run:
            if frozen < len(self.units):
                return self._run(self.body, maps)
            with torch.no_grad():
                return self._prefix(_Whole(self.body, self._run), maps)(maps)
        if frozen:
            with torch.no_grad():
                units = (nn.Sequential(*unit) for unit in self.units[:frozen])
                maps = self._prefix(nn.Sequential(*units), maps)(maps)
        for unit in self.units[frozen:]:
            for module in unit:
                maps = module(maps)
        return maps

    @torch.compiler.disable  # its hooks would break a compiled graph at every layer
    def _prefix(self, layers: nn.Module, pictures: torch.Tensor) -> nn.Module:
        if not self._folded:
            self._folded.append(fuse_bn.fold(layers, pictures[:1]))
        return self._folded[0]

    def _frozen_count(self) -> int:
        return len(self.units) if self._frozen_body else self._frozen_units

    def _frozen_modules(self) -> list[nn.Module]:
        if self._frozen_count() == len(self.units):
            return [self.body]
        return [module for unit in self.units[: self._frozen_count()] for module in unit]

    def _apply_freeze(self) -> None:
        self._folded.clear()
        self.body.requires_grad_(True)
        for module in self._frozen_modules():
            module.requires_grad_(False)
            module.zero_grad(set_to_none=True)  # an optimizer would go on with what is left there
        self.train(self.training)

    def _padded(self, pictures: torch.Tensor) -> torch.Tensor:
        height, width = pictures.shape[-2:]
        bottom, right = (self.sides.next(side) - side for side in (height, width))
        return functional.pad(pictures, (0, right, 0, bottom)) if bottom or right else pictures


class _Whole(nn.Module):
    """A body that does not run unit by unit, as one layer."""

    def __init__(self, body: nn.Module, run: Callable[[nn.Module, torch.Tensor], Any]) -> None:
        super().__init__()
        self.body, self.run = body, run

    def forward(self, pictures: torch.Tensor) -> Any:
        return self.run(self.body, pictures)


def _forget_folded(net: nn.Module, _: Any) -> None:
    """A function and not a bound method, so that a copy of a network forgets its own."""
    assert isinstance(net, ImageClassifier)
    net._folded.clear()
