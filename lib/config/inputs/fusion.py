"""Settings of a model on embeddings of other models"""

from dataclasses import dataclass
from typing import Annotated, Literal

from lib.config.setting import DistinctStrs, PositiveInt, Range, SmallFraction, setting


@dataclass(frozen=True)
class Fusion:
    """A network on embeddings of all images of a product, for `input = "embedding"`.

    It has its own head and dropout and sees no images: `head`, `dropout`, `flip`, `augment` and
    `weights` of its model have no effect, but `fusion.flip` has. Only its inputs learn from
    pseudo-labels.
    """

    inputs: DistinctStrs = setting(
        (), "Models, backbones and text encoders whose embeddings are concatenated."
    )
    hidden_sizes: tuple[Annotated[int, Range(min=1, max=100_000)], ...] = setting(
        (1024, 512), "Sizes of the hidden layers; empty = none."
    )
    input_dropout: SmallFraction = setting(0.0, "Dropout of the embeddings themselves.")
    dropout: SmallFraction = setting(0.5, "Dropout after each hidden layer.")
    pooling: Literal["sum", "max"] = setting("sum", "How the images of a product are pooled.")
    squeeze_excitation: bool = setting(True, "Weigh the values of an image before the pooling.")
    squeeze_ratio: PositiveInt = setting(
        16, "Length of an embedding over the number of hidden units of the layer that weighs it."
    )
    flip: bool = setting(
        False,
        "Also embed mirrored images: half of the training images are, and predictions are means of"
        " both, unless predict.tta_views is 1.",
    )
