"""Draws the images of the sample catalog: an appearance per class, a variation per product.

A class inherits its appearance down the category tree: the department (level 1) sets the colors,
the family (level 2) the outline and the texture, the leaf changes all of them a little. So leaves
of one family look alike, as in a shop. `difficulty` sets how much products of a class and images
of a product differ, from 0 (clean drawings) to 1 (hardly recognizable).

Images are uint8 [size, size, 3] in OpenCV's channel order (blue, green, red).
"""

import colorsys
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np

TEXTURES = ("plain", "stripes", "dots", "checks", "rings", "fade")
HARMONICS = 6  # of the outline, from the second on
OUTLINE_POINTS = 72
MARGIN = 0.36  # mean radius of an outline, as a fraction of the image's side
JPEG_QUALITY = 88
FONT = cv2.FONT_HERSHEY_SIMPLEX


@dataclass(frozen=True)
class Appearance:
    """How the products of one class look. Hues, saturations and values are in 0..1."""

    hue: float
    second_hue: float
    saturation: float
    value: float
    outline: np.ndarray  # complex128 [HARMONICS]: amplitude and phase, relative to the radius
    stretch: float  # log of height over width
    texture: str
    frequency: float  # texture periods across the image
    angle: float  # of the texture, radians
    knobs: int  # small discs on the body
    knob_distance: float  # of the discs from the center, fraction of the radius


def class_appearances(department: np.ndarray, family: np.ndarray, seed: int) -> list[Appearance]:
    """The appearance of each class.

    department, family: int64 [classes], the level-1 and level-2 node of each class.
    What a node contributes is drawn from (seed, level, node) alone, so it does not depend on the
    number of classes.
    """
    return [
        _class_appearance(
            np.random.default_rng([seed, 1, int(department[leaf])]),
            np.random.default_rng([seed, 2, int(family[leaf])]),
            np.random.default_rng([seed, 3, leaf]),
        )
        for leaf in range(len(family))
    ]


def _class_appearance(
    department: np.random.Generator, family: np.random.Generator, leaf: np.random.Generator
) -> Appearance:
    hue = department.uniform() + family.normal(0, 0.06) + leaf.normal(0, 0.07)
    return Appearance(
        hue=hue,
        second_hue=hue + family.uniform(0.15, 0.5) + leaf.normal(0, 0.08),
        saturation=float(np.clip(department.uniform(0.35, 0.9) + leaf.normal(0, 0.1), 0.15, 1)),
        value=float(np.clip(family.uniform(0.45, 0.9) + leaf.normal(0, 0.1), 0.3, 1)),
        outline=_harmonics(family, 0.13) + _harmonics(leaf, 0.05),
        stretch=family.normal(0, 0.35) + leaf.normal(0, 0.15),
        texture=TEXTURES[family.integers(len(TEXTURES))],
        frequency=family.uniform(4, 9) * np.exp(leaf.normal(0, 0.3)),
        angle=family.uniform(0, np.pi) + leaf.normal(0, 0.4),
        knobs=int(leaf.integers(0, 6)),
        knob_distance=leaf.uniform(0.25, 0.6),
    )


def draw_image(
    appearance: Appearance,
    product: np.random.Generator,
    view: np.random.Generator,
    position: int,
    size: int,
    difficulty: float,
) -> np.ndarray:
    """One photograph of a product.

    product: generator with the same seed for all images of a product. view: one per image.
    position: 0 shows the product from the front; later images are closer and more rotated.
    """
    varied = _vary(appearance, product, difficulty)
    background = _background(product, view, size, difficulty)
    body, mask = _body(varied, size)
    pose = _pose(view, position, size, difficulty)
    body = cv2.warpAffine(body, pose, (size, size), flags=cv2.INTER_LINEAR)
    alpha = cv2.warpAffine(mask, pose, (size, size), flags=cv2.INTER_LINEAR)
    alpha = alpha.astype(np.float32)[:, :, None] / 255
    image = background + alpha * (body.astype(np.float32) - background)
    return _photograph(image, view, difficulty)


def draw_object(
    appearance: Appearance, product: np.random.Generator, size: int, difficulty: float
) -> tuple[np.ndarray, np.ndarray]:
    """A product without background: colors uint8 [size, size, 3], mask uint8 [size, size]."""
    return _body(_vary(appearance, product, difficulty), size)


def draw_surface(
    appearance: Appearance, product: np.random.Generator, size: int, difficulty: float
) -> np.ndarray:
    """The colors and the texture of a product without its outline, uint8 [size, size, 3]."""
    return _surface(_vary(appearance, product, difficulty), size)[0]


