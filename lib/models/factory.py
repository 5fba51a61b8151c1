"""Creates image classifiers by name.

Names are looked up in this order; `timm/NAME` is always timm's.

    small                       trains in a minute on a CPU
    draw_*                      for drawings (lib/models/quickdraw_models.py)
    efficientnet_lite0 to 2     of efficientnet_lite_pytorch
    resnet50, xception, ...     of pretrainedmodels
    convnext_tiny, vit_small_patch14_dinov2.lvd142m, ...    of timm, with a tag or without

docs/zoo.md lists which image sizes each accepts.
"""

import copy
import difflib
from collections.abc import Sequence

import torch
from torch import nn

from lib.config.model import Model
from lib.data.aspect.clusters import BatchShape
from lib.errors import UserError
from lib.models import (
    efficientnet_lite,
    pretrainedmodels_zoo,
    quickdraw_models,
    timm_models,
    workarounds,
)
from lib.models import weights as pretrained
from lib.models.backbone import Backbone
from lib.models.classifier import ImageClassifier, ProductClassifier
from lib.models.heads import create_head
from lib.models.segmenter import Segmenter

MAX_SUGGESTIONS = 6


def create_model(
    name: str,
    num_classes: int,
    weights: str,
    head: str = "linear",
    head_rank: int = 0,
    dropout: float = 0.0,
    pooling: str = "",
) -> ImageClassifier:
    """A classifier with a new head; random weights come from torch's global generator.

    name: see the module's docstring.
    weights: "imagenet" (the pretrained weights of the backbone), "none", or the path of a state
        dict.
    head, head_rank, dropout: see `lib.models.heads.create_head`.
    pooling: of the images of a product, "mean" or "max"; empty for a classifier of single images.
    Raises UserError for an unknown name, an impossible head, and weights that cannot be fetched or
    do not fit.
    """
    backbone = _create_backbone(name)
    new_head = create_head(
        head, backbone.num_features, backbone.map_channels, num_classes, head_rank, dropout
    )
    workarounds.avoid_strided_1x1(backbone.module)
    if pooling:
        net: ImageClassifier = ProductClassifier(name, backbone, new_head, pooling)
    else:
        net = ImageClassifier(name, backbone, new_head)
    pretrained.load_pretrained(name, backbone, net.head, weights)
    return net


def create_from_config(
    model: Model, num_classes: int, weights: str, shapes: Sequence[BatchShape] = ()
) -> ImageClassifier:
    """The classifier that a `[models.*]` table describes.

    shapes: with aspect clusters, the sizes of their batches.
    Raises UserError as `create_model`, and if the backbone does not accept `model.crop`, or the
    crop of one of `shapes`.
    """
    if model.kind == "segmentation":
        return create_segmenter(model, num_classes, weights)
    pooling = model.image_pooling if model.input == "product" else ""
    net = create_model(
        model.arch, num_classes, weights, model.head, model.head_rank, model.dropout, pooling
    )
    if model.aspect.num_clusters == 0:
        net.check_size(model.crop)
    else:
        _check_shapes(net, [shape.crop for shape in shapes])
    return net


def create_segmenter(model: Model, num_channels: int, weights: str) -> Segmenter:
    """The network that draws masks of a `[models.*]` table with kind = "segmentation".

    Raises UserError as `create_from_config`, and for a backbone without maps of its stride.
    """
    backbone = _create_backbone(model.arch)
    workarounds.avoid_strided_1x1(backbone.module)
    net = Segmenter(model.arch, backbone, model.segmentation, num_channels, model.dropout)
    pretrained.load_pretrained(model.arch, backbone, net.head, weights)
    for size in (model.crop, model.resize):
        net.check_size(size)
    return net


def _check_shapes(net: ImageClassifier, crops: Sequence[tuple[int, int]]) -> None:
    """Raise UserError if the network does not take images of each size; tried without data."""
    size = net.input_size
    if size.fixed is not None:
        raise UserError(
            f"aspect.num_clusters: {net.name} takes images of {size.fixed} by {size.fixed} pixels"
            " alone; set 0, or another arch"
        )
    meta = copy.deepcopy(net).to("meta").eval() if crops else net
    for height, width in crops:
        if min(height, width) < size.min:
            raise UserError(
                f"aspect: {net.name} needs at least {size.min} pixels a side, and an aspect cluster"
                f" has {height} by {width}; enlarge crop or aspect.scale"
            )
        try:
            meta.embed(torch.empty(1, 3, height, width, device="meta"))
        except Exception:  # networks report shapes that do not fit in many ways
            raise UserError(
                f"aspect.num_clusters: {net.name} does not take images of {height} by {width}"
                " pixels; set 0, or another arch"
            ) from None


def list_models() -> list[str]:
    """All model names but those of timm, which `timm_models.list_models` gives."""
    return [
        "small",
        *quickdraw_models.NAMES,
        *efficientnet_lite.NAMES,
        *pretrainedmodels_zoo.list_models(),
    ]


def _create_backbone(name: str) -> Backbone:
    if name == "small":
        return _small()
    if name in quickdraw_models.NAMES:
        return quickdraw_models.create_backbone(name)
    if name in efficientnet_lite.NAMES:
        return efficientnet_lite.create_backbone(name)
    if not name.startswith(timm_models.PREFIX) and name in pretrainedmodels_zoo.list_models():
        return pretrainedmodels_zoo.create_backbone(name)
    if timm_models.is_model(name):
        return timm_models.create_backbone(name)
    names = dict.fromkeys([*list_models(), *timm_models.list_models()])
    close = difflib.get_close_matches(name, names, MAX_SUGGESTIONS, cutoff=0.5)
    suggestion = f"did you mean {', '.join(close)}?" if close else "docs/zoo.md lists some"
    raise UserError(f"unknown model {name!r}; {suggestion}")


def _small() -> Backbone:
    """Five convolutions that halve the map four times; about a thousand images/s on two cores."""
    shapes = ((3, 32, 2), (32, 64, 2), (64, 128, 2), (128, 192, 2), (192, 256, 1))
    stages = [
        nn.Sequential(
            nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(inplace=True),
        )
        for channels_in, channels_out, stride in shapes
    ]
    return Backbone(nn.Sequential(*stages), [[stage] for stage in stages], 256, 256)
