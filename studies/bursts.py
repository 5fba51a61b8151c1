"""Catalogs with known truth, made of real photographs: people photograph in bursts.

A scene is one photograph. A burst is several pictures of one scene, from slightly different places
and in slightly different light, each a product of its own. New products show other scenes, so
their accuracy is what a user gets, whatever the twins of a burst do to the figures of the pipeline.

    products.csv     product, burst, category, images: the labelled products
    new.csv          product, images: the new ones
    new_labels.csv   product, burst, category of the new ones
    images/          a JPEG for each picture

The column `burst` is the truth about bursts; a config need not name it.
"""

import csv
import hashlib
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import bson
import cv2
import numpy as np

from lib.errors import UserError

MAX_SIDE = 192  # pixels of a picture
BURST_SIZE = (3, 8)  # pictures of a burst
LABELLED_STYLES = 0.6  # of luma; the others are new
FREQUENT = 9.0  # how much more often a changed mix draws one half of the classes
VEHICLES = {
    "/m/0k4j": "Car",
    "/m/01bjv": "Bus",
    "/m/07r04": "Truck",
    "/m/04_sv": "Motorcycle",
    "/m/012n7d": "Ambulance",
}


@dataclass(frozen=True)
class Photo:
    """One scene: its category, and the bytes of a JPEG."""

    category: str
    data: bytes


@dataclass(frozen=True)
class Camera:
    """Ranges from which each picture of a scene is drawn.

    min_area: of the frame, as a fraction of the photograph's area; a tilted frame shrinks until it
        lies within the photograph. max_rotation: degrees. max_tilt: how far each corner of the
        frame moves, as a fraction of its side; it is what another angle does.
    stops: exposure. max_cast: largest relative change of red and of blue. blur: standard deviation
        in hundredths of the longer side. noise: standard deviation, of 255. quality: of the JPEG.
    """

    min_area: float = 0.7
    max_rotation: float = 6.0
    max_tilt: float = 0.06
    stops: tuple[float, float] = (-0.4, 0.4)
    max_cast: float = 0.08
    blur: tuple[float, float] = (0.0, 0.0)
    noise: float = 0.0
    quality: tuple[int, int] = (60, 95)


PHONE = Camera()
NIGHT = Camera(stops=(-2.5, -1.5), max_cast=0.3, blur=(1.0, 2.0), noise=8.0, quality=(30, 60))


