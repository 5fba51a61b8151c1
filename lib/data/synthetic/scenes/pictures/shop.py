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
MAX_PICTURES = 600  # of a category, which bounds memory
WHITE = 238  # the least channel of a pixel of the background
MIN_FRACTION, MAX_FRACTION = 0.06, 0.97  # of a photograph that an object covers
TRIES = 8  # photographs looked at for one that can be cut out


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
        found: dict[str, list[tuple[str, bytes]]] = {}
        number: dict[int, int] = {}
        with (folder / "train.bson").open("rb") as records:
            for record in bson.decode_file_iter(records):
                category = record["category_id"]
                number[category] = number.get(category, 0) + 1
                if category in label and number[category] <= MAX_PICTURES:
                    picture = (f"fashion/{record['_id']}", record["imgs"][0]["picture"])
                    found.setdefault(label[category], []).append(picture)
        self._jpegs = found
        self.counts = {label: len(pictures) for label, pictures in found.items()}

    def cutout(self, label: str, number: int) -> Cutout:
        """The object of a class with that number, or of the next that can be cut out."""
        pictures = self._jpegs[label]
        tries = [pictures[(number + step) % len(pictures)] for step in range(TRIES)]
        for source, jpeg in tries:
            image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
            if image is not None:
                alpha = cut_out(image)
                if MIN_FRACTION < (alpha > 0).mean() < MAX_FRACTION:
                    return trim(Cutout(image, alpha, source))
        raise ValueError(f"{tries[0][0]}: none of {TRIES} photographs from here can be cut out")


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
