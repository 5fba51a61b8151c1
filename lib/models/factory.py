"""Builds networks of many makers (C2), all of them a `ImageClassifier`.

Bodies are `small`, which trains in a minute on a CPU; four for drawings (`draw_zoo.py`);
`efficientnet_lite0` to `2`; all names of pretrainedmodels; and all names of timm, with a tag or
without (`convnext_tiny`, `vit_small_patch14_dinov2.lvd142m`). A name that two of them know is the
earlier's, `timm/NAME` is always timm's. Their own classifiers are left out. docs/zoo.md says which
sizes each takes.
"""

import difflib

from torch import nn

from lib.config.schema import Model
from lib.errors import UserError
from lib.models import (
    efficientnet_lite,
    heads,
    pretrainedmodels_zoo,
    quickdraw_models,
    timm_models,
    workarounds,
)
from lib.models import weights as weight_files
from lib.models.backbone import Backbone, ImageClassifier

NEAR = 6  # names that an error proposes


def build(
    network: str,
    classes: int,
    weights: str,
    head: str = "linear",
    head_rank: int = 0,
    dropout: float = 0.0,
) -> ImageClassifier:
    """A network of the zoo with a fresh head for `classes` classes.

    weights: "imagenet" (those that its maker offers), "none", or the path of a state dict. head,
    head_rank, dropout: see `lib.models.heads.build`. Random parts come from torch's generator: seed
    it before. Raises UserError for an unknown name, a head that cannot be, and weights that cannot
    be had or do not fit.
    """
    made = _backbone(network)
    top = heads.build(head, made.width, made.channels, classes, head_rank, dropout)
    workarounds.thin_out_first(made.module)
    net = ImageClassifier(network, made, top)
    weight_files.fill(network, made, net.head, weights)
    return net


def network(model: Model, classes: int, weights: str) -> ImageClassifier:
    """The network of a model's settings. Raises UserError for a crop that it does not take too."""
    net = build(model.arch, classes, weights, model.head, model.head_rank, model.dropout)
    net.check_size(model.crop)
    return net


def names() -> list[str]:
    """All that `build` knows without timm."""
    return [
        "small",
        *quickdraw_models.NAMES,
        *efficientnet_lite.NAMES,
        *pretrainedmodels_zoo.names(),
    ]


def _backbone(network: str) -> Backbone:
    if network == "small":
        return _small()
    if network in quickdraw_models.NAMES:
        return quickdraw_models.backbone(network)
    if network in efficientnet_lite.NAMES:
        return efficientnet_lite.backbone(network)
    if network in pretrainedmodels_zoo.names():
        return pretrainedmodels_zoo.backbone(network)
    if timm_models.knows(network):
        return timm_models.backbone(network)
    known = dict.fromkeys([*names(), *timm_models.names()])
    near = difflib.get_close_matches(network, known, NEAR, cutoff=0.5)
    proposed = f"is it one of {', '.join(near)}?" if near else "docs/zoo.md lists some"
    raise UserError(f"unknown network {network!r}; {proposed}")


def _small() -> Backbone:
    """Five convolutions that halve the map four times; about a thousand images/s on two cores."""
    shapes = ((3, 32, 2), (32, 64, 2), (64, 128, 2), (128, 192, 2), (192, 256, 1))
    stages = [
        nn.Sequential(
            nn.Conv2d(before, after, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(inplace=True),
        )
        for before, after, stride in shapes
    ]
    return Backbone(nn.Sequential(*stages), [[s] for s in stages], 256, 256)
