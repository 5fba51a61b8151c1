"""Classifiers: what training needs from a network, and the classifiers of images and products."""

from collections.abc import Callable
from typing import Any, Self

import torch
from torch import nn
from torch.nn import functional

from lib.data.products.reader import ProductImages
from lib.errors import UserError
from lib.models import fuse_bn
from lib.models.backbone import Backbone


class Classifier(nn.Module):
    """A network that maps normalised inputs to logits float32 [n, num_classes].

    mean: a buffer; it tells on which device the network is. head: the last layers.
    """

    mean: torch.Tensor
    head: nn.Module

    def normalise(self, inputs: torch.Tensor) -> torch.Tensor:
        """A batch of a loader, on the network's device -> float32, same first axis."""
        raise NotImplementedError

    def freeze_until(self, unit: int) -> None:
        """Freeze the parts of the body before `unit`. Raises UserError if there is no such unit."""
        raise NotImplementedError

    def freeze_body(self, frozen: bool) -> None:
        """Freeze all but the head; with False, only what `freeze_until` froze."""
        raise NotImplementedError

    @property
    def num_classes(self) -> int:
        """Number of logits."""
        count = self.head.out_features
        assert isinstance(count, int)
        return count


class SingleStageClassifier(Classifier):
    """A classifier whose `body` is frozen as a whole or not at all."""

    body: nn.Module

    def __init__(self) -> None:
        super().__init__()
        self._body_frozen = False

    def freeze_until(self, unit: int) -> None:
        """Accept 0, which freezes nothing. Raises UserError for any other unit."""
        if unit:
            raise UserError(f"freeze_until = {unit}: this network trains as a whole; set 0")

    def freeze_body(self, frozen: bool) -> None:
        """Freeze all but the head, or nothing."""
        self._body_frozen = frozen
        self.body.requires_grad_(not frozen)
        if frozen:
            self.body.zero_grad(set_to_none=True)  # optimizers step on any gradient that is left
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Set training mode, except in a frozen body."""
        super().train(mode)
        if self._body_frozen:
            self.body.eval()
        return self


class ImageClassifier(Classifier):
    """A backbone and a head: images float32 [n, 3, h, w] -> logits float32 [n, num_classes].

    units: the parts of the backbone in the order of execution; `freeze_until` counts them.
    num_features: length of the vector that `embed` returns.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, name: str, backbone: Backbone, head: nn.Module) -> None:
        super().__init__()
        self.name = name
        self.body = backbone.module
        self.units = backbone.units
        self.num_features = backbone.num_features
        self.head = head
        self.input_size = backbone.input_size
        self._forward_features, self._pool = backbone.forward_features, backbone.pool
        self._head_takes_map = backbone.map_channels > 0 and getattr(head, "takes_map", False)
        self._bgr = backbone.stats.bgr
        self._num_frozen_units = 0
        self._body_frozen = False
        # The frozen layers, by first unit; in a dict so as not to be registered.
        self._fused: dict[int, nn.Module] = {}
        self.register_load_state_dict_post_hook(_drop_fused)
        for key in ("mean", "std"):
            values = torch.tensor(getattr(backbone.stats, key), dtype=torch.float32)
            self.register_buffer(key, values, persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Normalised images float [n, 3, h, w] -> logits float32 [n, num_classes]."""
        return self.classify(self.prefix(images))

    def prefix(self, images: torch.Tensor) -> torch.Tensor:
        """Normalised images float [n, 3, h, w] -> what `classify` takes.

        The maps after the units that `freeze_until` froze; the padded images if none are frozen
        or the units do not run in turn.
        """
        return self._run_units(self._padded(images), 0, self._split)

    def classify(self, maps: torch.Tensor) -> torch.Tensor:
        """The output of `prefix`, which may be overwritten -> logits float32 [n, num_classes]."""
        features = self._features(maps)
        return self.head(features if self._head_takes_map else self._pool(self.body, features))

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """Normalised images float [n, 3, h, w] -> pooled features float [n, num_features]."""
        return self._pool(self.body, self._features(self.prefix(images)))

    def has_prefix_of(self, other: "ImageClassifier") -> bool:
        """Whether units are frozen, the same ones and with equal weights as in the other network.

        `prefix` of both is then the same. The networks have the same backbone.
        """
        if not self._split or self._split != other._split:
            return False
        mine, theirs = (
            nn.ModuleList(module for unit in net.units[: net._split] for module in unit)
            for net in (self, other)
        )
        pairs = zip(mine.state_dict().values(), theirs.state_dict().values(), strict=True)
        return all(torch.equal(a, b) for a, b in pairs)

    def normalise(self, inputs: torch.Tensor) -> torch.Tensor:
        """RGB images uint8 [n, 3, h, w] -> float32 [n, 3, h, w], channels last in memory."""
        values = inputs.to(torch.float32, memory_format=torch.channels_last)
        values = (values - self.mean[:, None, None]) / self.std[:, None, None]
        return values.flip(1) if self._bgr else values

    def check_size(self, size: tuple[int, int]) -> None:
        """Raise UserError if the backbone does not accept images of (height, width)."""
        self.input_size.check(self.name, size)

    def freeze_until(self, unit: int) -> None:
        """Freeze `units[:unit]`: no gradients, and BatchNorm with its stored statistics.

        Each call replaces the last, so units can be unfrozen gradually. Autograd records nothing
        before the first unit that trains. If the units run in turn, BatchNorm is fused into the
        frozen convolutions, and a frozen prefix costs no more than in prediction.
        Raises UserError if there is no such unit.
        """
        if not 0 <= unit <= len(self.units):
            raise UserError(
                f"freeze_until = {unit}: {self.name} has units 0 to {len(self.units) - 1}"
                f" ({len(self.units)} trains the head alone)"
            )
        self._num_frozen_units = unit
        self._apply_freeze()

    def freeze_body(self, frozen: bool) -> None:
        """Freeze all but the head; with False, only what `freeze_until` froze."""
        self._body_frozen = frozen
        self._apply_freeze()

    def train(self, mode: bool = True) -> Self:
        """Set training mode, except in frozen layers."""
        super().train(mode)
        for module in self._frozen_modules():
            module.eval()
        return self

    def _apply(self, *args: Any, **kwargs: Any) -> Self:
        self._fused.clear()  # the copy would keep the old device and dtype
        return super()._apply(*args, **kwargs)

    @property
    def _split(self) -> int:
        """Where `prefix` ends, in units."""
        return 0 if self._forward_features else self._num_frozen_units

    def _features(self, maps: torch.Tensor) -> Any:
        if self._forward_features:
            return self._run_whole(self._forward_features, maps)
        return self._run_units(maps, self._split, len(self.units))

    def _run_whole(self, forward_features: Callable, images: torch.Tensor) -> Any:
        if self._frozen_count() < len(self.units):
            return forward_features(self.body, images)
        with torch.no_grad():
            body = _WholeBody(self.body, forward_features)
            return self._fused_layers(0, body, images)(images)

    def _run_units(self, maps: torch.Tensor, first: int, end: int) -> torch.Tensor:
        """The units from `first` to `end`, all of which are frozen or none."""
        if first == end:
            return maps
        if end <= self._frozen_count():
            with torch.no_grad():
                layers = nn.Sequential(*(nn.Sequential(*unit) for unit in self.units[first:end]))
                return self._fused_layers(first, layers, maps)(maps)
        for unit in self.units[first:end]:
            for module in unit:
                maps = module(maps)
        return maps

    def _fused_layers(self, first: int, layers: nn.Module, inputs: torch.Tensor) -> nn.Module:
        if torch.compiler.is_compiling():
            # Hooks of the fusion would break the graph at every layer. `disable` is not called
            # before, because it imports torch._dynamo, which takes as long as torch.
            return torch.compiler.disable(self._fuse_once)(first, layers, inputs)
        return self._fuse_once(first, layers, inputs)

    def _fuse_once(self, first: int, layers: nn.Module, inputs: torch.Tensor) -> nn.Module:
        if first not in self._fused:
            self._fused[first] = fuse_bn.fuse_conv_bn(layers, inputs[:1])
        return self._fused[first]

    def _frozen_count(self) -> int:
        return len(self.units) if self._body_frozen else self._num_frozen_units

    def _frozen_modules(self) -> list[nn.Module]:
        if self._frozen_count() == len(self.units):
            return [self.body]
        return [module for unit in self.units[: self._frozen_count()] for module in unit]

    def _apply_freeze(self) -> None:
        self._fused.clear()
        self.body.requires_grad_(True)
        for module in self._frozen_modules():
            module.requires_grad_(False)
            module.zero_grad(set_to_none=True)  # optimizers step on any gradient that is left
        self.train(self.training)

    def _padded(self, images: torch.Tensor) -> torch.Tensor:
        """Pad right and below to an accepted size with 0, the mean color."""
        height, width = images.shape[-2:]
        bottom, right = (self.input_size.round_up(side) - side for side in (height, width))
        return functional.pad(images, (0, right, 0, bottom)) if bottom or right else images


class ProductClassifier(ImageClassifier):
    """`ProductImages` of n products -> logits float32 [n, num_classes].

    One trunk sees each image, and what it sees is pooled by product. Source: the "multi-input"
    networks of the 1st and the 5th place of Cdiscount, whose pooling is not published.
    pooling: "mean" or "max" over the images of a product: of the map where the head takes one, of
        the pooled vector elsewhere. The order of the images changes nothing.
    """

    def __init__(self, name: str, backbone: Backbone, head: nn.Module, pooling: str) -> None:
        super().__init__(name, backbone, head)
        self.pooling = pooling

    def prefix(self, inputs: Any) -> Any:
        """Normalised `ProductImages` of n products -> the same of maps."""
        return inputs._replace(images=super().prefix(inputs.images))

    def classify(self, maps: Any) -> torch.Tensor:
        """`ProductImages` of maps of n products -> logits float32 [n, num_classes]."""
        features = self._features(maps.images)
        if not self._head_takes_map:
            features = self._pool(self.body, features)
        return self.head(pool_images(features, maps.count, self.pooling))

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """Not of a network of products. Raises NotImplementedError."""
        raise NotImplementedError("a network of products embeds no images")

    def normalise(self, inputs: Any) -> Any:
        """`ProductImages` of uint8 -> the same of float32."""
        return ProductImages(super().normalise(inputs.images), inputs.count)


def pool_images(features: torch.Tensor, count: torch.Tensor, pooling: str) -> torch.Tensor:
    """The mean or the maximum over the images of each product: [images, ...] -> [products, ...].

    count: int64 [products], of images, each at least 1. Rows are scattered to places of their own
    and not added up in place, which on a GPU would give other last bits in every run.
    """
    num_products, most = len(count), int(count.max())
    product = torch.repeat_interleave(torch.arange(num_products, device=count.device), count)
    place = torch.arange(len(features), device=count.device) - (count.cumsum(0) - count)[product]
    empty = -torch.inf if pooling == "max" else 0.0
    padded = features.new_full((num_products, most, *features.shape[1:]), empty)
    padded = padded.index_put((product, place), features)
    if pooling == "max":
        return padded.amax(1)
    return padded.sum(1) / count.view(-1, *(1,) * (features.ndim - 1))


class _WholeBody(nn.Module):
    """A body that does not run unit by unit, as one layer."""

    def __init__(self, body: nn.Module, forward_features: Callable) -> None:
        super().__init__()
        self.body, self.forward_features = body, forward_features

    def forward(self, images: torch.Tensor) -> Any:
        """Images float [n, 3, h, w] -> whatever the backbone's `pool` accepts."""
        return self.forward_features(self.body, images)


def _drop_fused(net: nn.Module, _: Any) -> None:
    """Forget fused layers of old weights. A function, so that deep copies do not share a method."""
    assert isinstance(net, ImageClassifier)
    net._fused.clear()
