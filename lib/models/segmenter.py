"""A network that draws coarse masks: a backbone, and the decoder of a U-Net up to the grid's cells

The decoder is that of segmentation_models_pytorch. It ends at the maps whose cells have the size
that is asked for: coarse masks need none of the larger maps, which cost most.

Source of the decoder: Ronneberger et al., "U-Net: Convolutional Networks for Biomedical Image
Segmentation" (2015).
"""

import copy
from typing import Any

import torch
from torch import nn

from lib.config.inputs.segmentation import Segmentation
from lib.errors import UserError
from lib.models import workarounds
from lib.models.backbone import Backbone, Units
from lib.models.classifier import ImageClassifier

PROBE_SIDE = 256  # pixels of the image that shows which maps a backbone has


class Segmenter(ImageClassifier):
    """Images float32 [n, 3, h, w] -> logits float32 [n, channels, h / stride, w / stride].

    Units, freezing, weights and `normalise` are those of a classifier of images; the decoder is the
    head. Raises UserError for a backbone without maps of `settings.stride`.
    """

    def __init__(
        self,
        name: str,
        backbone: Backbone,
        settings: Segmentation,
        num_channels: int,
        dropout: float = 0.0,
    ) -> None:
        run_whole = backbone.forward_features is not None
        side = backbone.input_size.round_up(PROBE_SIDE)
        maps = _probe(name, backbone, side, run_whole)
        taps = _choose_taps(maps, side, settings.stride)
        if not taps:
            strides = sorted({side // m.shape[-1] for m in maps})
            raise UserError(
                f"segmentation.stride = {settings.stride}: the maps of {name} have cells of"
                f" {', '.join(map(str, strides))} pixels"
            )
        channels = [maps[tap].shape[1] for tap in taps]
        super().__init__(name, backbone, MaskHead(channels, settings.width, num_channels, dropout))
        self.stride, self._taps = settings.stride, taps
        self._runs_whole = run_whole

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Normalised images float [n, 3, h, w] -> logits float32 [n, channels, h', w']."""
        logits = self.head(self.maps(images))
        # The body may have padded the images.
        height, width = (-(-side // self.stride) for side in images.shape[-2:])
        return logits[:, :, :height, :width].float()

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """Not of a network that draws masks. Raises NotImplementedError."""
        raise NotImplementedError("a network of masks embeds no images")

    def maps(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Normalised images float [n, 3, h, w] -> the maps that the decoder reads, largest first.

        Each is float [n, channels, h / s, w / s], from s = `stride` on.
        """
        images = self._padded(images)
        frozen = self._frozen_count()
        if self._runs_whole:
            whole = _WholeMaps(self.body, self._taps)
            if frozen < len(self.units):
                return whole(images)
            with torch.no_grad():
                return self._fused_layers(0, whole, images)(images)
        maps: list[torch.Tensor] = []
        if frozen:
            prefix = _TappedUnits(self.units[:frozen], self._taps)
            with torch.no_grad():
                images, maps = self._fused_layers(0, prefix, images)(images)
        for number, unit in enumerate(self.units[frozen:], frozen):
            for module in unit:
                images = module(images)
            if number in self._taps:
                maps.append(images)
        return maps


class MaskHead(nn.Module):
    """Maps of a backbone, largest first -> logits [n, out_features, h, w] on the largest of them.

    channels: of each map. width: channels of the decoder.
    """

    def __init__(
        self, channels: list[int], width: int, num_channels: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        workarounds.import_torchvision()
        from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder

        num_blocks = len(channels) - 1
        self.out_features = num_channels
        # Its first map stands for the image and is not read, but for its shape.
        self.decoder = UnetDecoder([0, *channels], [width] * num_blocks, num_blocks)
        self.dropout = nn.Dropout2d(dropout)
        self.logits = nn.Conv2d(width if num_blocks else channels[0], num_channels, 1)

    def forward(self, maps: list[torch.Tensor]) -> torch.Tensor:
        """[n, channels[i], h >> i, w >> i] of each map -> logits float [n, out_features, h, w]."""
        return self.logits(self.dropout(self.decoder([maps[0], *maps])))


class _TappedUnits(nn.Module):
    """Units of a body in turn; returns the last map, and those after the units `taps`."""

    def __init__(self, units: Units, taps: list[int]) -> None:
        super().__init__()
        self.units = nn.ModuleList(nn.Sequential(*unit) for unit in units)
        self.taps = taps

    def forward(self, maps: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Images float [n, 3, h, w] -> (map, maps)."""
        tapped = []
        for number, unit in enumerate(self.units):
            maps = unit(maps)
            if number in self.taps:
                tapped.append(maps)
        return maps, tapped


class _WholeMaps(nn.Module):
    """The maps `taps` of a body of timm that does not run unit by unit."""

    def __init__(self, body: Any, taps: list[int]) -> None:
        super().__init__()
        self.body, self.taps = body, taps

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Images float [n, 3, h, w] -> maps [n, channels, h', w']."""
        maps = _intermediates(self.body, images)
        return [maps[tap] for tap in self.taps]


def _intermediates(body: Any, images: torch.Tensor) -> list[torch.Tensor]:
    return body.forward_intermediates(images, intermediates_only=True)


def _probe(name: str, backbone: Backbone, side: int, run_whole: bool) -> list[torch.Tensor]:
    """The map after each unit, or each map of a body of timm: on the meta device, without data."""
    image = torch.empty(1, 3, side, side, device="meta")
    units: Any = copy.deepcopy(nn.ModuleList(nn.Sequential(*u) for u in backbone.units))
    if not run_whole:
        maps = []
        for unit in units.to("meta").eval():
            image = unit(image)
            maps.append(image)
        return maps
    try:
        return _intermediates(copy.deepcopy(backbone.module).to("meta").eval(), image)
    except AttributeError:
        raise UserError(f'{name} has no maps to draw masks from; choose another "arch"') from None


def _choose_taps(maps: list[torch.Tensor], side: int, stride: int) -> list[int]:
    """The last map of each size from `stride` on, largest first; empty if there is none of it."""
    last = {m.shape[-1]: number for number, m in enumerate(maps) if m.ndim == 4}
    sizes = sorted((size for size in last if size * stride <= side), reverse=True)
    if not sizes or sizes[0] * stride != side:
        return []
    return [last[size] for size in sizes]
