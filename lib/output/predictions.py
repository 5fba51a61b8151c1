"""Predictions for new products, most probable class first.

predictions.parquet, predictions.csv   a row for each product, in the order of its file
    product                            the source's own id or name
    class_1, prob_1, class_2, ...      the catalog's own classes; null: no more candidates
    accepted                           whether class_1 is probable enough, and the promise holds
    reason                             why it is not accepted; empty if it is
    images_used                        images that could be decoded; with none nothing is accepted
    name_1                             the levels of class_1 (Parquet only)
    nearest_cos                        cosine to the nearest labelled image (Parquet only)
    near_1, near_cos_1, near_2, ...    the nearest labelled products by their images, and the cosine
                                       of the most alike images (Parquet only); null: no more found
"""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from lib.data.catalog import Catalog, Categories
from lib.evaluation.abstention import AbstentionRule
from lib.similarity.nearest_products import NearestProducts
from lib.utils.groups import group_index, group_rank, group_runs

NO_IMAGE = "no readable image"
IMPROBABLE, FAR = "improbable", "unlike every labelled product"
WITHDRAWN = "no precision can be promised for these products"
NUM_NEAR = 5  # labelled products in the Parquet file
NEAR_COLUMNS = [f"near_{kind}{i + 1}" for i in range(NUM_NEAR) for kind in ("", "cos_")]
PARQUET_ONLY = ("name_1", "nearest_cos", *NEAR_COLUMNS)
CHUNK = 100_000  # products written at a time
DIGITS = 6  # of a probability, in both files


def write_predictions(
    folder: Path,
    query: Catalog,
    categories: Categories,
    product: np.ndarray,
    class_id: np.ndarray,
    score: np.ndarray,
    rule: AbstentionRule,
    top_k: int,
    supported: np.ndarray,
    nearest_cos: np.ndarray,
    nearest: NearestProducts,
    labelled: Catalog,
) -> tuple[int, int]:
    """Write `predictions.csv` and `predictions.parquet` for every product of `query`.

    product: int32 [R] and class_id: int16 [R], the candidates sorted by (product, class).
    score: float32 [R], the blend's scores.
    rule: gives probabilities, and accepts predictions.
    top_k: classes written for each product.
    supported: bool [P], whether a product looks like some labelled one; others are not accepted.
    nearest_cos: float32 [P], cosine to the nearest labelled image.
    nearest: of every product, products of `labelled`; at most NUM_NEAR are written.

    Returns the number of products and of accepted predictions.
    Raises ValueError for a product without candidates.
    """
    num_products = len(query.product_id)
    like = Likeness(supported, nearest_cos, nearest, labelled)
    tables = prediction_tables(query, categories, product, class_id, score, rule, top_k, like)
    with tqdm(total=num_products, unit=" products", desc="predictions", disable=None) as bar:
        return write_tables(folder, tables, bar)


def write_tables(
    folder: Path, tables: Iterator[pa.Table], bar: tqdm | None = None
) -> tuple[int, int]:
    """Write both files table by table; returns the number of products and of accepted ones."""
    count = accepted = 0
    writer = None
    with (folder / "predictions.csv").open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file, lineterminator="\n")
        for table in tables:
            if writer is None:
                writer = pq.ParquetWriter(folder / "predictions.parquet", table.schema)
                lines.writerow(_csv_columns(table))
            writer.write_table(table)
            lines.writerows(_csv_rows(table))
            count += len(table)
            accepted += int(np.count_nonzero(table["accepted"].to_numpy()))
            if bar is not None:
                bar.update(len(table))
    assert writer is not None, "an index without products"
    writer.close()
    return count, accepted


def top_rows(product: np.ndarray, score: np.ndarray, top_k: int) -> np.ndarray:
    """Rows of each product's highest scores, best first, ties by row: int64 [Q, top_k].

    product: int32 [R], ascending.
    score: float32 [R].

    -1 where a product has fewer rows.
    """
    starts, sizes = group_runs(product)
    rank = group_rank(score, product).astype(np.int64)
    rows = np.flatnonzero(rank < top_k)
    top = np.full((len(starts), top_k), -1, np.int64)
    top[group_index(sizes)[rows], rank[rows]] = rows
    return top


