"""All pictures that scenes are composed of: by class, from one source or from several."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from lib.data.synthetic.scenes.class_tree import ClassTree
from lib.data.synthetic.scenes.pictures.cutout import Cutout
from lib.data.synthetic.scenes.pictures.drawings import Drawings
from lib.data.synthetic.scenes.pictures.figures import Figures
from lib.data.synthetic.scenes.pictures.generated import (
    GeneratedPictures,
    draw_background,
    tree_appearances,
)
from lib.data.synthetic.scenes.pictures.photographs import Box, Photograph, Photographs
from lib.data.synthetic.scenes.pictures.shop import ShopPictures
from lib.errors import UserError


class Source(Protocol):
    """A collection of pictures.

    counts: how many pictures each label has.
    """

    counts: dict[str, int]

    def cutout(self, label: str, number: int) -> Cutout:
        """The object of a class with that number: from 0 to below the count of its class."""


class Pictures:
    """The pictures of several sources as one: those of the first source come first."""

    def __init__(
        self, sources: list[Source], photographs: Photographs | None, seed: int, clutter: float
    ) -> None:
        """photographs: one of the sources, which also gives scenes and backgrounds.

        clutter: of generated backgrounds, from 0 to 1.
        """
        self._sources, self._photographs = sources, photographs
        self._seed, self._clutter = seed, clutter
        labels = dict.fromkeys(label for source in sources for label in source.counts)
        self.counts = {
            label: sum(source.counts.get(label, 0) for source in sources) for label in labels
        }

    def _find(self, label: str, number: int) -> tuple[Source, int]:
        for source in self._sources:
            count = source.counts.get(label, 0)
            if number < count:
                return source, number
            number -= count
        raise IndexError(f"{label} has {self.counts.get(label, 0)} pictures")

    def cutout(self, label: str, number: int) -> Cutout:
        """The object of a class with that number: below the count of its class."""
        source, number = self._find(label, number)
        return source.cutout(label, number)

    def subject(self, label: str, number: int) -> tuple[Photograph, Box] | None:
        """The photograph of which a picture is a part, if it can be a scene as it is."""
        source, number = self._find(label, number)
        return source.subject(label, number) if isinstance(source, Photographs) else None

    def background(
        self, width: int, height: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, str]:
        """(uint8 [height, width, 3], source): of a photograph if there is one, else generated."""
        if self._photographs is None or not self._photographs.backgrounds:
            return draw_background(width, height, rng, self._clutter), "generated"
        number = int(rng.integers(len(self._photographs.backgrounds)))
        image, source = self._photographs.background(number, width, height)
        return (image[:, ::-1].copy() if rng.uniform() < 0.5 else image), source


def open_pictures(
    folder: str, wanted: Sequence[str], tree: ClassTree, difficulty: float, seed: int
) -> Pictures:
    """The pictures of a folder, or generated ones if it is "".

    folder: with any of `openimages/photos`, `openimages/raccoon`, `fashion`, `quickdraw/strokes`.
    wanted: which of them, as `scenes.sources` names them: others are not read.
    Raises UserError if none of them is there.
    """
    if not folder:
        return Pictures([GeneratedPictures(tree, difficulty, seed)], None, seed, difficulty)
    root = Path(folder)
    label_of = {name.lower(): label for label, name in tree.names.items()}
    photographs = Photographs(root / "openimages", set(tree.labels), wanted)
    sources: list[Source] = [photographs]
    if "shop" in wanted and (root / "fashion" / "train.bson").is_file():
        clothes = ShopPictures(root / "fashion", label_of)
        sources += [clothes, Figures(clothes, label_of, seed)]
    if "drawings" in wanted:
        appearances, strokes = tree_appearances(tree, seed), root / "quickdraw" / "strokes"
        sources.append(Drawings(strokes, label_of, appearances, difficulty, seed))
    pictures = Pictures(sources, photographs, seed, difficulty)
    if len(pictures.counts) < 2:
        raise UserError(
            f"{root}: scenes.pictures has pictures of {len(pictures.counts)} classes; it needs"
            " openimages/photos, fashion or quickdraw/strokes with at least two, and"
            " scenes.sources that name them"
        )
    return pictures
