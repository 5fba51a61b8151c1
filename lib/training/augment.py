"""Training pictures altered at random (C4, T4): place, mirror, zoom, turn, colour, a blot.

All random numbers of a batch are drawn at once, one row for each use, so that no setting changes
the numbers of another, and pictures do not depend on which thread makes them. A picture passes
through at most two calls of OpenCV, both of which release the interpreter: one affine map for all
that moves, one linear map of the colours. What needs neither is a copy of a part of the picture.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from lib.config.model import Augment
from lib.data.image_reader import GRAY

BLOT = 0.02, 0.2  # area of a blot, least and most, as a share of the crop
BLOT_RATIO = 2.0  # height to width of a blot, at most; its inverse at least
LUMA = np.array([0.299, 0.587, 0.114])  # of R, G, B in how bright a colour looks (ITU-R BT.601)
QUARTER_COS, QUARTER_SIN = np.array([[1.0, 0, -1, 0], [0, 1, 0, -1]])  # exact, unlike np.cos


def strength(settings: Augment, epoch: int, epochs: int) -> float:
    """Of an epoch of `epochs`, from 0, both of the body; one of the head alone is below 0."""
    if epoch >= epochs - settings.no_aug_epochs:
        return 0.0
    grown = max(epoch, 0)
    if grown >= settings.ramp_epochs:
        return 1.0
    return settings.ramp_start + (1 - settings.ramp_start) * grown / settings.ramp_epochs


@dataclass(frozen=True)
class ImageTransforms:
    """What is done to each of b pictures beside its place and mirror image.

    maps float64 [b, 2, 3]: from (x, y, 1) of the crop to (x, y) of the picture, place and mirror
    image included; mapped bool [b]: whether that is more than these two.
    factors float64 [b, 3]: of brightness, contrast, saturation; coloured bool [b]: whether any
    is not 1. blots int64 [b, 4]: top, left, height, width; of height 0 where there is none.
    """

    maps: np.ndarray
    mapped: np.ndarray
    factors: np.ndarray
    coloured: np.ndarray
    blots: np.ndarray


@dataclass(frozen=True)
class AugmentParams:
    """Where the crop lies in each of b pictures, whether it is mirrored; None: nothing else."""

    tops: list[int]
    lefts: list[int]
    mirrored: list[bool]
    changes: ImageTransforms | None


class RandomAugment:
    """Cuts pictures of the size `resize` to `crop` (height, width each) and alters them."""

    def __init__(
        self,
        settings: Augment,
        resize: tuple[int, int],
        crop: tuple[int, int],
        flip: bool,
        strength: float = 1.0,
    ) -> None:
        self.settings, self.resize, self.crop = settings, resize, crop
        self.flip, self.strength = flip, strength
        unaltered = Augment(
            no_aug_epochs=settings.no_aug_epochs,
            ramp_epochs=settings.ramp_epochs,
            ramp_start=settings.ramp_start,
        )
        self.plain = strength == 0 or settings == unaltered

    def draw(self, count: int, rng: np.random.Generator) -> AugmentParams:
        """For `count` pictures. The first three draws are those of the plain crop."""
        tops = rng.integers(0, self.resize[0] - self.crop[0] + 1, count)
        lefts = rng.integers(0, self.resize[1] - self.crop[1] + 1, count)
        mirrored = np.logical_and(rng.random(count) < 0.5, self.flip)
        changes = None if self.plain else self._changes(tops, lefts, mirrored, rng)
        return AugmentParams(tops.tolist(), lefts.tolist(), mirrored.tolist(), changes)

    def _changes(
        self, tops: np.ndarray, lefts: np.ndarray, mirrored: np.ndarray, rng: np.random.Generator
    ) -> ImageTransforms:
        count = len(tops)
        windows, angles, turns = rng.random((4, count)), rng.random(count), rng.random((2, count))
        factors = self._factors(rng.random((3, count)), rng.random(count))
        blots = self._blots(rng.random(count), rng.random((4, count)))
        window = self._windows(tops, lefts, windows)
        turned = self._turns(turns)
        tilted = self.strength * self.settings.max_rotation * (2 * angles - 1)
        zoomed = (window[2] != self.crop[0]) | (window[3] != self.crop[1])
        return ImageTransforms(
            self._maps(window, turned, np.deg2rad(tilted), mirrored),
            zoomed | (turned != 0) | (tilted != 0),
            factors,
            (factors != 1).any(1),
            blots,
        )

    def apply(self, picture: np.ndarray, drawn: AugmentParams, i: int, out: np.ndarray) -> None:
        """Alter `picture` uint8 [*resize, 3] RGB as the i-th of `drawn`, into out [*crop, 3]."""
        changes = drawn.changes
        if changes is None:
            self._cut(picture, drawn, i, out)
            return
        target = None if changes.coloured[i] else out
        if changes.mapped[i]:
            shown = self._map(picture, changes.maps[i], target)
        else:
            shown = self._cut(picture, drawn, i, target)
        if changes.coloured[i]:
            cv2.transform(shown, _colours(shown, *changes.factors[i]), dst=out)
        top, left, height, width = changes.blots[i]
        if height:
            out[top : top + height, left : left + width] = GRAY

    def _cut(
        self, picture: np.ndarray, drawn: AugmentParams, i: int, out: np.ndarray | None
    ) -> np.ndarray:
        """The crop as it is, or its mirror image; in `out` if there is one."""
        height, width = self.crop
        top, left = drawn.tops[i], drawn.lefts[i]
        window = picture[top : top + height, left : left + width]
        if drawn.mirrored[i]:
            return cv2.flip(window, 1, dst=out)
        if out is None:
            return window
        out[:] = window
        return out

    def _map(
        self, picture: np.ndarray, to_picture: np.ndarray, out: np.ndarray | None
    ) -> np.ndarray:
        return cv2.warpAffine(
            picture,
            to_picture,
            self.crop[::-1],
            dst=out,
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT_101,
        )

    def _windows(
        self, tops: np.ndarray, lefts: np.ndarray, random: np.ndarray
    ) -> tuple[np.ndarray, ...]:
        """Top, left, height and width of what is shown, float64 [b]: part of the drawn crop.

        One that `stretch` makes longer than the crop goes beyond it, but not beyond the picture.
        """
        area = 1 - self.strength * (1 - self.settings.min_area) * random[0]
        most = np.log1p(self.strength * self.settings.max_stretch)
        ratio = np.exp(most * (2 * random[1] - 1))
        height = np.minimum(self.crop[0] * np.sqrt(area * ratio), self.resize[0])
        width = np.minimum(self.crop[1] * np.sqrt(area / ratio), self.resize[1])
        top = tops + random[2] * (self.crop[0] - height)
        left = lefts + random[3] * (self.crop[1] - width)
        top = np.clip(top, 0, self.resize[0] - height)
        left = np.clip(left, 0, self.resize[1] - width)
        return top, left, height, width

    def _turns(self, random: np.ndarray) -> np.ndarray:
        """Quarters of a turn, int64 [b]; a share of `strength` of the pictures is turned."""
        chosen = (random[0] < self.strength) & self.settings.rot90
        return np.where(chosen, 4 * random[1], 0).astype(np.int64)

    def _maps(
        self,
        window: tuple[np.ndarray, ...],
        turned: np.ndarray,
        tilted: np.ndarray,
        mirrored: np.ndarray,
    ) -> np.ndarray:
        """Around the middle: mirror, turn counter-clockwise by both angles, zoom to the window.

        A turned crop that is not square covers as much of the picture as before, lying down; what
        is beyond the edge is the picture's reflection.
        """
        top, left, height, width = window
        cos = QUARTER_COS[turned] * np.cos(tilted) - QUARTER_SIN[turned] * np.sin(tilted)
        sin = QUARTER_SIN[turned] * np.cos(tilted) + QUARTER_COS[turned] * np.sin(tilted)
        across, down = width / self.crop[1], height / self.crop[0]
        side = np.where(mirrored, -1.0, 1.0)
        maps = np.empty((len(turned), 2, 3))
        maps[:, 0, 0], maps[:, 0, 1] = across * cos * side, -across * sin
        maps[:, 1, 0], maps[:, 1, 1] = down * sin * side, down * cos
        middle = (self.crop[1] - 1) / 2, (self.crop[0] - 1) / 2  # of pixels' centres
        maps[:, 0, 2] = left + (width - 1) / 2 - maps[:, 0, :2] @ middle
        maps[:, 1, 2] = top + (height - 1) / 2 - maps[:, 1, :2] @ middle
        return maps

    def _factors(self, random: np.ndarray, uncoloured: np.ndarray) -> np.ndarray:
        settings = self.settings
        spans = settings.brightness, settings.contrast, settings.saturation
        factors = 1 + self.strength * np.array(spans) * (2 * random.T - 1)
        factors[uncoloured < self.strength * settings.grayscale_prob, 2] = 0
        return factors

    def _blots(self, chosen: np.ndarray, random: np.ndarray) -> np.ndarray:
        least, most = BLOT
        area = (least + (most - least) * random[0]) * self.crop[0] * self.crop[1]
        ratio = BLOT_RATIO ** (2 * random[1] - 1)
        height = np.clip(np.rint(np.sqrt(area * ratio)), 1, self.crop[0])
        width = np.clip(np.rint(np.sqrt(area / ratio)), 1, self.crop[1])
        top = np.floor(random[2] * (self.crop[0] - height + 1))
        left = np.floor(random[3] * (self.crop[1] - width + 1))
        blots = np.stack([top, left, height, width], 1).astype(np.int64)
        blots[chosen >= self.strength * self.settings.erase_prob] = 0
        return blots


def _colours(
    picture: np.ndarray, brightness: float, contrast: float, saturation: float
) -> np.ndarray:
    """The three factors as one linear map float64 [3, 4] of (R, G, B, 1)."""
    mean = LUMA @ cv2.mean(picture)[:3]
    vivid = saturation * np.eye(3) + (1 - saturation) * LUMA  # each row the pixel's own grey
    offset = np.full((3, 1), (1 - contrast) * mean)
    return brightness * np.hstack([contrast * vivid, offset])
