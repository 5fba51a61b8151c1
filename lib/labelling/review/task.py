"""The products of a review, in their order, with what helps to decide them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lib.data.catalog import Catalog
from lib.output.report.names import ClassNames
from lib.output.report.part import TopClass
from lib.output.report.sections.new_products import NewProducts
from lib.similarity.nearest_products import NearestProducts

NUM_CHOICES = 5  # one key each


@dataclass(frozen=True)
class ReviewTask:
    """N products in the order in which they are to be decided.

    products: int64 [N], rows of `catalog`. keys: [N], their names. reasons: [N], why each is
    to be decided. label: int [N], the class id that each has now, -1 for none. choices: int [N, k],
    class ids, -1 for none: the most probable ones, of a labelled product after its label.
    probabilities: float [N, k], NaN where none is known. near: the nearest products of `labelled`,
    [N, n]. class_names: the levels of each class, separated by " > ", by class id; class_keys: the
    catalog's own names.
    """

    catalog: Catalog
    labelled: Catalog
    products: np.ndarray
    keys: list[str]
    reasons: list[str]
    label: np.ndarray
    choices: np.ndarray
    probabilities: np.ndarray
    near: NearestProducts
    class_names: list[str]
    class_keys: list[str]

    def __len__(self) -> int:
        return len(self.products)


def make_review_task(
    catalog: Catalog,
    labelled: Catalog,
    predictions: NewProducts,
    near: NearestProducts,
    names: ClassNames,
) -> ReviewTask:
    """The products of `catalog` whose prediction is not accepted, least probable first.

    predictions, near: of every product of `catalog`, in its order. Products without a picture come
    last: there is nothing to decide them by. Equal probabilities are in the order of the catalog.
    """
    rows = np.flatnonzero(~predictions.accepted)
    best = np.nan_to_num(predictions.probability[rows, 0])
    rows = rows[np.lexsort((rows, best, predictions.images[rows] == 0))]
    return ReviewTask(
        catalog,
        labelled,
        rows,
        [predictions.key[row] for row in rows.tolist()],
        [str(predictions.reason[row]) for row in rows.tolist()],
        np.full(len(rows), -1),
        predictions.class_id[rows, :NUM_CHOICES],
        predictions.probability[rows, :NUM_CHOICES],
        NearestProducts(*(column[rows] for column in near)),
        distinct_paths(names),
        names.keys,
    )


def make_label_task(
    catalog: Catalog,
    products: np.ndarray,
    reasons: list[str],
    suggested: np.ndarray,
    tops: Sequence[Sequence[TopClass]],
    near: NearestProducts,
    names: ClassNames,
) -> ReviewTask:
    """Labelled products whose labels are likely wrong, in the order given.

    products: int64 [N], rows of `catalog`. reasons: [N]. suggested: int [N], the class that each
    may have, -1 for none. tops: [N], its most probable classes. near: of every product of the
    catalog. The first choice is the label, the second the suggestion.
    """
    label = catalog.label[products]
    choices = np.full((len(products), NUM_CHOICES), -1)
    probabilities = np.full((len(products), NUM_CHOICES), np.nan)
    for row, top in enumerate(tops):
        chance = {c.class_id: c.probability for c in top}
        first = [c for c in (int(label[row]), int(suggested[row])) if c >= 0]
        for rank, class_id in enumerate(list(dict.fromkeys([*first, *chance]))[:NUM_CHOICES]):
            choices[row, rank] = class_id
            probabilities[row, rank] = chance.get(class_id, np.nan)
    return ReviewTask(
        catalog,
        catalog,
        products,
        [catalog.key(product) for product in products.tolist()],
        reasons,
        label,
        choices,
        probabilities,
        NearestProducts(*(column[products] for column in near)),
        distinct_paths(names),
        names.keys,
    )


def distinct_paths(names: ClassNames) -> list[str]:
    """The path of each class, with its key where several classes have this path."""
    count = Counter(names.paths)
    return [
        path if count[path] == 1 else f"{path} ({key})"
        for path, key in zip(names.paths, names.keys, strict=True)
    ]