def prediction_tables(
    query: Catalog,
    categories: Categories,
    product: np.ndarray,
    class_id: np.ndarray,
    score: np.ndarray,
    rule: AbstentionRule,
    top_k: int,
    like: "Likeness",
) -> Iterator[pa.Table]:
    """The rows of predictions.parquet as tables of CHUNK products; arguments and errors as of
    `write_predictions`."""
    probability = rule.probability(score, product)
    keys = query.product_id if query.keys is None else query.keys
    for start in range(0, len(keys), CHUNK):
        stop = min(start + CHUNK, len(keys))
        chunk = slice(*np.searchsorted(product, [start, stop]))
        top = top_rows(product[chunk], score[chunk], top_k)
        if len(top) != stop - start:
            raise ValueError(f"{stop - start - len(top)} products have no candidates")
        is_row, top = top >= 0, np.maximum(top, 0)
        top_class = np.where(is_row, class_id[chunk][top], -1)
        top_prob = np.where(is_row, probability[chunk][top], np.nan).astype(np.float32)
        images = query.image_count[start:stop]
        reason = _reasons(rule, top_prob[:, 0], like.supported[start:stop], images)
        near = like.columns(slice(start, stop))
        yield _table(keys[start:stop], categories, top_class, top_prob, reason, images, near)


class Likeness(NamedTuple):
    """How like the labelled products each product is: arguments of `write_predictions`."""

    supported: np.ndarray
    nearest_cos: np.ndarray
    nearest: NearestProducts
    labelled: Catalog

    def columns(self, rows: slice) -> dict[str, pa.Array | pa.ChunkedArray]:
        """The columns of cosines and nearest products, of some products."""
        cosine = self.nearest_cos[rows]
        columns = {"nearest_cos": pa.array(cosine, mask=~np.isfinite(cosine))}
        keys = self.labelled.keys
        names = pa.array(self.labelled.product_id) if keys is None else keys
        for i in range(NUM_NEAR):
            product = self.nearest.product[rows, i]
            absent = product < 0
            columns[f"near_{i + 1}"] = names.take(pa.array(product, mask=absent))
            columns[f"near_cos_{i + 1}"] = pa.array(self.nearest.cosine[rows, i], mask=absent)
        return columns


def _reasons(
    rule: AbstentionRule, probability: np.ndarray, supported: np.ndarray, images: np.ndarray
) -> np.ndarray:
    """Why each prediction is not accepted: strings [Q], empty for accepted ones.

    Without a picture, a class can only come from other products: a guess, however probable.
    """
    reason = np.where(rule.accepts(probability), "", IMPROBABLE).astype(object)
    reason[~supported] = FAR
    if rule.threshold is None:
        reason[:] = WITHDRAWN
    reason[images == 0] = NO_IMAGE
    return reason


def _table(
    keys: np.ndarray | pa.ChunkedArray,
    categories: Categories,
    class_id: np.ndarray,
    probability: np.ndarray,
    reason: np.ndarray,
    images: np.ndarray,
    near: dict[str, Any],
) -> pa.Table:
    """keys [Q]; class_id int [Q, k], -1: none; probability float32 [Q, k]; reason, strings [Q];
    images int16 [Q], how many were used; near: columns of `Likeness`."""
    columns: dict[str, Any] = {"product": keys}
    rounded = probability.astype(np.float64).round(DIGITS).astype(np.float32)
    for i in range(class_id.shape[1]):
        absent = class_id[:, i] < 0
        columns[f"class_{i + 1}"] = _class_names(categories, class_id[:, i], absent)
        columns[f"prob_{i + 1}"] = pa.array(rounded[:, i], mask=absent)
    columns["accepted"] = reason == ""
    columns["reason"] = pa.array(reason.tolist(), pa.string())
    columns["images_used"] = images
    paths = [" > ".join(level for level in path if level) for path in categories.names]
    columns["name_1"] = _dictionary_array(paths, class_id[:, 0])
    return pa.table(columns | near)


def _class_names(categories: Categories, class_id: np.ndarray, absent: np.ndarray) -> pa.Array:
    """The catalog's own names of classes: category ids int64, or strings."""
    if categories.keys is None:
        return pa.array(categories.category_id[np.maximum(class_id, 0)], mask=absent)
    return _dictionary_array(categories.keys, class_id)


def _dictionary_array(values: list[str], index: np.ndarray) -> pa.DictionaryArray:
    """values[index], null where `index` is -1."""
    indices = pa.array(index.astype(np.int32), mask=index < 0)
    return pa.DictionaryArray.from_arrays(indices, pa.array(values, pa.string()))


def _csv_rows(table: pa.Table) -> Iterator[tuple[Any, ...]]:
    """The columns of the CSV; null as an empty field."""

    def cells(name: str) -> list[Any]:
        values = table[name].to_pylist()
        if name.startswith("prob_"):
            return [None if value is None else f"{value:.{DIGITS}f}" for value in values]
        if name == "accepted":
            return ["true" if value else "false" for value in values]
        return values

    return zip(*(cells(name) for name in _csv_columns(table)), strict=True)


def _csv_columns(table: pa.Table) -> list[str]:
    return [name for name in table.column_names if name not in PARQUET_ONLY]
