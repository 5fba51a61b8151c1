"""k-NN features; for each fold model, which products are references and which are queries.

A fold model is only queried with products that it was not trained on, and its references are the
products that it was trained on. So no labelled row sees its own label, nor those of its fold or
group, and features of training rows are computed just like those of new products: rows of `fit`
query the one network that left their fold out, all others query every network of the model and get
the mean.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lib.config.schema import Run
from lib.data.catalog import Catalog, Splits
from lib.features.knn import class_knn_scores, knn_classes, vote
from lib.features.query import Query
from lib.features.table import Columns
from lib.runtime.device import catch_oom, knn_oom_advice, torch_device
from lib.utils.groups import group_max, group_rank, group_sizes, group_starts


@dataclass(frozen=True)
class FoldIndex:
    """One network of a model, its reference products and its queries.

    labelled_embeddings: float16 [I, d], of all images of the labelled catalog.
    query_embeddings: float16 [J, d], of all images of the queried catalog.
    reference_products: int64 [r], ascending rows of the labelled products it was trained on.
    query_rows: int64 [q], ascending indices in `Query.products` of the products it is queried with.
    """

    labelled_embeddings: np.ndarray
    query_embeddings: np.ndarray
    reference_products: np.ndarray
    query_rows: np.ndarray

    def reference_images(self, labelled: Catalog) -> tuple[np.ndarray, np.ndarray]:
        """Images of the reference products, int64 [n], and the class of each, int16 [n]."""
        images = labelled.images_of(self.reference_products)
        return images, labelled.label[labelled.image_product[images]]


def fold_assignments(
    splits: Splits, folds: int, part: str, products: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    """(reference_products, query_rows) of each network of a model, as in `FoldIndex`.

    folds: number of networks of the model. products: int64 [Q], the queried products: rows of the
    test catalog if part is "test", else of the labelled one.
    """
    fit = splits.products("fit")
    all_rows = np.arange(len(products))
    if folds == 1:
        return [(fit, all_rows)]
    fold_of_product = splits.fold_of_product(folds)
    query_fold = fold_of_product[products] if part == "fit" else None
    return [
        (
            fit[fold_of_product[fit] != fold],
            all_rows if query_fold is None else np.flatnonzero(query_fold == fold),
        )
        for fold in range(folds)
    ]


def propose_classes(
    indexes: Sequence[FoldIndex], labelled: Catalog, query: Query, k: int, run: Run
) -> np.ndarray:
    """Classes of the k nearest images of each queried image, by one model: int16 [n, k].

    Distinct, by falling sum of similarities over the neighbors and the networks; -1 if there are
    fewer. So lists are as long, and ranks mean the same, whether one network is queried or all.
    """
    query_row = query.query_row_of_image()
    classes = np.full((len(query_row), k * len(indexes)), -1, np.int16)
    votes = np.zeros(classes.shape, np.float32)
    device = torch_device(run)
    for number, index in enumerate(indexes):
        images = np.flatnonzero(np.isin(query_row, index.query_rows))
        reference_images, reference_class = index.reference_images(labelled)
        columns = slice(number * k, (number + 1) * k)
        with catch_oom("k-NN classes", knn_oom_advice(device)):
            classes[images, columns], votes[images, columns] = knn_classes(
                index.labelled_embeddings,
                reference_images,
                reference_class,
                index.query_embeddings[query.images[images]],
                k,
                device,
            )
    return vote(classes, votes, k)


def knn_features(
    indexes: Sequence[FoldIndex],
    labelled: Catalog,
    query: Query,
    query_row: np.ndarray,
    class_id: np.ndarray,
    name: str,
    run: Run,
) -> Columns:
    """k-NN scores of all candidate rows by one model: means over its networks.

    knn_score: mean over the product's images; knn_cos: the largest of them; knn_share
    and knn_rank: of the score among the product's candidates; knn_gap: cos minus the best
    of the product's other candidates. NaN without an image; cos and gap also if no reference has
    the class.
    query_row: int64 [R], ascending; class_id: int16 [R], ascending within a product.
    """
    score, cosine = _mean_knn_scores(indexes, labelled, query, query_row, class_id, run)
    starts = group_starts(query_row)
    sizes = group_sizes(starts, len(query_row))
    total = np.repeat(np.add.reduceat(score, starts), sizes) if len(query_row) else score
    share = np.divide(score, total, out=np.full(len(score), np.nan), where=total > 0)
    best_other = _best_other(np.nan_to_num(cosine, nan=-1.0), starts, sizes)
    return {
        f"{name}_knn_score": score,
        f"{name}_knn_cos": cosine,
        f"{name}_knn_share": share,
        f"{name}_knn_rank": group_rank(score, query_row),
        f"{name}_knn_gap": cosine - best_other,
    }


def _mean_knn_scores(
    indexes: Sequence[FoldIndex],
    labelled: Catalog,
    query: Query,
    query_row: np.ndarray,
    class_id: np.ndarray,
    run: Run,
) -> tuple[np.ndarray, np.ndarray]:
    """Score and largest cosine of each row, means over the networks queried: float64 [R] each."""
    row, image = query.row_image_pairs(query_row)
    rows = len(query_row)
    score, cosine = np.zeros(rows), np.zeros(rows)
    num_scores, num_cosines = np.zeros(rows), np.zeros(rows)
    device = torch_device(run)
    for index in indexes:
        is_queried = np.zeros(len(query.products), bool)
        is_queried[index.query_rows] = True
        pairs = np.flatnonzero(is_queried[query_row[row]])
        reference_images, reference_class = index.reference_images(labelled)
        with catch_oom("k-NN features", knn_oom_advice(device)):
            pair_score, pair_cosine = class_knn_scores(
                index.labelled_embeddings,
                reference_images,
                reference_class,
                index.query_embeddings,
                query.images[image[pairs]],
                class_id[row[pairs]],
                device,
            )
        score += np.bincount(row[pairs], pair_score, minlength=rows)
        num_scores += np.bincount(row[pairs], minlength=rows)
        best = group_max(np.nan_to_num(pair_cosine, nan=-np.inf), row[pairs], rows)
        has_cosine = np.isfinite(best)
        cosine[has_cosine] += best[has_cosine]
        num_cosines += has_cosine
    return _mean(score, num_scores), _mean(cosine, num_cosines)


def _mean(total: np.ndarray, count: np.ndarray) -> np.ndarray:
    return np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)


def _best_other(values: np.ndarray, starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The highest value among the other rows of each group: float64 [R], -1 if there is none.

    values: float64 [R]; starts, sizes: int64 [G].
    """
    if not len(values):
        return values
    best = np.repeat(np.maximum.reduceat(values, starts), sizes)
    is_best = values == best
    num_best = np.repeat(np.add.reduceat(is_best.astype(np.int64), starts), sizes)
    second = np.repeat(np.maximum.reduceat(np.where(is_best, -1.0, values), starts), sizes)
    return np.where(is_best & (num_best == 1), second, best)
