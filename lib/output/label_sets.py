"""Predictions of sets of classes for images: all classes above their thresholds, best first.

predictions.parquet, predictions.csv   a row for each product, in the order of its file
    product    the source's own id or name
    classes    the catalog's own classes; lists in Parquet, joined by "; " in CSV
    probs      the probability of each, likewise
"""

import csv
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lib.data.catalog import Catalog, Categories

SEPARATOR = "; "
DIGITS = 6  # of a probability, in both files


def write_label_sets(
    folder: Path, query: Catalog, categories: Categories, probs: np.ndarray, thresholds: np.ndarray
) -> int:
    """Write `predictions.csv` and `predictions.parquet`; returns how many classes are listed.

    probs: float32 [P, C], of every product of `query`. thresholds: float [C]. A product whose
    classes are all below their thresholds has an empty list.
    """
    names = [categories.key(class_id) for class_id in range(len(categories))]
    keys = [query.key(product) for product in range(len(probs))]
    classes, listed = [], []
    for row in probs:
        above = np.flatnonzero(row >= thresholds)
        above = above[np.argsort(-row[above], kind="stable")]
        classes.append([names[class_id] for class_id in above.tolist()])
        listed.append([round(float(value), DIGITS) for value in row[above]])
    table = pa.table(
        {
            "product": pa.array(keys, pa.string()),
            "classes": pa.array(classes, pa.list_(pa.string())),
            "probs": pa.array(listed, pa.list_(pa.float32())),
        }
    )
    pq.write_table(table, folder / "predictions.parquet")
    with (folder / "predictions.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(table.column_names)
        for key, own, values in zip(keys, classes, listed, strict=True):
            texts = (f"{value:.{DIGITS}f}" for value in values)
            rows.writerow([key, SEPARATOR.join(own), SEPARATOR.join(texts)])
    return sum(map(len, classes))
