"""Feature folders of a small random catalog for tests."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lib.config.schema import Features
from lib.data.catalog import Catalog, Splits
from lib.features.build import build_candidates, build_source
from lib.features.query import make_query
from lib.features.table import FeatureTable
from lib.features.visibility import PartInputs
from lib.inference.topk import TopK
from tests.features.toy_catalog import CLASSES, random_catalog, random_topk, splits

SETTINGS = Features(top_k=3, hash_k=5, id_neighbors=2, id_windows=(4, 50_000))


@dataclass
class SmallData:
    labelled: Catalog
    splits: Splits
    test: Catalog
    topks: dict[str, list[TopK]]

    def query(self, part: str) -> Catalog:
        return self.test if part == "test" else self.labelled

    def inputs(self, part: str, features: Features = SETTINGS) -> PartInputs:
        return next(self.partitions(part, features))

    def partitions(
        self, part: str, features: Features = SETTINGS, size: int = 1000
    ) -> Iterator[PartInputs]:
        catalog, first = self.query(part), 0
        everyone = np.arange(len(catalog.label)) if part == "test" else self.splits.products(part)
        for start in range(0, max(len(everyone), 1), size):
            query = make_query(catalog, everyone[start : start + size])
            rows = slice(first, first + len(query.images))
            first = rows.stop
            topks = [
                TopK(topk.image[rows], topk.classes[rows], topk.probs[rows], topk.rest[rows])
                for topk in self.topks[part]
            ]
            yield PartInputs(
                features, part, self.labelled, self.splits, catalog, query, CLASSES, topks
            )


def small_data(seed: int, products: int = 60) -> SmallData:
    rng = np.random.default_rng(seed)
    labelled = random_catalog(rng, products, 40, placeholder=0.15)
    parts = splits(rng, products)
    test = random_catalog(rng, 15, 40, placeholder=0.15)
    images = {p: labelled.images_of(parts.products(p)) for p in ("fit", "holdout", "locked")}
    images["test"] = np.arange(len(test.image_product))
    topks = {part: [random_topk(rng, rows)[0] for _ in range(2)] for part, rows in images.items()}
    return SmallData(labelled, parts, test, topks)


@dataclass
class Built:
    product: np.ndarray
    class_id: np.ndarray
    fold: np.ndarray
    columns: FeatureTable
    facts: dict

    def of(self, product: int) -> tuple[list[int], np.ndarray]:
        rows = self.product == product
        return self.class_id[rows].tolist(), np.asarray(self.columns.values[rows])

    def column(self, name: str) -> np.ndarray:
        return np.asarray(self.columns.values[:, self.columns.names.index(name)])


def build(
    folder: Path,
    data: SmallData,
    part: str,
    features: Features = SETTINGS,
    stack_part: str = "fit",
    size: int = 1000,
) -> Built:
    folder.mkdir(parents=True, exist_ok=True)
    facts = build_candidates(folder, data.partitions(part, features, size), stack_part)
    product, class_id, fold = (
        np.load(folder / f"{name}.npy") for name in ("product", "class_id", "fold")
    )
    return Built(product, class_id, fold, FeatureTable.load(folder), facts)


def build_source_table(
    folder: Path,
    data: SmallData,
    part: str,
    names: Sequence[str],
    features: Features = SETTINGS,
    size: int = 1000,
) -> FeatureTable:
    build(folder / "candidates", data, part, features, size=size)
    (folder / "source").mkdir(exist_ok=True)
    pieces = (
        (some.query, some.topks[: len(names)]) for some in data.partitions(part, features, size)
    )
    build_source(folder / "source", features, folder / "candidates", pieces, names, CLASSES)
    return FeatureTable.load(folder / "source")
