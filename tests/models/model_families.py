"""Models that tests of several modules share."""

import torch

from lib.models.classifier import ImageClassifier
from lib.models.factory import create_model

# One of each way to be built and run; the others differ only in depth.
FAMILIES = (
    "small",
    "efficientnet_lite0",
    "efficientnet_lite2",
    "resnet18",
    "resnet34",
    "resnet50",
    "densenet121",
    "alexnet",
    "vgg11_bn",
    "squeezenet1_1",
    "inceptionv3",
    "inceptionv4",
    "inceptionresnetv2",
    "xception",
    "dpn68",
    "se_resnet50",
    "bninception",
    "nasnetamobile",
)


def create_on_meta(name: str, num_classes: int = 7) -> ImageClassifier:
    """A model with shapes but no data, so that even the largest is created at once."""
    with torch.device("meta"):
        return create_model(name, num_classes, "none").to("meta")
