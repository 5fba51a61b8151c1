"""Whose labels count for the rows of a part, and all that is looked up before there are rows.

The table in `lib/features/build.py` says whose. Nothing here depends on the networks but the
classes that they propose.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lib.config.schema import Features
from lib.data.catalog import Catalog, Splits
from lib.features import id_priors
from lib.features.candidates import Query
from lib.features.image_hash import HashFeatures, hash_table
from lib.features.proposals import Proposals
from lib.inference.topk import TopK

Rows = slice | np.ndarray


@dataclass(frozen=True)
class LabelVisibility:
    """What the common columns of a part are read from; ids, own and fold are by slot.

    own int64 [Q]: place among the reference products `order`, -1 for none; None where folds are
    left out instead, for a catalogue with groups.
    order_without: the reference products outside fold f; the last, which -1 reaches, is `order`.
    """

    query: Query
    ids: np.ndarray
    own: np.ndarray | None
    fold: np.ndarray
    hashes: list[HashFeatures]
    prior: np.ndarray
    order: id_priors.IdIndex
    order_without: list[id_priors.IdIndex]
    comparable: bool  # whether the queried ids can lie near those of the reference products

    def listed(
        self, features: Features, topks: Sequence[TopK], neighbours: Sequence[np.ndarray]
    ) -> Proposals:
        """What networks, holders of the pictures, similar pictures and the nearest ids propose."""
        of_images = {"networks": [topk.classes[:, : features.top_k] for topk in topks]}
        for hashes in self.hashes:
            of_images[hashes.prefix] = [hashes.images.classes]
        if neighbours:
            of_images["neighbours"] = list(neighbours)
        of_products = {}
        if features.id_neighbors and self.comparable:
            near = np.empty((len(self.ids), features.id_neighbors), np.int16)
            for rows, order, own in self.orders(np.arange(len(near))):
                near[rows] = order.nearest_classes(self.ids[rows], features.id_neighbors, own)
            of_products["near"] = near
        return Proposals(of_images, of_products)

    def orders(
        self, slot: np.ndarray
    ) -> Iterator[tuple[Rows, id_priors.IdIndex, np.ndarray | None]]:
        """(rows, the products that they may look among, their own places in it) for all rows."""
        if self.own is not None:
            yield slice(None), self.order, self.own[slot]
            return
        for rows, order in self.without_fold(slot):
            yield rows, order, None

    def without_fold(self, slot: np.ndarray) -> Iterator[tuple[Rows, id_priors.IdIndex]]:
        """(rows of a fold, the reference products outside it) for all rows."""
        fold = self.fold[slot]
        present = np.flatnonzero(np.bincount(fold + 1)) - 1
        for left_out in present:
            rows = slice(None) if len(present) == 1 else np.flatnonzero(fold == left_out)
            yield rows, self.order_without[left_out]


def build_visibility(
    features: Features,
    labelled: Catalog,
    splits: Splits,
    query: Catalog,
    asked: Query,
    part: str,
    classes: int,
    alike: tuple[np.ndarray, np.ndarray] | None,
) -> LabelVisibility:
    """Decide whose labels count for the part, and look everything up that has no class yet."""
    same = part != "test"
    counting = ["fit", "holdout"]
    if part == "test" and features.test_uses_locked:
        counting.append("locked")
    reference = np.zeros(len(labelled.label), bool)
    reference[splits.products(*counting)] = True
    reference &= labelled.label >= 0
    # Only the folds of the queried part: its labels are the targets, those of other parts are not.
    fold_of_product = np.full(len(labelled.label), -1, np.int8)
    fold = np.full(len(asked.products), -1, np.int8)
    if part in ("fit", "holdout"):
        fold_of_product[asked.products] = fold = splits.fold[asked.products]
    rows = np.flatnonzero(reference)
    own: np.ndarray | None = None
    if same and labelled.group is None:
        place = np.full(len(labelled.label), -1, np.int64)
        place[rows] = np.arange(len(rows))
        own = place[asked.products]
    order = id_priors.in_order(labelled.product_id[rows], labelled.label[rows])
    order_without = []
    for left_out in range(1 + int(fold.max(initial=-1))):
        others = rows[fold_of_product[rows] != left_out]
        order_without.append(
            id_priors.in_order(labelled.product_id[others], labelled.label[others])
        )
    keys: dict[str, tuple[Any, ...]] = {"hash": ()} if features.use_md5 else {}
    if alike is not None:
        keys["alike"] = alike
    known = (labelled, reference, fold_of_product, query, asked, fold)
    hashes = [
        hash_table(prefix, *known, same, features.hash_k, classes, *key)
        for prefix, key in keys.items()
    ]
    return LabelVisibility(
        query=asked,
        ids=query.product_id[asked.products].astype(np.int64),
        own=own,
        fold=fold,
        hashes=hashes,
        prior=id_priors.global_prior(labelled.label, reference, fold_of_product, classes),
        order=order,
        order_without=[*order_without, order],
        comparable=ids_comparable(labelled, query),
    )


def ids_comparable(labelled: Catalog, query: Catalog) -> bool:
    """Whether ids of both mean the same. Names that are asked of a catalogue of numbers lie near
    nothing: their nearest products would be those with the largest ids."""
    return query.keys is None or labelled.keys is not None
