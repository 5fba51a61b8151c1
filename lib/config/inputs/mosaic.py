"""Settings of a model that sees all images of a product in one"""

from dataclasses import dataclass
from typing import Annotated

from lib.config.setting import NonNegativeInt, PositiveInt, Range, setting

MAX_PRODUCT_IMAGES = 4  # that a network sees at once; no product of the competition has more


@dataclass(frozen=True)
class Mosaic:
    """Which products train a model with `input = "mosaic"`, by their number of images.

    The model scores every product: one image as it is, of more than four the first four. Crops,
    flips and rotations apply to the mosaic as a whole. With `split_at`, the model has several
    networks in each fold, and each product is scored by the one for its number of images.
    """

    min_images: PositiveInt = setting(1, "Fewest images of a product that trains.")
    max_images: NonNegativeInt = setting(0, "Most images of a product that trains; 0 = any number.")
    split_at: tuple[Annotated[int, Range(min=2, max=MAX_PRODUCT_IMAGES)], ...] = setting(
        (),
        "Numbers of images from which another network trains and predicts: [2, 3, 4] is one for"
        " single images, for two, for three, and for four or more.",
    )

    @property
    def groups(self) -> list[tuple[int, int]]:
        """Fewest and most images (0 = any number) of the products of each network."""
        firsts = [self.min_images, *self.split_at]
        return list(zip(firsts, [*(n - 1 for n in self.split_at), self.max_images], strict=True))

    def of_group(self, first: int) -> "Mosaic":
        """The settings of the network whose products have at least `first` images."""
        return Mosaic(*next(group for group in self.groups if group[0] == first))