def take_picture(photo: np.ndarray, camera: Camera, rng: np.random.Generator) -> np.ndarray:
    """A picture of the scene, uint8 [height, width, 3], of the size of `photo` (the same)."""
    height, width = photo.shape[:2]
    frame = _draw_frame(width / height, camera, rng) * [width, height]
    whole = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    warp = cv2.getPerspectiveTransform(frame.astype(np.float32), whole)
    picture = cv2.warpPerspective(
        photo, warp, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    sigma = rng.uniform(*camera.blur) * max(height, width) / 100
    if sigma > 0:
        picture = cv2.GaussianBlur(picture, (0, 0), sigma)
    cast = 1 + rng.uniform(-camera.max_cast, camera.max_cast, 3) * [1, 0, 1]  # blue, green, red
    gain = 2 ** rng.uniform(*camera.stops) * cast
    light = (picture / 255.0) ** 2.2 * gain  # a sensor counts light; a JPEG holds its root
    exposed = 255 * np.minimum(light, 1) ** (1 / 2.2)
    exposed += rng.normal(0, camera.noise, exposed.shape) if camera.noise else 0
    return exposed.round().clip(0, 255).astype(np.uint8)


def _draw_frame(aspect: float, camera: Camera, rng: np.random.Generator) -> np.ndarray:
    """Corners of a frame within the unit square, float64 [4, 2]: x, y clockwise from the top left.

    aspect: width / height of the photograph; a rotation keeps angles in its pixels.
    """
    side = np.sqrt(rng.uniform(camera.min_area, 1))
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * side / 2
    corners += rng.uniform(-camera.max_tilt, camera.max_tilt, (4, 2)) * side
    angle = np.deg2rad(rng.uniform(-camera.max_rotation, camera.max_rotation))
    rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    corners = (corners * [aspect, 1]) @ rotation / [aspect, 1]
    corners /= max(1.0, np.ptp(corners, axis=0).max())
    room = np.maximum(1 - np.ptp(corners, axis=0), 0)
    return corners - corners.min(axis=0) + room * rng.random(2)


def make_catalog(
    folder: Path,
    photos: Sequence[Photo],
    share_of_twins: float,
    num_labelled: int,
    num_new: int,
    seed: int,
    burst_size: tuple[int, int] = BURST_SIZE,
    new_share_of_twins: float = 0.0,
    same_bursts: bool = False,
    changed_mix: bool = False,
    new_camera: Camera = PHONE,
) -> None:
    """Write a catalog of bursts into `folder`.

    photos: the scenes to draw from, at random.
    share_of_twins: fraction of the labelled products that belong to a burst of at least two;
        the others show a scene of their own. new_share_of_twins: the same of new products.
    burst_size: fewest and most pictures of a burst.
    same_bursts: new products are other pictures of the same bursts and scenes, drawn like the
        labelled ones, instead of other scenes of the same classes.
    changed_mix: one half of the classes is much more frequent among the new products.
    new_camera: how new products are photographed.

    Raises UserError if there are too few photographs.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(photos))
    number = num_labelled + num_new if same_bursts else num_labelled
    sizes = burst_sizes(number, share_of_twins, burst_size, rng)
    if len(sizes) > len(order):
        raise UserError(f"{len(sizes)} scenes are wanted of {len(order)} photographs")
    pictures = rng.permutation(np.repeat(order[: len(sizes)], sizes))
    labelled, new = pictures[:num_labelled], pictures[num_labelled:]
    if not same_bursts:
        classes = {photos[scene].category for scene in labelled}
        rest = np.array([i for i in order[len(sizes) :] if photos[i].category in classes], int)
        sizes = burst_sizes(num_new, new_share_of_twins, burst_size, rng)
        if len(sizes) > len(rest):
            raise UserError(f"{len(sizes)} new scenes are wanted of {len(rest)} photographs")
        share = _class_weights([photos[i].category for i in rest], changed_mix, rng)
        scenes = rng.choice(rest, len(sizes), replace=False, p=share)
        new = rng.permutation(np.repeat(scenes, sizes))
    (folder / "images").mkdir(parents=True, exist_ok=True)
    rows = _photograph(folder, "p", photos, labelled, PHONE, rng)
    new_rows = _photograph(folder, "n", photos, new, new_camera, rng)
    write_tables(folder, rows, new_rows)


def burst_sizes(
    number: int, share_of_twins: float, burst_size: tuple[int, int], rng: np.random.Generator
) -> np.ndarray:
    """Pictures of each scene, int64 [scenes], `number` in all, in random order.

    The rounded share of them is in bursts. The last burst takes what is left: at least two
    pictures, at most one more than the largest.
    """
    left, sizes = round(share_of_twins * number), []
    while left > 1:
        size = min(int(rng.integers(burst_size[0], burst_size[1] + 1)), left)
        size += left - size == 1  # no burst of one is left
        sizes.append(size)
        left -= size
    return rng.permutation(np.array(sizes + [1] * (number - sum(sizes)), int))


def _class_weights(categories: list[str], changed: bool, rng: np.random.Generator) -> np.ndarray:
    """The probability with which each new scene is drawn, float64 [scenes]."""
    frequent = set(rng.permutation(sorted(set(categories)))[::2]) if changed else set()
    weights = np.array([FREQUENT if name in frequent else 1.0 for name in categories])
    return weights / weights.sum()


def _photograph(
    folder: Path,
    prefix: str,
    photos: Sequence[Photo],
    scenes: np.ndarray,
    camera: Camera,
    rng: np.random.Generator,
) -> list[dict[str, str]]:
    """Take a picture of each scene, int64 [products]; the rows of their products."""
    rows = []
    for number, scene in enumerate(scenes.tolist()):
        name = f"{prefix}{number:05d}"  # a letter first: a number would be a feature
        picture = take_picture(_decode(photos[scene].data), camera, rng)
        quality = int(rng.integers(*camera.quality, endpoint=True))
        path = folder / "images" / f"{name}.jpg"
        cv2.imwrite(str(path), picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
        row = {"product": name, "burst": f"s{scene}", "category": photos[scene].category}
        rows.append(row | {"images": path.name})
    return rows


def _decode(data: bytes) -> np.ndarray:
    photo = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if photo is None:
        raise ValueError("a photograph cannot be decoded")
    scale = MAX_SIDE / max(photo.shape)
    if scale >= 1:
        return photo
    return cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def write_tables(
    folder: Path, labelled: Sequence[Mapping[str, str]], new: Sequence[Mapping[str, str]]
) -> None:
    """Write products.csv, new.csv and new_labels.csv of rows with all four columns."""
    tables = {
        "products.csv": (["product", "burst", "category", "images"], labelled),
        "new.csv": (["product", "images"], new),
        "new_labels.csv": (["product", "burst", "category"], new),
    }
    for name, (columns, rows) in tables.items():
        with (folder / name).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


def make_style_catalog(folder: Path, luma: Path, seed: int) -> None:
    """Write a catalog of the photographs of luma; its bursts are the styles, in several colors.

    luma: the folder of luma's products.csv. New products are of other styles of the same classes.
    """
    with (luma / "products.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    rng = np.random.default_rng(seed)
    styles = rng.permutation(sorted({row["style"] for row in rows}))
    chosen = set(styles[: round(LABELLED_STYLES * len(styles))])
    labelled = [row for row in rows if row["style"] in chosen]
    classes = {row["category"] for row in labelled}
    new = [row for row in rows if row["style"] not in chosen and row["category"] in classes]
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for row in labelled + new:
        row["burst"] = row["style"]
        for name in row["images"].split("|"):
            shutil.copyfile(luma / "images" / name, folder / "images" / name)
    write_tables(folder, labelled, new)


def fashion_photos(fashion: Path, num_classes: int = 20, per_class: int = 150) -> list[Photo]:
    """The first image of products of the largest categories, `per_class` of each at most.

    fashion: the folder of train.bson. Images that occur twice are left out.
    """
    photos = []
    seen: Counter[str] = Counter()
    digests = set()
    with (fashion / "train.bson").open("rb") as file:
        for document in bson.decode_file_iter(file):
            data = document["imgs"][0]["picture"]
            digest = hashlib.md5(data, usedforsecurity=False).digest()
            if digest not in digests:
                digests.add(digest)
                photos.append(Photo(str(document["category_id"]), data))
    largest = Counter(photo.category for photo in photos).most_common(num_classes)
    kept, wanted = [], {name for name, _ in largest}
    for photo in photos:
        seen[photo.category] += 1
        if photo.category in wanted and seen[photo.category] <= per_class:
            kept.append(photo)
    return kept


def vehicle_photos(photos: Path) -> list[Photo]:
    """The photographs of vehicles, each of one class.

    photos: the folder of vehicles-annotations-bbox.csv.
    """
    with (photos / "vehicles-annotations-bbox.csv").open(newline="") as file:
        label = {
            row["ImageID"]: VEHICLES[row["LabelName"]]
            for row in csv.DictReader(file)
            if row["LabelName"] in VEHICLES
        }
    return [
        Photo(category, (photos / "images" / f"{name}.jpg").read_bytes())
        for name, category in sorted(label.items())
    ]
