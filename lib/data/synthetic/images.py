"""Draws the pictures of the sample catalogue: a recipe a class, a variation a product.

A category's recipe is inherited down its tree: the department (level 1) sets the colours, the
family (level 2) the outline and the texture, the leaf small changes to all of them. So leaves of
one family look alike, as they do in a shop. What a product and a photograph of it change grows
with `difficulty`, from 0 (clean drawings) to 1 (hardly readable).

Pictures are uint8 [size, size, 3] in OpenCV's channel order (blue, green, red).
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
MARGIN = 0.36  # mean radius of an outline as a share of the picture's side
JPEG_QUALITY = 88


@dataclass(frozen=True)
class Appearance:
    """How the products of one class look. Hues, saturations and values lie in 0..1."""

    hue: float
    second_hue: float
    saturation: float
    value: float
    outline: np.ndarray  # complex128 [HARMONICS]: amplitude and phase, relative to the radius
    stretch: float  # log of height over width
    texture: str
    frequency: float  # texture periods across the picture
    angle: float  # of the texture, radians
    knobs: int  # small discs on the body
    knob_distance: float  # of the discs from the centre, share of the radius


def recipes(department: np.ndarray, family: np.ndarray, seed: int) -> list[Appearance]:
    """One recipe for each class, from its level-1 and level-2 node (int [classes] each).

    A node's share in a recipe is drawn from (seed, level, node) alone, so it does not depend on
    how many classes there are.
    """
    return [
        _recipe(
            np.random.default_rng([seed, 1, int(department[leaf])]),
            np.random.default_rng([seed, 2, int(family[leaf])]),
            np.random.default_rng([seed, 3, leaf]),
        )
        for leaf in range(len(family))
    ]


def _recipe(
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


def draw(
    recipe: Appearance,
    product: np.random.Generator,
    view: np.random.Generator,
    position: int,
    size: int,
    difficulty: float,
) -> np.ndarray:
    """One photograph. `product` must be seeded alike for all pictures of a product, `view` not.

    The first picture (`position` 0) shows the product from the front, later ones come closer and
    turn further.
    """
    own = _vary(recipe, product, difficulty)
    ground = _background(product, view, size, difficulty)
    body, mask = _body(own, size)
    turn = _pose(view, position, size, difficulty)
    body = cv2.warpAffine(body, turn, (size, size), flags=cv2.INTER_LINEAR)
    alpha = cv2.warpAffine(mask, turn, (size, size), flags=cv2.INTER_LINEAR)
    alpha = alpha.astype(np.float32)[:, :, None] / 255
    picture = ground + alpha * (body.astype(np.float32) - ground)
    return _photograph(picture, view, difficulty)


def draw_placeholder(number: int, size: int) -> np.ndarray:
    """A picture that says nothing of its product, such as "no photograph yet"."""
    rng = np.random.default_rng([number])
    shade = int(rng.integers(215, 246))
    picture = np.full((size, size, 3), shade, np.uint8)
    low, high = size // 4, size - size // 4
    line, ink = max(1, size // 32), (shade - 70,) * 3
    cv2.rectangle(picture, (low, low), (high, high), ink, line)
    if number % 3 == 0:
        cv2.line(picture, (low, low), (high, high), ink, line)
    elif number % 3 == 1:
        cv2.circle(picture, (size // 2, size // 2), size // 6, ink, line)
    else:
        cv2.line(picture, (low, size // 2), (high, size // 2), ink, line)
    cv2.putText(picture, f"{number}", (2, size - 3), cv2.FONT_HERSHEY_SIMPLEX, size / 200, ink, 1)
    return picture


def encode(picture: np.ndarray) -> bytes:
    """JPEG bytes of a picture."""
    done, buffer = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not done:
        raise ValueError(f"OpenCV cannot encode a picture of shape {picture.shape}")
    return buffer.tobytes()


def _harmonics(rng: np.random.Generator, spread: float) -> np.ndarray:
    """Random outline, complex128 [HARMONICS]; the finer ones are weaker."""
    fall = spread / np.sqrt(np.arange(1, HARMONICS + 1))
    return fall * (rng.normal(size=HARMONICS) + 1j * rng.normal(size=HARMONICS))


def _vary(recipe: Appearance, rng: np.random.Generator, difficulty: float) -> Appearance:
    """The recipe of one product: its class's, with what products of a class differ in."""
    repainted = rng.uniform() < 0.05 + 0.5 * difficulty  # many products come in any colour
    hue = rng.uniform() if repainted else recipe.hue + rng.normal(0, 0.01 + 0.1 * difficulty)
    return Appearance(
        hue=hue,
        second_hue=recipe.second_hue - recipe.hue + hue,
        saturation=float(np.clip(recipe.saturation + rng.normal(0, 0.2 * difficulty), 0.05, 1)),
        value=float(np.clip(recipe.value + rng.normal(0, 0.2 * difficulty), 0.15, 1)),
        outline=recipe.outline + _harmonics(rng, 0.01 + 0.08 * difficulty),
        stretch=recipe.stretch + rng.normal(0, 0.02 + 0.3 * difficulty),
        texture=recipe.texture,
        frequency=recipe.frequency * np.exp(rng.normal(0, 0.05 + 0.3 * difficulty)),
        angle=recipe.angle + rng.normal(0, 0.05 + 0.4 * difficulty),
        knobs=max(0, recipe.knobs + int(np.rint(rng.normal(0, 1.2 * difficulty)))),
        knob_distance=recipe.knob_distance,
    )