def draw_placeholder(number: int, size: int) -> np.ndarray:
    """An image that says nothing of its product, such as "no image available"."""
    rng = np.random.default_rng([number])
    gray = int(rng.integers(215, 246))
    image = np.full((size, size, 3), gray, np.uint8)
    low, high = size // 4, size - size // 4
    width, color = max(1, size // 32), (gray - 70,) * 3
    cv2.rectangle(image, (low, low), (high, high), color, width)
    if number % 3 == 0:
        cv2.line(image, (low, low), (high, high), color, width)
    elif number % 3 == 1:
        cv2.circle(image, (size // 2, size // 2), size // 6, color, width)
    else:
        cv2.line(image, (low, size // 2), (high, size // 2), color, width)
    cv2.putText(image, f"{number}", (2, size - 3), FONT, size / 200, color, 1)
    return image


def draw_words(image: np.ndarray, words: str, view: np.random.Generator) -> None:
    """Draw a word in black or white at the top or the bottom of a picture, as a shop's banner.

    Capitals are a tenth of the image high, or what fits its width. words: ASCII; OpenCV draws no
    other letters.
    """
    size = len(image)
    thickness = max(1, round(size / 96))
    (wide, high), _ = cv2.getTextSize(words, FONT, 1.0, thickness)
    scale = min(size / 10 / high, 0.94 * size / wide)
    x = int(view.integers(0, max(1, round(size - scale * wide)))) + 1
    margin = max(2, size // 40)
    y = margin + round(scale * high) if view.random() < 0.5 else size - margin
    top, bottom = y - round(scale * high) - margin, y + margin
    is_dark = view.random() < 0.5
    ink, paper = ((20,) * 3, (245,) * 3) if is_dark else ((245,) * 3, (20,) * 3)
    cv2.rectangle(image, (0, top), (size, bottom), paper, -1)
    cv2.putText(image, words, (x, y), FONT, scale, ink, thickness, cv2.LINE_AA)


def encode_jpeg(image: np.ndarray) -> bytes:
    """JPEG bytes of an image."""
    encoded, buffer = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not encoded:
        raise ValueError(f"OpenCV cannot encode an image of shape {image.shape}")
    return buffer.tobytes()


def _harmonics(rng: np.random.Generator, spread: float) -> np.ndarray:
    """Random outline, complex128 [HARMONICS]; higher harmonics are weaker."""
    amplitude = spread / np.sqrt(np.arange(1, HARMONICS + 1))
    return amplitude * (rng.normal(size=HARMONICS) + 1j * rng.normal(size=HARMONICS))


def _vary(appearance: Appearance, rng: np.random.Generator, difficulty: float) -> Appearance:
    """The appearance of one product: that of its class, randomly changed."""
    recolored = rng.uniform() < 0.05 + 0.5 * difficulty  # many products come in any color
    hue = rng.uniform() if recolored else appearance.hue + rng.normal(0, 0.01 + 0.1 * difficulty)
    return Appearance(
        hue=hue,
        second_hue=appearance.second_hue - appearance.hue + hue,
        saturation=float(np.clip(appearance.saturation + rng.normal(0, 0.2 * difficulty), 0.05, 1)),
        value=float(np.clip(appearance.value + rng.normal(0, 0.2 * difficulty), 0.15, 1)),
        outline=appearance.outline + _harmonics(rng, 0.01 + 0.08 * difficulty),
        stretch=appearance.stretch + rng.normal(0, 0.02 + 0.3 * difficulty),
        texture=appearance.texture,
        frequency=appearance.frequency * np.exp(rng.normal(0, 0.05 + 0.3 * difficulty)),
        angle=appearance.angle + rng.normal(0, 0.05 + 0.4 * difficulty),
        knobs=max(0, appearance.knobs + int(np.rint(rng.normal(0, 1.2 * difficulty)))),
        knob_distance=appearance.knob_distance,
    )


def _body(appearance: Appearance, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The upright product: colors uint8 [size, size, 3], mask uint8 [size, size] of 0 or 255."""
    body, main_color, second_color = _surface(appearance, size)
    radius = MARGIN * size
    high, wide = radius * np.exp(appearance.stretch / 2), radius * np.exp(-appearance.stretch / 2)
    for knob in range(appearance.knobs):
        angle = 2 * np.pi * knob / appearance.knobs + appearance.angle
        x = size / 2 + appearance.knob_distance * wide * np.cos(angle)
        y = size / 2 + appearance.knob_distance * high * np.sin(angle)
        cv2.circle(
            body, (round(x), round(y)), max(1, size // 16), (second_color * 0.4).tolist(), -1
        )
    points = _outline(appearance.outline) * [wide, high] + size / 2
    mask = np.zeros((size, size), np.uint8)
    polygon = np.rint(points).astype(np.int32)
    cv2.fillPoly(mask, [polygon], 255)
    cv2.polylines(body, [polygon], True, (main_color * 0.5).tolist(), max(1, size // 48))
    return body, mask


def _surface(appearance: Appearance, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Texture in two colors, uint8 [size, size, 3], and the two colors, float32 [3]."""
    main_color = _color(appearance.hue, appearance.saturation, appearance.value)
    second_color = _color(
        appearance.second_hue, appearance.saturation, min(1.0, appearance.value + 0.15)
    )
    weight = _texture(appearance, size)[:, :, None]
    surface = (main_color + weight * (second_color - main_color)).astype(np.uint8)
    return surface, main_color, second_color


def _outline(harmonics: np.ndarray) -> np.ndarray:
    """Closed curve around the origin, float64 [OUTLINE_POINTS, 2] as x, y."""
    angles = np.linspace(0, 2 * np.pi, OUTLINE_POINTS, endpoint=False)
    waves = np.exp(1j * np.arange(2, HARMONICS + 2)[:, None] * angles)
    radius = np.maximum(0.25, 1 + (harmonics[:, None] * waves).real.sum(0))
    return np.stack([radius * np.cos(angles), radius * np.sin(angles)], axis=1)


@lru_cache(maxsize=4)
def _grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates from -0.5 to 0.5, float32 [1, size] across and [size, 1] down."""
    coordinates = (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5
    return coordinates[None, :], coordinates[:, None]


def _texture(appearance: Appearance, size: int) -> np.ndarray:
    """Weight of the second color, float32 [size, size] in 0..1."""
    x, y = _grid(size)
    cosine, sine = np.float32(np.cos(appearance.angle)), np.float32(np.sin(appearance.angle))
    along, across = x * cosine + y * sine, y * cosine - x * sine
    angular_frequency = np.float32(2 * np.pi * appearance.frequency)
    if appearance.texture == "stripes":
        wave = np.sin(angular_frequency * along)
    elif appearance.texture == "dots":
        wave = np.sin(angular_frequency * along) + np.sin(angular_frequency * across) - 0.8
    elif appearance.texture == "checks":
        wave = np.sin(angular_frequency * along) * np.sin(angular_frequency * across)
    elif appearance.texture == "rings":
        wave = np.sin(angular_frequency * np.sqrt(x * x + y * y))
    elif appearance.texture == "fade":
        wave = along / 2
    else:
        return np.zeros((size, size), np.float32)
    return np.clip(wave * 2 + 0.5, 0, 1)


def _background(
    product: np.random.Generator, view: np.random.Generator, size: int, difficulty: float
) -> np.ndarray:
    """float32 [size, size, 3]: white as in most shops, or a tinted room with things in it."""
    if product.uniform() < 0.6:
        background = np.full((size, size, 3), product.uniform(235, 255), np.float32)
    else:
        color = _color(product.uniform(), product.uniform(0, 0.5), product.uniform(0.4, 1))
        _, down = _grid(size)
        background = np.empty((size, size, 3), np.float32)
        background[:] = color * (1 + 0.5 * product.uniform(-1, 1) * down[:, :, None])
    for _ in range(view.poisson(4 * difficulty)):
        center = tuple(int(v) for v in view.integers(0, size, 2))
        axes = tuple(int(v) for v in view.integers(size // 16 + 1, size // 4 + 2, 2))
        color = _color(view.uniform(), view.uniform(0, 0.8), view.uniform(0.3, 1))
        cv2.ellipse(background, center, axes, view.uniform(0, 180), 0, 360, color.tolist(), -1)
    return background


def _pose(view: np.random.Generator, position: int, size: int, difficulty: float) -> np.ndarray:
    """Affine matrix [2, 3] that rotates, scales and moves the upright product."""
    max_angle = (4 + 40 * difficulty) * (1 + 0.5 * position)
    zoom = float(np.exp(view.normal(0, 0.04 + 0.2 * difficulty) + 0.12 * position))
    pose: Any = cv2.getRotationMatrix2D((size / 2, size / 2), view.normal(0, max_angle), zoom)
    pose[:, 2] += view.normal(0, (0.01 + 0.1 * difficulty) * size, 2)
    return pose


def _photograph(image: np.ndarray, view: np.random.Generator, difficulty: float) -> np.ndarray:
    """Occlusions, light, blur and camera noise: float32 -> uint8 [size, size, 3]."""
    size = len(image)
    for _ in range(view.poisson(1.2 * difficulty)):
        start = view.integers(0, size, 2)
        stop = start + view.integers(size // 8, size // 3 + 1, 2)
        color = _color(view.uniform(), view.uniform(0, 0.6), view.uniform(0.2, 1))
        cv2.rectangle(image, start.tolist(), stop.tolist(), color.tolist(), -1)
    x, y = _grid(size)
    slope = view.normal(0, 0.1 + 0.6 * difficulty, 2).astype(np.float32)
    light = np.float32(np.exp(view.normal(0, 0.02 + 0.25 * difficulty)))
    image = image * (light * (1 + slope[0] * x + slope[1] * y))[:, :, None]
    if view.uniform() < 0.6 * difficulty:
        image = cv2.GaussianBlur(image, (0, 0), size / 64 * view.uniform(0.5, 1.5))
    noise = view.standard_normal(image.shape, dtype=np.float32)
    image += noise * np.float32((2 + 50 * difficulty) * view.uniform(0.3, 1))
    return np.clip(image, 0, 255).astype(np.uint8)


def _color(hue: float, saturation: float, value: float) -> np.ndarray:
    """Blue, green, red as float32 [3] in 0..255."""
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    return np.array([blue, green, red], np.float32) * 255
