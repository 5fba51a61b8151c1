"""Settings of a model that draws coarse masks"""

from dataclasses import dataclass
from typing import Annotated, Literal

from lib.config.setting import DistinctStrs, Fraction, Range, setting

Weight = Annotated[float, Range(min=0, max=100)]


@dataclass(frozen=True)
class Segmentation:
    """A network that draws coarse masks, for `kind = "segmentation"`; of Open Images alone.

    It reads single images and has a decoder in place of a head: `head`, `loss` and `predict` have
    no effect on it. A mask is a grid of cells. Its channels are classes of the hierarchy; a box
    belongs to its class and to those above. The weights are factors in the loss of the cells under
    a box; a flag that is unknown (-1) weighs 1.
    """

    clusters: DistinctStrs = setting(
        (), "Clusters or classes that it draws, with those below them; empty = all."
    )
    min_boxes: Annotated[int, Range(min=1, max=1_000_000)] = setting(
        20, "Boxes of a class among the labelled products, at least, to be drawn by itself."
    )
    stride: Literal[4, 8, 16, 32] = setting(16, "Side of a cell, in pixels of the input.")
    width: Annotated[int, Range(min=8, max=2048)] = setting(128, "Channels of the decoder.")
    target: Literal["coverage", "hard"] = setting(
        "coverage", "A cell is the fraction that boxes cover, or 1 from half of it on."
    )
    core: Annotated[float, Range(min=0, max=0.9)] = setting(
        0.0, "Side of a box's core, drawn too to tell touching objects apart; 0 = no cores."
    )
    bce_weight: Weight = setting(1.0, "Weight of the binary cross-entropy in the loss.")
    dice_weight: Weight = setting(1.0, "Weight of the Dice loss in the loss.")
    occluded_weight: Fraction = setting(0.5, "Weight of a box of an occluded object.")
    group_weight: Fraction = setting(0.5, "Weight of a box around a group.")
    depiction_weight: Fraction = setting(0.5, "Weight of a box of a depiction, as a drawing.")
    unannotated_weight: Fraction = setting(
        0.1, "Weight of a class without a box in an image, unless its absence was verified."
    )

    @property
    def num_planes(self) -> int:
        """What is drawn of each class: its mask, and the cores of its boxes."""
        return 2 if self.core else 1
