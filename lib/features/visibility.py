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
from lib.features.network import weighted_mean
from lib.features.query import Query
from lib.inference.topk import TopK

Rows = slice | np.ndarray


@dataclass(frozen=True)
class PartInputs:
    """What the candidates of a part, or of a partition of it, and their common features are
    computed from.

    part: "fit", "holdout", "locked" or "test".
    catalog: of the part's products: the test catalog for "test", else the labelled one.
    query: the products, all of the part or a partition.
    topks: predictions of each network, for exactly the images of the query.
    knn_classes: int16 [n, k] of each model with embeddings, classes of the images similar to each
        image of the query.
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
    query: Query
    num_classes: int
    topks: Sequence[TopK]
    knn_classes: Sequence[np.ndarray] = ()
    perceptual_hashes: tuple[np.ndarray, np.ndarray] | None = None
    attribute_classes: np.ndarray | None = None

    @property
    def is_labelled(self) -> bool:
        """Whether the products of the part have labels."""
        return self.part != "test"


@dataclass(frozen=True)
class VisibleLabels:
    """The labels that the rows of a part may see: the same for all its products.

    id_windows: of the settings.
    prior: float32 [folds + 1, classes], as `global_prior` returns it.
    rows: int64 [N], the reference products whose id is a number; id_index: of them.
    id_index_without_fold: of those outside each fold; the last one, which index -1 reaches, is
        `id_index`.
    hashes: the reference products, for each key of their images.
    """

    id_windows: tuple[int, ...]
    prior: np.ndarray
    rows: np.ndarray
    id_index: IdIndex
    id_index_without_fold: list[IdIndex]
    hashes: dict[str, ReferenceProducts]


@dataclass(frozen=True)
class LabelVisibility:
    """What the products of a query look up for all classes, among the labels that they may see.

    ids: int64 [Q], id of each query row; has_id: bool [Q], whether it is a number (`Catalog`).
    fold: int8 [Q], -1 for none.
    reference_row: int64 [Q], index of each query row among the products of `id_index`, so that it
        can be left out; -1 if absent. None for catalogs with groups, which leave out the whole
        fold.
    hashes: class counts of the images, for each hash key.
    prior, id_index, id_index_without_fold: as in `VisibleLabels`.
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
        attributes, and by the texts of products without images."""
        by_image = {"networks": [topk.classes[:, : features.top_k] for topk in topks]}
        for hashes in self.hashes:
            by_image[hashes.prefix] = [hashes.images.classes]
        if knn_classes:
            by_image["neighbors"] = list(knn_classes)
        by_product = {}
        texts = [topk.imageless for topk in topks if topk.imageless is not None]
        if texts:
            mean = weighted_mean(texts, [1.0] * len(texts), len(self.prior[0]))
            classes = np.full((len(self.ids), min(features.top_k, mean.classes.shape[1])), -1)
            row = np.searchsorted(self.query.products, mean.image)
            classes[row] = mean.classes[:, : features.top_k]
            by_product["texts"] = classes.astype(np.int16)
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


def visible_labels(inputs: PartInputs) -> VisibleLabels:
    """Decide which labels count for a part. Reads nothing of the query."""
    labelled = inputs.labelled
    mask, fold_of_product = reference_products(
        inputs.features, inputs.part, labelled.label, inputs.splits
    )
    rows = np.flatnonzero(mask & labelled.id_is_number())
    index = _index_of(labelled, rows)
    without_fold = [
        _index_of(labelled, rows[fold_of_product[rows] != left_out])
        for left_out in range(1 + int(fold_of_product.max(initial=-1)))
    ]
    keys: dict[str, np.ndarray | None] = {}
    if inputs.features.use_md5:
        keys["hash"] = None
    if inputs.perceptual_hashes is not None:
        keys["phash"] = inputs.perceptual_hashes[0]
    return VisibleLabels(
        id_windows=inputs.features.id_windows,
        prior=global_prior(labelled.label, mask, fold_of_product, inputs.num_classes),
        rows=rows,
        id_index=index,
        id_index_without_fold=[*without_fold, index],
        hashes={
            prefix: ReferenceProducts(labelled, mask, fold_of_product, key)
            for prefix, key in keys.items()
        },
    )


def build_visibility(inputs: PartInputs, labels: VisibleLabels) -> LabelVisibility:
    """Look up all of a query that does not depend on a class.

    labels: those of the part, by `visible_labels` of these or of other inputs of it.
    """
    query, catalog = inputs.query, inputs.catalog
    fold = fold_of_queries(inputs.part, inputs.splits, query)
    return LabelVisibility(
        query=query,
        ids=catalog.product_id[query.products].astype(np.int64),
        has_id=catalog.id_is_number(query.products),
        fold=fold,
        reference_row=_reference_row(inputs, labels.rows),
        hashes=_lookup_hashes(inputs, labels, fold),
        prior=labels.prior,
        id_index=labels.id_index,
        id_index_without_fold=labels.id_index_without_fold,
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


def _reference_row(inputs: PartInputs, rows: np.ndarray) -> np.ndarray | None:
    """Index of each query row among the reference products `rows`: see `LabelVisibility`."""
    if not inputs.is_labelled or inputs.labelled.group is not None:
        return None
    products = inputs.query.products
    place = np.searchsorted(rows, products)
    is_there = place < len(rows)
    is_there[is_there] = rows[place[is_there]] == products[is_there]
    return np.where(is_there, place, -1)


def _index_of(labelled: Catalog, products: np.ndarray) -> IdIndex:
    return build_id_index(labelled.product_id[products], labelled.label[products])


def _lookup_hashes(
    inputs: PartInputs, labels: VisibleLabels, fold: np.ndarray
) -> list[HashFeatures]:
    """Class counts of the images by MD5 and by perceptual hash, as configured."""
    perceptual = None if inputs.perceptual_hashes is None else inputs.perceptual_hashes[1]
    return [
        lookup_hash_features(
            prefix,
            references,
            inputs.catalog,
            inputs.query,
            fold,
            inputs.features.hash_k,
            inputs.is_labelled,
            None if references.key is None else perceptual,
        )
        for prefix, references in labels.hashes.items()
    ]