def _body(recipe: Appearance, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The upright product: colours uint8 [size, size, 3], mask uint8 [size, size] of 0 or 255."""
    main = _colour(recipe.hue, recipe.saturation, recipe.value)
    second = _colour(recipe.second_hue, recipe.saturation, min(1.0, recipe.value + 0.15))
    weight = _texture(recipe, size)[:, :, None]
    body = (main + weight * (second - main)).astype(np.uint8)
    radius = MARGIN * size
    high, wide = radius * np.exp(recipe.stretch / 2), radius * np.exp(-recipe.stretch / 2)
    for knob in range(recipe.knobs):
        around = 2 * np.pi * knob / recipe.knobs + recipe.angle
        x = size / 2 + recipe.knob_distance * wide * np.cos(around)
        y = size / 2 + recipe.knob_distance * high * np.sin(around)
        cv2.circle(body, (round(x), round(y)), max(1, size // 16), (second * 0.4).tolist(), -1)
    points = _outline(recipe.outline) * [wide, high] + size / 2
    mask = np.zeros((size, size), np.uint8)
    polygon = np.rint(points).astype(np.int32)
    cv2.fillPoly(mask, [polygon], 255)
    cv2.polylines(body, [polygon], True, (main * 0.5).tolist(), max(1, size // 48))
    return body, mask


def _outline(harmonics: np.ndarray) -> np.ndarray:
    """Closed curve around the origin, float64 [OUTLINE_POINTS, 2] as x, y."""
    around = np.linspace(0, 2 * np.pi, OUTLINE_POINTS, endpoint=False)
    waves = np.exp(1j * np.arange(2, HARMONICS + 2)[:, None] * around)
    radius = np.maximum(0.25, 1 + (harmonics[:, None] * waves).real.sum(0))
    return np.stack([radius * np.cos(around), radius * np.sin(around)], axis=1)


@lru_cache(maxsize=4)
def _grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates from -0.5 to 0.5, float32 [1, size] across and [size, 1] down."""
    line = (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5
    return line[None, :], line[:, None]


def _texture(recipe: Appearance, size: int) -> np.ndarray:
    """Weight of the second colour, float32 [size, size] in 0..1."""
    x, y = _grid(size)
    cosine, sine = np.float32(np.cos(recipe.angle)), np.float32(np.sin(recipe.angle))
    along, across = x * cosine + y * sine, y * cosine - x * sine
    pace = np.float32(2 * np.pi * recipe.frequency)
    if recipe.texture == "stripes":
        wave = np.sin(pace * along)
    elif recipe.texture == "dots":
        wave = np.sin(pace * along) + np.sin(pace * across) - 0.8
    elif recipe.texture == "checks":
        wave = np.sin(pace * along) * np.sin(pace * across)
    elif recipe.texture == "rings":
        wave = np.sin(pace * np.sqrt(x * x + y * y))
    elif recipe.texture == "fade":
        wave = along / 2
    else:
        return np.zeros((size, size), np.float32)
    return np.clip(wave * 2 + 0.5, 0, 1)


def _background(
    product: np.random.Generator, view: np.random.Generator, size: int, difficulty: float
) -> np.ndarray:
    """What lies behind, float32 [size, size, 3]: white as in most shops, or a tinted room."""
    if product.uniform() < 0.6:
        ground = np.full((size, size, 3), product.uniform(235, 255), np.float32)
    else:
        colour = _colour(product.uniform(), product.uniform(0, 0.5), product.uniform(0.4, 1))
        _, down = _grid(size)
        ground = np.empty((size, size, 3), np.float32)
        ground[:] = colour * (1 + 0.5 * product.uniform(-1, 1) * down[:, :, None])
    for _ in range(view.poisson(4 * difficulty)):
        centre = tuple(int(v) for v in view.integers(0, size, 2))
        axes = tuple(int(v) for v in view.integers(size // 16 + 1, size // 4 + 2, 2))
        shade = _colour(view.uniform(), view.uniform(0, 0.8), view.uniform(0.3, 1))
        cv2.ellipse(ground, centre, axes, view.uniform(0, 180), 0, 360, shade.tolist(), -1)
    return ground


def _pose(view: np.random.Generator, position: int, size: int, difficulty: float) -> np.ndarray:
    """Affine map [2, 3] that turns, scales and moves the upright product."""
    turned = (4 + 40 * difficulty) * (1 + 0.5 * position)
    zoom = float(np.exp(view.normal(0, 0.04 + 0.2 * difficulty) + 0.12 * position))
    turn: Any = cv2.getRotationMatrix2D((size / 2, size / 2), view.normal(0, turned), zoom)
    turn[:, 2] += view.normal(0, (0.01 + 0.1 * difficulty) * size, 2)
    return turn


def _photograph(picture: np.ndarray, view: np.random.Generator, difficulty: float) -> np.ndarray:
    """Light, things in front, blur and the camera's noise: float32 picture -> uint8 picture."""
    size = len(picture)
    for _ in range(view.poisson(1.2 * difficulty)):
        start = view.integers(0, size, 2)
        stop = start + view.integers(size // 8, size // 3 + 1, 2)
        shade = _colour(view.uniform(), view.uniform(0, 0.6), view.uniform(0.2, 1))
        cv2.rectangle(picture, start.tolist(), stop.tolist(), shade.tolist(), -1)
    x, y = _grid(size)
    slope = view.normal(0, 0.1 + 0.6 * difficulty, 2).astype(np.float32)
    light = np.float32(np.exp(view.normal(0, 0.02 + 0.25 * difficulty)))
    picture = picture * (light * (1 + slope[0] * x + slope[1] * y))[:, :, None]
    if view.uniform() < 0.6 * difficulty:
        picture = cv2.GaussianBlur(picture, (0, 0), size / 64 * view.uniform(0.5, 1.5))
    noise = view.standard_normal(picture.shape, dtype=np.float32)
    picture += noise * np.float32((2 + 50 * difficulty) * view.uniform(0.3, 1))
    return np.clip(picture, 0, 255).astype(np.uint8)


def _colour(hue: float, saturation: float, value: float) -> np.ndarray:
    """Blue, green, red as float32 [3] in 0..255."""
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    return np.array([blue, green, red], np.float32) * 255
