"""The leakage rule: which labels the features of a part may see.

The same code computes the rows that train the boosters and the rows that are scored; only the
labels that may count differ:

    part              labels that count                      left out
    fit or holdout    fit and holdout                        the row's own product; its fold in the
                                                             global and local shares and for images
                                                             that many products hold; its fold
                                                             everywhere if the catalog has groups
    locked            fit and holdout
    test              fit, holdout and, if configured, locked

Leaving out the own product alone is not enough for a figure that is otherwise the same for all rows
of a class or an image: a tree recovers the label from the difference (see `hash_lookup.py`,
`id_priors.limit_window` and `LabelVisibility.id_indexes_without_fold`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lib.config.schema import Features
from lib.data.catalog import Catalog, Splits
from lib.features.candidates import Proposals
from lib.features.hashes.hash_features import HashFeatures, lookup_hash_features
from lib.features.hashes.hash_lookup import ReferenceProducts
from lib.features.id_priors import IdIndex, build_id_index, global_prior
from lib.features.query import Query
from lib.inference.topk import TopK

Rows = slice | np.ndarray


@dataclass(frozen=True)
class PartInputs:
    """What the candidates of a part, and their common features, are computed from.

    part: "fit", "holdout", "locked" or "test".
    catalog: of the part's products: the test catalog for "test", else the labelled one.
    topks: predictions of each network, for exactly the images of the part.
    knn_classes: int16 [n, k] of each model with embeddings, classes of the images similar to each
        image of the part.
    attribute_classes: int16 [Q, k], classes that go with the attributes of each product, -1 for
        none; None: not used.
    perceptual_hashes: uint64 [I, 2] of the images of the labelled catalog and of `catalog`; None:
        not used.
    """

    features: Features
    part: str
    labelled: Catalog
    splits: Splits
    catalog: Catalog
    num_classes: int
    topks: Sequence[TopK]
    knn_classes: Sequence[np.ndarray] = ()
    perceptual_hashes: tuple[np.ndarray, np.ndarray] | None = None
    attribute_classes: np.ndarray | None = None

    @property
    def is_labelled(self) -> bool:
        """Whether the products of the part have labels."""
        return self.part != "test"

    @property
    def products(self) -> np.ndarray:
        """Products of the part: int64 [Q], ascending rows of `catalog`."""
        if self.is_labelled:
            return self.splits.products(self.part)
        return np.arange(len(self.catalog.product_id))


@dataclass(frozen=True)
class LabelVisibility:
    """The labels that the rows of a part may see, and what is looked up for all their classes.

    ids: int64 [Q], id of each query row; has_id: bool [Q], whether it is a number (`Catalog`).
    fold: int8 [Q], -1 for none.
    reference_row: int64 [Q], index of each query row among the products of `id_index`, so that it
        can be left out; -1 if absent. None for catalogs with groups, which leave out the whole
        fold.
    hashes: class counts of the images, for each hash key.
    prior: float32 [folds + 1, classes], as `global_prior` returns it.
    id_index: all reference products whose id is a number. id_index_without_fold: those outside each
        fold; the last one, which index -1 reaches, is `id_index`.
    """

    query: Query
    ids: np.ndarray
    has_id: np.ndarray
    fold: np.ndarray
    reference_row: np.ndarray | None
    hashes: list[HashFeatures]
    prior: np.ndarray
    id_index: IdIndex
    id_index_without_fold: list[IdIndex]

    def proposals(
        self,
        features: Features,
        topks: Sequence[TopK],
        knn_classes: Sequence[np.ndarray],
        attribute_classes: np.ndarray | None = None,
    ) -> Proposals:
        """Classes proposed by networks, copies of the images, similar images, nearest ids and
        attributes."""
        by_image = {"networks": [topk.classes[:, : features.top_k] for topk in topks]}
        for hashes in self.hashes:
            by_image[hashes.prefix] = [hashes.images.classes]
        if knn_classes:
            by_image["neighbors"] = list(knn_classes)
        by_product = {}
        if features.id_neighbors:
            nearest = np.empty((len(self.ids), features.id_neighbors), np.int16)
            for rows, index, reference_row in self.id_indexes(np.arange(len(nearest))):
                nearest[rows] = index.nearest_classes(
                    self.ids[rows], features.id_neighbors, reference_row
                )
            nearest[~self.has_id] = -1
            by_product["ids"] = nearest
        if attribute_classes is not None:
            by_product["attributes"] = attribute_classes
        return Proposals(by_image, by_product)

    def id_indexes(
        self, query_row: np.ndarray
    ) -> Iterator[tuple[Rows, IdIndex, np.ndarray | None]]:
        """(rows, the index they may use, their own products in it) that together cover all rows.

        query_row: int64 [R].
        """
        if self.reference_row is not None:
            yield slice(None), self.id_index, self.reference_row[query_row]
            return
        for rows, index in self.id_indexes_without_fold(query_row):
            yield rows, index, None

    def id_indexes_without_fold(self, query_row: np.ndarray) -> Iterator[tuple[Rows, IdIndex]]:
        """(rows of a fold, the reference products outside it) that together cover all rows.

        Shares among the nearest products need this: where a wide window holds all products of a
        class, its count without the own product is the same for all rows except for the row's own
        label. With random labels a booster then reached an AUC of 0.65 out-of-fold and 0.50 on
        locked rows.
        query_row: int64 [R].
        """
        fold = self.fold[query_row]
        present = np.flatnonzero(np.bincount(fold + 1)) - 1
        for left_out in present:
            rows = slice(None) if len(present) == 1 else np.flatnonzero(fold == left_out)
            yield rows, self.id_index_without_fold[left_out]


def build_visibility(inputs: PartInputs, query: Query) -> LabelVisibility:
    """Decide which labels count for a part, and look up all that does not depend on a class.

    query: the products of the part.
    """
    labelled, catalog = inputs.labelled, inputs.catalog
    mask, fold_of_product = reference_products(
        inputs.features, inputs.part, labelled.label, inputs.splits
    )
    fold = fold_of_queries(inputs.part, inputs.splits, query)
    rows = np.flatnonzero(mask & labelled.id_is_number())
    index = _index_of(labelled, rows)
    without_fold = [
        _index_of(labelled, rows[fold_of_product[rows] != left_out])
        for left_out in range(1 + int(fold.max(initial=-1)))
    ]
    return LabelVisibility(
        query=query,
        ids=catalog.product_id[query.products].astype(np.int64),
        has_id=catalog.id_is_number()[query.products],
        fold=fold,
        reference_row=_reference_row(inputs, rows, query),
        hashes=_lookup_hashes(inputs, mask, fold_of_product, query, fold),
        prior=global_prior(labelled.label, mask, fold_of_product, inputs.num_classes),
        id_index=index,
        id_index_without_fold=[*without_fold, index],
    )


def reference_products(
    features: Features, part: str, label: np.ndarray, splits: Splits
) -> tuple[np.ndarray, np.ndarray]:
    """The labelled products whose labels may count for some row of a part, and their folds.

    label: int16 [P]. Returns bool [P] and int8 [P]: the fold whose rows they must not count for, -1
    for none. Only products of the part have one: their labels are the targets of its rows, those of
    other parts are not.
    """
    parts = ["fit", "holdout"]
    if part == "test" and features.test_uses_locked:
        parts.append("locked")
    mask = np.zeros(len(label), bool)
    mask[splits.products(*parts)] = True
    fold = np.full(len(label), -1, np.int8)
    if part in ("fit", "holdout"):
        products = splits.products(part)
        fold[products] = splits.fold[products]
    return mask & (label >= 0), fold


def fold_of_queries(part: str, splits: Splits, query: Query) -> np.ndarray:
    """The fold of each query row, whose labels it must not see: int8 [Q], -1 for none."""
    if part in ("fit", "holdout"):
        return splits.fold[query.products]
    return np.full(len(query.products), -1, np.int8)


def _reference_row(inputs: PartInputs, rows: np.ndarray, query: Query) -> np.ndarray | None:
    """Index of each query row among the reference products `rows`: see `LabelVisibility`."""
    if not inputs.is_labelled or inputs.labelled.group is not None:
        return None
    row_of_product = np.full(len(inputs.labelled.label), -1, np.int64)
    row_of_product[rows] = np.arange(len(rows))
    return row_of_product[query.products]


def _index_of(labelled: Catalog, products: np.ndarray) -> IdIndex:
    return build_id_index(labelled.product_id[products], labelled.label[products])


def _lookup_hashes(
    inputs: PartInputs,
    mask: np.ndarray,
    fold_of_product: np.ndarray,
    query: Query,
    fold: np.ndarray,
) -> list[HashFeatures]:
    """Class counts of the images by MD5 and by perceptual hash, as configured."""
    keys: dict[str, tuple[np.ndarray | None, np.ndarray | None]] = {}
    if inputs.features.use_md5:
        keys["hash"] = None, None
    if inputs.perceptual_hashes is not None:
        keys["phash"] = inputs.perceptual_hashes
    return [
        lookup_hash_features(
            prefix,
            ReferenceProducts(inputs.labelled, mask, fold_of_product, reference_key),
            inputs.catalog,
            query,
            fold,
            inputs.features.hash_k,
            inputs.is_labelled,
            key,
        )
        for prefix, (reference_key, key) in keys.items()
    ]
