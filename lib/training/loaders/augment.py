"""Random augmentation of training images: crop, flip, zoom, rotation, color, erasing.

All random numbers of a batch are drawn at once, in a fixed layout, so that no setting changes the
numbers of another one and images do not depend on the thread that makes them. An image passes
through at most two calls of OpenCV, which both release the interpreter lock: one affine map for
the geometry, one linear map of the colors. An image that needs neither is copied from its crop.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from lib.config.model import Augment
from lib.data.image_reader import GRAY

ERASE_AREA = 0.02, 0.2  # lowest and highest share of the crop that an erased box covers
ERASE_MAX_ASPECT = 2.0  # highest height to width of an erased box; its inverse is the lowest
LUMA = np.array([0.299, 0.587, 0.114])  # weights of R, G, B in the gray value (ITU-R BT.601)
QUARTER_COS, QUARTER_SIN = np.array([[1.0, 0, -1, 0], [0, 1, 0, -1]])  # exact, unlike np.cos


def augment_strength(settings: Augment, epoch: int, num_epochs: int) -> float:
    """Strength in [0, 1] at body epoch `epoch` (0-based, of `num_epochs`).

    epoch: below 0 in head-only epochs.
    """
    if epoch >= num_epochs - settings.no_aug_epochs:
        return 0.0
    ramped = max(epoch, 0)
    if ramped >= settings.ramp_epochs:
        return 1.0
    return settings.ramp_start + (1 - settings.ramp_start) * ramped / settings.ramp_epochs


@dataclass(frozen=True)
class ImageTransforms:
    """Changes of b images beyond the random crop and flip.

    matrices: float64 [b, 2, 3], from (x, y, 1) of the crop to (x, y) of the image; includes the
        crop and the flip.
    warped: bool [b], whether the matrix is more than crop and flip.
    color_factors: float64 [b, 3], of brightness, contrast, saturation.
    recolored: bool [b], whether any factor is not 1.
    erase_boxes: int64 [b, 4], top, left, height, width of the crop; height 0 for none.
    """

    matrices: np.ndarray
    warped: np.ndarray
    color_factors: np.ndarray
    recolored: np.ndarray
    erase_boxes: np.ndarray


@dataclass(frozen=True)
class AugmentParams:
    """Top left corner of the crop of each of b images, whether it is flipped, other changes."""

    tops: list[int]
    lefts: list[int]
    flipped: list[bool]
    transforms: ImageTransforms | None


class RandomAugment:
    """Crops images of size `resize` to `crop` (height, width each) and augments them."""

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
        no_change = Augment(
            no_aug_epochs=settings.no_aug_epochs,
            ramp_epochs=settings.ramp_epochs,
            ramp_start=settings.ramp_start,
            image_fraction=settings.image_fraction,
        )
        self.only_crop = 0 in (strength, settings.image_fraction) or settings == no_change

    def draw(self, count: int, rng: np.random.Generator) -> AugmentParams:
        """Random parameters of `count` images. Crop and flip are drawn first."""
        tops = rng.integers(0, self.resize[0] - self.crop[0] + 1, count)
        lefts = rng.integers(0, self.resize[1] - self.crop[1] + 1, count)
        flipped = np.logical_and(rng.random(count) < 0.5, self.flip)
        transforms = None if self.only_crop else self._transforms(tops, lefts, flipped, rng)
        return AugmentParams(tops.tolist(), lefts.tolist(), flipped.tolist(), transforms)

    def _transforms(
        self, tops: np.ndarray, lefts: np.ndarray, flipped: np.ndarray, rng: np.random.Generator
    ) -> ImageTransforms:
        count = len(tops)
        for_boxes, for_angles = rng.random((4, count)), rng.random(count)
        for_rot90 = rng.random((2, count))
        color_factors = self._color_factors(rng.random((3, count)), rng.random(count))
        erase_boxes = self._erase_boxes(rng.random(count), rng.random((4, count)))
        changed = rng.random(count) < self.settings.image_fraction
        plain = np.broadcast_arrays(tops, lefts, *self.crop)
        boxes = tuple(
            np.where(changed, box, unchanged)
            for box, unchanged in zip(self._crop_boxes(tops, lefts, for_boxes), plain, strict=True)
        )
        rot90 = changed * self._rot90(for_rot90)
        rotation = changed * self.strength * self.settings.max_rotation * (2 * for_angles - 1)
        zoomed = (boxes[2] != self.crop[0]) | (boxes[3] != self.crop[1])
        return ImageTransforms(
            self._matrices(boxes, rot90, np.deg2rad(rotation), flipped),
            zoomed | (rot90 != 0) | (rotation != 0),
            color_factors,
            changed & (color_factors != 1).any(1),
            np.where(changed[:, None], erase_boxes, 0),
        )

    def apply(self, image: np.ndarray, params: AugmentParams, i: int, out: np.ndarray) -> None:
        """Augment `image` uint8 [*resize, 3] RGB as the i-th of `params`, into out [*crop, 3]."""
        transforms = params.transforms
        if transforms is None:
            self._cut(image, params, i, out)
            return
        target = None if transforms.recolored[i] else out
        if transforms.warped[i]:
            cropped = self._warp(image, transforms.matrices[i], target)
        else:
            cropped = self._cut(image, params, i, target)
        if transforms.recolored[i]:
            cv2.transform(cropped, _color_map(cropped, *transforms.color_factors[i]), dst=out)
        top, left, height, width = transforms.erase_boxes[i]
        if height:
            out[top : top + height, left : left + width] = GRAY

    def _cut(
        self, image: np.ndarray, params: AugmentParams, i: int, out: np.ndarray | None
    ) -> np.ndarray:
        """The crop or its mirror image; written into `out` if given."""
        height, width = self.crop
        top, left = params.tops[i], params.lefts[i]
        cropped = image[top : top + height, left : left + width]
        if params.flipped[i]:
            return cv2.flip(cropped, 1, dst=out)
        if out is None:
            return cropped
        out[:] = cropped
        return out

    def _warp(self, image: np.ndarray, matrix: np.ndarray, out: np.ndarray | None) -> np.ndarray:
        return cv2.warpAffine(
            image,
            matrix,
            self.crop[::-1],
            dst=out,
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT_101,
        )

    def _crop_boxes(
        self, tops: np.ndarray, lefts: np.ndarray, random: np.ndarray
    ) -> tuple[np.ndarray, ...]:
        """Top, left, height and width of the box that becomes the crop, float64 [b] each.

        tops, lefts: int64 [b], of the random crop, which contains the box. random: float64 [4, b].
        A box that the aspect ratio makes longer than the crop may leave it, but not the image.
        """
        area = 1 - self.strength * (1 - self.settings.min_area) * random[0]
        max_log_aspect = np.log1p(self.strength * self.settings.max_stretch)
        aspect = np.exp(max_log_aspect * (2 * random[1] - 1))
        height = np.minimum(self.crop[0] * np.sqrt(area * aspect), self.resize[0])
        width = np.minimum(self.crop[1] * np.sqrt(area / aspect), self.resize[1])
        top = tops + random[2] * (self.crop[0] - height)
        left = lefts + random[3] * (self.crop[1] - width)
        top = np.clip(top, 0, self.resize[0] - height)
        left = np.clip(left, 0, self.resize[1] - width)
        return top, left, height, width

    def _rot90(self, random: np.ndarray) -> np.ndarray:
        """Number of quarter turns, int64 [b]: drawn for a share `strength` of the images, else 0.

        random: float64 [2, b].
        """
        chosen = (random[0] < self.strength) & self.settings.rot90
        return np.where(chosen, 4 * random[1], 0).astype(np.int64)

    def _matrices(
        self,
        boxes: tuple[np.ndarray, ...],
        rot90: np.ndarray,
        rotation: np.ndarray,
        flipped: np.ndarray,
    ) -> np.ndarray:
        """Matrices float64 [b, 2, 3] from the crop to the image.

        They flip, rotate counter-clockwise by both angles (rotation in radians) and zoom to the
        boxes, all around the center. A crop that is not square keeps its size when it is turned by
        90 degrees. Beyond the edges of the image is its reflection.
        """
        top, left, height, width = boxes
        cos = QUARTER_COS[rot90] * np.cos(rotation) - QUARTER_SIN[rot90] * np.sin(rotation)
        sin = QUARTER_SIN[rot90] * np.cos(rotation) + QUARTER_COS[rot90] * np.sin(rotation)
        zoom_x, zoom_y = width / self.crop[1], height / self.crop[0]
        flip_sign = np.where(flipped, -1.0, 1.0)
        matrices = np.empty((len(rot90), 2, 3))
        matrices[:, 0, 0], matrices[:, 0, 1] = zoom_x * cos * flip_sign, -zoom_x * sin
        matrices[:, 1, 0], matrices[:, 1, 1] = zoom_y * sin * flip_sign, zoom_y * cos
        center = (self.crop[1] - 1) / 2, (self.crop[0] - 1) / 2  # between centers of pixels
        matrices[:, 0, 2] = left + (width - 1) / 2 - matrices[:, 0, :2] @ center
        matrices[:, 1, 2] = top + (height - 1) / 2 - matrices[:, 1, :2] @ center
        return matrices

    def _color_factors(self, random: np.ndarray, for_grayscale: np.ndarray) -> np.ndarray:
        """Factors of brightness, contrast and saturation, float64 [b, 3].

        random: float64 [3, b]; for_grayscale: float64 [b].
        """
        settings = self.settings
        ranges = settings.brightness, settings.contrast, settings.saturation
        factors = 1 + self.strength * np.array(ranges) * (2 * random.T - 1)
        factors[for_grayscale < self.strength * settings.grayscale_prob, 2] = 0
        return factors

    def _erase_boxes(self, for_choice: np.ndarray, random: np.ndarray) -> np.ndarray:
        """Boxes to erase, int64 [b, 4]: top, left, height, width; zeros for no box.

        for_choice: float64 [b]; random: float64 [4, b].
        Source: Zhong et al., "Random Erasing Data Augmentation" (2017).
        """
        min_area, max_area = ERASE_AREA
        area = (min_area + (max_area - min_area) * random[0]) * self.crop[0] * self.crop[1]
        aspect = ERASE_MAX_ASPECT ** (2 * random[1] - 1)
        height = np.clip(np.rint(np.sqrt(area * aspect)), 1, self.crop[0])
        width = np.clip(np.rint(np.sqrt(area / aspect)), 1, self.crop[1])
        top = np.floor(random[2] * (self.crop[0] - height + 1))
        left = np.floor(random[3] * (self.crop[1] - width + 1))
        boxes = np.stack([top, left, height, width], 1).astype(np.int64)
        boxes[for_choice >= self.strength * self.settings.erase_prob] = 0
        return boxes


def _color_map(
    image: np.ndarray, brightness: float, contrast: float, saturation: float
) -> np.ndarray:
    """The three factors as one linear map float64 [3, 4] of (R, G, B, 1)."""
    mean = LUMA @ cv2.mean(image)[:3]
    saturate = saturation * np.eye(3) + (1 - saturation) * LUMA  # each row mixes in the gray value
    offset = np.full((3, 1), (1 - contrast) * mean)
    return brightness * np.hstack([contrast * saturate, offset])
