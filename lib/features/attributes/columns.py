"""Columns of candidate rows from the attributes of products, and the classes that they propose

A row sees the labels of other folds alone, as in `lib/features/visibility.py`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lib.features.attributes.class_counts import ClassCounts, count_classes
from lib.features.attributes.class_values import (
    ClassValues,
    bin_edges,
    signed_log,
    sort_by_class,
    to_bins,
)
from lib.features.table import Columns

MAX_LETTERS = 40  # of the name of an attribute in that of a column
NEARLY_ALL = 0.95  # of the products whose class an attribute alone tells: it may be the class
MIN_TOLD = 20  # products, so that this says something


@dataclass(frozen=True)
class Attributes:
    """Values of the labelled products, and of the products of a query.

    category: codes int32 [P] and [Q] by column, -1 if missing. num_values: of each column.
    number: float64 [P] and [Q] by column, NaN if missing.
    """

    category: Mapping[str, tuple[np.ndarray, np.ndarray]]
    num_values: Mapping[str, int]
    number: Mapping[str, tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class AttributeTables:
    """What is looked up for the rows of a part.

    fold: int8 [Q], whose labels a query row must not see; -1 for none.
    values: int32 [Q] by column: the categories, and the bins of the numbers. counts: of them.
    numbers: float64 [Q] by numeric column. sorted_numbers: of the labelled products.
    categorical: the names of the categorical columns.
    """

    fold: np.ndarray
    values: dict[str, np.ndarray]
    counts: dict[str, ClassCounts]
    numbers: dict[str, np.ndarray]
    sorted_numbers: dict[str, ClassValues]
    categorical: list[str]

    def columns(self, query_row: np.ndarray, class_id: np.ndarray) -> Columns:
        """Columns of candidate rows: query_row int64 [R], class_id int [R].

        Of each attribute the share of the class among the labelled products of the value, and their
        number; of a number also the number itself, and where it lies among those of the class.
        """
        fold = self.fold[query_row]
        columns: Columns = {}
        for name, counts in self.counts.items():
            key, value = self._key(name), self.values[name][query_row]
            columns[f"{key}_share"] = counts.shares(value, class_id, fold)
            if name in self.numbers:
                number, of_class = self.numbers[name][query_row], self.sorted_numbers[name]
                columns[f"{key}_log"] = signed_log(number)
                columns[f"{key}_below"] = of_class.below(number, class_id, fold)
                columns[f"{key}_distance"] = of_class.distances(number, class_id, fold)
            else:
                columns[f"{key}_count"] = counts.log_counts(value, fold)
        return columns

    def proposals(self, k: int) -> np.ndarray:
        """The k classes most frequent with each category of a product: int16 [Q, k * columns].

        -1 for none.
        """
        found = [self.counts[c].proposals(self.values[c], self.fold, k) for c in self.categorical]
        none = np.empty((len(self.fold), 0), np.int16)
        return np.concatenate([none, *found], axis=1, dtype=np.int16)

    def told_alone(self, label: np.ndarray) -> dict[str, float]:
        """The attributes that alone tell nearly every class, and how often they are right.

        label: int16 [Q], -1 if unknown. Of the products with a value, the class that is most
        frequent with it in other folds is compared with the own one. A class that most products
        have is no sign.
        """
        told = {}
        for name, counts in self.counts.items():
            best = counts.proposals(self.values[name], self.fold, 1)[:, 0]
            rows = (label >= 0) & (self.values[name] >= 0)
            if rows.sum() < MIN_TOLD:
                continue
            right = float((best[rows] == label[rows]).mean())
            usual = float(np.bincount(label[rows]).max() / rows.sum())
            if right >= NEARLY_ALL and usual < right and 1 - right <= (1 - usual) / 2:
                told[name] = right
        return told

    def _key(self, name: str) -> str:
        """How the names of an attribute's columns begin: boosters take few signs."""
        plain = re.sub(r"[^0-9A-Za-z]+", "-", name)[:MAX_LETTERS].strip("-")
        return f"attribute{list(self.counts).index(name)}-{plain}".strip("-")


def look_up_attributes(
    attributes: Attributes,
    label: np.ndarray,
    mask: np.ndarray,
    fold_of_product: np.ndarray,
    fold: np.ndarray,
    num_classes: int,
) -> AttributeTables:
    """Count what the rows of a part look up.

    label: int16 [P]; mask: bool [P] and fold_of_product: int8 [P], as `reference_products` returns
    them. fold: int8 [Q], of the query.
    """
    values: dict[str, np.ndarray] = {}
    counts: dict[str, ClassCounts] = {}
    sorted_numbers: dict[str, ClassValues] = {}
    references = (label, mask, fold_of_product)
    for name, (labelled, queried) in attributes.category.items():
        values[name] = queried
        counts[name] = count_classes(
            labelled, *references, attributes.num_values[name], num_classes
        )
    for name, (labelled, queried) in attributes.number.items():
        edges = bin_edges(labelled[mask])  # no label is in them
        values[name] = to_bins(queried, edges)
        bins = to_bins(labelled, edges)
        counts[name] = count_classes(bins, *references, len(edges) + 1, num_classes)
        sorted_numbers[name] = sort_by_class(labelled, *references, num_classes)
    numbers = {name: queried for name, (_, queried) in attributes.number.items()}
    return AttributeTables(fold, values, counts, numbers, sorted_numbers, list(attributes.category))
