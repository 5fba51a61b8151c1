"""Objects cut out of a shop's photographs: what is not the white background around them."""

import csv
from pathlib import Path

import bson
import cv2
import numpy as np

from lib.data.synthetic.scenes.pictures.cutout import Cutout, trim

# Classes of Open Images for the leaf categories of Fashion Product Images.
CLASS_NAMES = {
    "BACKPACKS": "Backpack",
    "BELTS": "Belt",
    "BRA": "Brassiere",
    "CASUAL SHOES": "Footwear",
    "DRESSES": "Dress",
    "EARRINGS": "Earrings",
    "FOOTBALLS": "Football",
    "FORMAL SHOES": "Footwear",
    "GLOVES": "Glove",
    "HANDBAGS": "Handbag",
    "HEELS": "High heels",
    "JACKETS": "Jacket",
    "JEANS": "Jeans",
    "LIPSTICK": "Lipstick",
    "NECKLACE AND CHAINS": "Necklace",
    "PERFUME AND BODY MIST": "Perfume",
    "SANDALS": "Sandal",
    "SCARVES": "Scarf",
    "SHIRTS": "Shirt",
    "SHORTS": "Shorts",
    "SKIRTS": "Skirt",
    "SOCKS": "Sock",
    "SPORTS SHOES": "Footwear",
    "SUNGLASSES": "Sunglasses",
    "SWIMWEAR": "Swimwear",
    "TIES": "Tie",
    "TROUSERS": "Trousers",
    "WATCHES": "Watch",
}
MAX_PICTURES = 400  # of a category, which bounds memory
WHITE = 238  # the least channel of a pixel of the background
MIN_FRACTION, MAX_FRACTION = 0.06, 0.97  # of a photograph that an object covers


class ShopPictures:
    """Cut-outs of the photographs of a BSON catalog, by the labels of classes."""

    def __init__(self, folder: Path, label_of: dict[str, str]) -> None:
        """folder: has `category_names.csv` and `train.bson`. label_of: by lower-case name."""
        with (folder / "category_names.csv").open(newline="", encoding="utf-8") as file:
            names = {
                int(row["category_id"]): row["category_level3"] for row in csv.DictReader(file)
            }
        label = {
            category: label_of[CLASS_NAMES[name].lower()]
            for category, name in names.items()
            if name in CLASS_NAMES and CLASS_NAMES[name].lower() in label_of
        }
        self._jpegs: dict[str, list[tuple[str, bytes]]] = {}
        number: dict[int, int] = {}
        with (folder / "train.bson").open("rb") as records:
            for record in bson.decode_file_iter(records):
                category, jpeg = record["category_id"], record["imgs"][0]["picture"]
                if category not in label or number.get(category, 0) == MAX_PICTURES:
                    continue
                if _read(jpeg) is not None:
                    number[category] = number.get(category, 0) + 1
                    picture = (f"fashion/{record['_id']}", jpeg)
                    self._jpegs.setdefault(label[category], []).append(picture)
        self.counts = {label: len(pictures) for label, pictures in self._jpegs.items()}

    def cutout(self, label: str, number: int) -> Cutout:
        """The object of a class with that number: below the count of its class."""
        source, jpeg = self._jpegs[label][number]
        found = _read(jpeg)
        assert found is not None  # or it had not been counted
        image, alpha = found
        return trim(Cutout(image, cv2.GaussianBlur(alpha, (3, 3), 0), source))


def _read(jpeg: bytes) -> tuple[np.ndarray, np.ndarray] | None:
    """A photograph and its alpha; None if it cannot be decoded or cut out."""
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        return None
    alpha = cut_out(image)
    return (image, alpha) if MIN_FRACTION < (alpha > 0).mean() < MAX_FRACTION else None


def cut_out(image: np.ndarray) -> np.ndarray:
    """Alpha uint8 [h, w] of what a picture uint8 [h, w, 3] shows before its white background.

    White that is not connected with the border belongs to the object. Only the largest object and
    those of at least a tenth of its size are kept, so that watermarks and dust are not.
    """
    white = (image.min(axis=2) >= WHITE).astype(np.uint8)
    _, regions = cv2.connectedComponents(white, connectivity=4)
    border = np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]])
    background = np.isin(regions, border[border > 0])
    count, parts, stats, _ = cv2.connectedComponentsWithStats((~background).astype(np.uint8))
    if count < 2:
        return np.zeros(image.shape[:2], np.uint8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    kept = 1 + np.flatnonzero(areas >= areas.max() / 10)
    return np.where(np.isin(parts, kept), 255, 0).astype(np.uint8)
