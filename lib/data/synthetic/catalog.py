"""The sample catalog: generated products and images in Cdiscount's BSON format.

    generate(folder, Sample(train_products=4000), seed=1)

`lib/data/synthetic/plan.py` first decides all structure, `words/plan.py` what titles, brands,
prices and words in pictures there are. Then the files are written product by product; a copied
image is drawn again from the seed of its original, with its word. So memory does not grow with the
images, and the same seed gives the same bytes.
"""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import bson
import numpy as np
from tqdm import tqdm

from lib.config.data import Sample
from lib.data.synthetic import images
from lib.data.synthetic.plan import SyntheticCatalog, measure_plan, plan_catalog
from lib.data.synthetic.words.plan import WordPlan, measure_words, plan_words
from lib.data.synthetic.words.writer import WordWriter
from lib.errors import UserError

LEAVES_PER_NODE = 4  # of a level-2 node, and level-2 nodes of a level-1 node
FIRST_CATEGORY = 1_000_000_000
FRACTIONS = (
    "duplicate_fraction",
    "conflict_fraction",
    "test_shared_fraction",
    "test_unambiguous_fraction",
    "label_noise",
)


def generate(folder: Path, settings: Sample, seed: int) -> dict[str, Any]:
    """Write `train.bson`, `test.bson`, `category_names.csv` and `test_labels.csv` into `folder`.

    Returns the fractions that the catalog has, under the names of the settings. Raises UserError
    for impossible settings.
    """
    _check_settings(settings)
    plan = plan_catalog(settings, seed)
    words = plan_words(settings, plan, _families(settings), seed)
    categories = _write_categories(folder / "category_names.csv", settings, seed)
    _write_products(folder, plan, words, categories, settings, seed)
    _write_test_labels(folder / "test_labels.csv", plan, categories)
    return measure_plan(plan) | measure_words(words, settings)


def _check_settings(settings: Sample) -> None:
    for name in FRACTIONS:
        value = getattr(settings, name)
        if not 0 <= value < 1:
            raise UserError(f"sample.{name} = {value}: must be from 0 to below 1")
    for name, least in (
        ("train_products", 2),
        ("test_products", 1),
        ("num_classes", 2),
        ("run_length", 2),
        ("image_size", 16),
    ):
        if getattr(settings, name) < least:
            raise UserError(f"sample.{name} = {getattr(settings, name)}: must be at least {least}")
    if settings.test_unambiguous_fraction > settings.test_shared_fraction:
        raise UserError(
            "sample.test_unambiguous_fraction is a part of sample.test_shared_fraction; lower it"
        )
    weights = settings.image_count_weights
    if not weights or min(weights) < 0 or not sum(weights):
        raise UserError("sample.image_count_weights: must be at least 0, and not all of them 0")


def _families(settings: Sample) -> np.ndarray:
    """int64 [classes]: the level-2 node of each class."""
    return np.arange(settings.num_classes) // LEAVES_PER_NODE


def _write_categories(path: Path, settings: Sample, seed: int) -> np.ndarray:
    """category_id int64 [classes], ascending; writes the table of the three levels."""
    rng = np.random.default_rng([seed, 9])
    count = settings.num_classes
    numbers = rng.choice(max(30_000, 2 * count), count, replace=False)
    categories = FIRST_CATEGORY + np.sort(numbers)
    family = _families(settings)
    with path.open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["category_id", *(f"category_level{i}" for i in (1, 2, 3))])
        for leaf, category in enumerate(categories.tolist()):
            department = family[leaf] // LEAVES_PER_NODE + 1
            names = [f"DEPARTMENT {department}", f"FAMILY {family[leaf] + 1}", f"LEAF {leaf + 1}"]
            rows.writerow([category, *names])
    return categories


def _write_products(
    folder: Path,
    plan: SyntheticCatalog,
    words: WordPlan,
    categories: np.ndarray,
    settings: Sample,
    seed: int,
) -> None:
    family = _families(settings)
    writer = WordWriter(words, family, seed)
    appearances = images.class_appearances(family // LEAVES_PER_NODE, family, seed)
    bounds = np.searchsorted(plan.product, np.arange(len(plan.ids) + 1))
    order = np.random.default_rng([seed, 8]).permutation(len(plan.ids))  # files are not sorted
    with (
        (folder / "train.bson").open("wb") as train,
        (folder / "test.bson").open("wb") as test,
        tqdm(total=len(order), unit=" products", desc="drawing", disable=None) as bar,
    ):
        for product in order.tolist():
            slots = range(bounds[product], bounds[product + 1])
            jpegs = [_draw_slot(plan, writer, slot, appearances, settings, seed) for slot in slots]
            record: dict[str, Any] = {
                "_id": int(plan.ids[product]),
                **writer.of_product(product),
                "imgs": [{"picture": jpeg} for jpeg in jpegs],
            }
            if not plan.test[product]:
                record["category_id"] = int(categories[plan.label[product]])
            (test if plan.test[product] else train).write(bson.encode(record))
            bar.update()


def _draw_slot(
    plan: SyntheticCatalog,
    writer: WordWriter,
    slot: int,
    appearances: Sequence[images.Appearance],
    settings: Sample,
    seed: int,
) -> bytes:
    """JPEG bytes of the image that a slot shows."""
    source = int(plan.source[slot])
    if source < 0:
        return images.encode_jpeg(images.draw_placeholder(-1 - source, settings.image_size))
    product = int(plan.product[source])
    class_id = int(plan.appearance[product])
    image = images.draw_image(
        appearances[class_id],
        np.random.default_rng([seed, 4, product]),
        np.random.default_rng([seed, 5, source]),
        int(plan.position[source]),
        settings.image_size,
        settings.difficulty,
    )
    if shown := writer.in_picture(source, class_id):
        images.draw_words(image, shown, np.random.default_rng([seed, 13, source + 1]))
    return images.encode_jpeg(image)


def _write_test_labels(path: Path, plan: SyntheticCatalog, categories: np.ndarray) -> None:
    """Write the labels of the test products, which no stage reads."""
    with path.open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["_id", "category_id"])
        tests = np.flatnonzero(plan.test)
        labels = categories[plan.label[tests]].tolist()
        rows.writerows(zip(plan.ids[tests].tolist(), labels, strict=True))
