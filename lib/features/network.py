"""Features of top-k predictions, and means over models and images.

A class outside a top-k list gets an equal share of the list's `rest`, the probability that is not
listed. Without that floor a geometric mean would be zero for any class that one list lacks.

Feature functions take rows as (query_row int64 [R] ascending, class_id int16 [R]) and return named
columns [R]. A column whose name ends in a position 0-3 is of one image, the others are of all
images of the product. NaN: no image; -1: no class. A product without images has the prediction of
its texts, if a model reads them, as if it had one image.
"""

from collections.abc import Sequence

import numpy as np

from lib.features.candidates import unique_candidates
from lib.features.query import Query, check_topks, with_imageless
from lib.features.table import Columns, scatter
from lib.inference.topk import TopK
from lib.utils.chunks import chunks
from lib.utils.compiled import njit
from lib.utils.groups import group_max, group_rank, group_starts

POSITIONS = 4  # images of a product with columns of their own; means are over all images
CHUNK = 200_000  # images at a time
PRODUCT_CHUNK = 20_000  # products at a time
MIN_PROB = 1e-7  # for logarithms: float16 may have rounded a probability to zero


def network_features(
    query: Query,
    topk: TopK,
    name: str,
    query_row: np.ndarray,
    class_id: np.ndarray,
    num_classes: int,
) -> Columns:
    """What one network predicts for each candidate row: 10 columns, prefixed by its name.

    prob_0..3: by image; mean, max, geometric: over the product's images; rank: of the mean among
    the product's candidates, 0 for the best; of_best: mean by the best candidate's; rest:
    probability outside the lists, a mean over images.
    query_row: int64 [R], ascending; class_id: int16 [R], ascending within a product.
    """
    columns: Columns = {}
    query, topk = with_imageless(query, topk)
    row, image = query.row_image_pairs(query_row)
    probs = lookup_probs(topk, image, class_id[row], num_classes)
    count = query.image_count[query_row]
    first = np.cumsum(count) - count
    for position in range(POSITIONS):
        has_image = position < count
        columns[f"{name}_prob_{position}"] = scatter(probs[first[has_image] + position], has_image)
    rows = len(query_row)
    num_images = np.where(count > 0, count, np.nan)
    mean = np.bincount(row, probs, minlength=rows) / num_images
    logs = np.log(np.maximum(probs, MIN_PROB))
    columns[f"{name}_mean"] = mean
    columns[f"{name}_max"] = group_max(probs, row, rows)
    columns[f"{name}_geometric"] = np.exp(np.bincount(row, logs, minlength=rows) / num_images)
    columns[f"{name}_rank"] = group_rank(mean, query_row)
    columns[f"{name}_of_best"] = mean / np.maximum(_best_of_product(mean, query_row), MIN_PROB)
    columns[f"{name}_rest"] = np.bincount(row, topk.rest[image], minlength=rows) / num_images
    return columns


def geometric_mean(
    query: Query, topk: TopK, query_row: np.ndarray, class_id: np.ndarray, num_classes: int
) -> np.ndarray:
    """Geometric mean over the images of each candidate row's product: float32 [R], 0 for no image.

    query_row: int64 [R], ascending; class_id: int16 [R], ascending within a product.
    """
    query, topk = with_imageless(query, topk)
    mean = np.empty(len(query_row), np.float32)
    for rows in chunks(len(query_row), CHUNK):
        of_chunk, image = query.row_image_pairs(query_row[rows])
        probs = lookup_probs(topk, image, class_id[rows][of_chunk], num_classes)
        logs = np.bincount(of_chunk, np.log(np.maximum(probs, MIN_PROB)), rows.stop - rows.start)
        count = query.image_count[query_row[rows]]
        mean[rows] = np.where(count > 0, np.exp(logs / np.maximum(count, 1)), 0)
    return mean


def raw_network_features(
    query: Query, topk: TopK, name: str, query_row: np.ndarray, top_k: int
) -> Columns:
    """The top-k lists of a product's first images: 4 x top_k probabilities and as many classes.

    query_row: int64 [R]. Source: Cdiscount 5th-place write-up, half of its 80 raw columns.
    """
    columns: Columns = {}
    query, topk = with_imageless(query, topk)
    k = topk.classes.shape[1]  # fewer than top_k if there are fewer classes
    for position in range(POSITIONS):
        image = query.image_at(query_row, position)
        has_image = image >= 0
        for rank in range(top_k):
            is_listed = has_image if rank < k else np.zeros(len(query_row), bool)
            at = (image[is_listed], min(rank, k - 1))
            columns[f"{name}_top_prob_{position}_{rank}"] = scatter(topk.probs[at], is_listed)
            columns[f"{name}_top_class_{position}_{rank}"] = scatter(
                topk.classes[at], is_listed, -1
            )
    return columns


def lookup_probs(topk: TopK, row: np.ndarray, class_id: np.ndarray, num_classes: int) -> np.ndarray:
    """Probability of one class for each of some images: float32 [m].

    row: int64 [m], rows of `topk`; class_id: int [m].
    """
    num_unlisted = _num_unlisted(topk, num_classes)
    return _lookup(topk.classes, topk.probs, topk.rest, num_unlisted, row, class_id)


def weighted_mean(topks: Sequence[TopK], weights: Sequence[float], num_classes: int) -> TopK:
    """Weighted arithmetic mean of several models' predictions of the same images.

    weights: one for each model, at least 0. A class that a model does not list has that model's
    floor. The result has the k best classes of the union of the lists, where k is the largest of
    the models'; of equal probabilities the smaller class comes first. Products without images have
    the mean of the models that predict them.
    """
    first = topks[0]
    assert all(np.array_equal(first.image, topk.image) for topk in topks), "different images"
    shares = _normalize_weights(weights, len(topks))
    k = max(topk.classes.shape[1] for topk in topks)
    n = len(first.image)
    ends = np.cumsum([topk.classes.shape[1] for topk in topks])
    num_unlisted = np.array([_num_unlisted(topk, num_classes) for topk in topks])
    classes, probs = np.empty((n, k), np.int16), np.empty((n, k), np.float32)
    for rows in chunks(n, CHUNK):
        _average(
            np.concatenate([topk.classes[rows] for topk in topks], axis=1),
            np.concatenate([topk.probs[rows] for topk in topks], axis=1),
            np.stack([topk.rest[rows] for topk in topks], axis=1),
            ends,
            num_unlisted,
            shares,
            num_classes,
            classes[rows],
            probs[rows],
        )
    rest = np.maximum(0, 1 - probs.sum(axis=1))
    return TopK(first.image, classes, probs, rest, _mean_of_imageless(topks, weights, num_classes))


def _mean_of_imageless(
    topks: Sequence[TopK], weights: Sequence[float], num_classes: int
) -> TopK | None:
    pairs = zip(topks, weights, strict=True)
    some = [
        (topk.imageless, weight) for topk, weight in pairs if topk.imageless is not None and weight
    ]
    if not some:
        return None
    return weighted_mean([topk for topk, _ in some], [weight for _, weight in some], num_classes)


def best_classes(
    query: Query,
    topks: Sequence[TopK],
    weights: Sequence[float],
    num_classes: int,
    mean: str = "geometric",
) -> np.ndarray:
    """The class of each product with the highest mean over images and models: int16 [Q].

    weights: one for each model, at least 0; mean: "arithmetic" or "geometric". All images of a
    product have the same weight, and all classes that any model lists for any of them compete; of
    equal scores the smaller class is returned. A product without images has the best class of the
    models that predict it by its texts, -1 if there is none.
    Raises UserError if a model has predictions of other images.
    """
    check_topks(query, topks, [str(number) for number in range(len(topks))])
    shares = _normalize_weights(weights, len(topks))
    no_fallback = np.empty((len(query.products), 0), np.int16)
    listed = [topk.classes for topk in topks]
    query_row, class_id = unique_candidates(query, listed, [], no_fallback, num_classes)
    best = np.full(len(query.products), -1, np.int16)
    bounds = np.searchsorted(query_row, np.arange(len(query.products) + 1))
    for some in chunks(len(query.products), PRODUCT_CHUNK):
        rows = slice(bounds[some.start], bounds[some.stop])
        score = _mean_score(
            query, topks, shares, query_row[rows], class_id[rows], num_classes, mean
        )
        order = np.lexsort((class_id[rows], -score, query_row[rows]))
        first = order[group_starts(query_row[rows][order])]
        best[query_row[rows][first]] = class_id[rows][first]
    imageless = _mean_of_imageless(topks, weights, num_classes)
    if imageless is not None:
        query_row = np.searchsorted(query.products, imageless.image)
        best[query_row] = imageless.classes[:, 0]
    return best


def _best_of_product(score: np.ndarray, query_row: np.ndarray) -> np.ndarray:
    """The highest score among the rows of each row's product, without NaN: float64 [R]."""
    if len(score) == 0:
        return score
    starts = group_starts(query_row)
    sizes = np.diff(starts, append=len(score))
    return np.repeat(np.fmax.reduceat(score, starts), sizes)


def _mean_score(
    query: Query,
    topks: Sequence[TopK],
    shares: np.ndarray,
    query_row: np.ndarray,
    class_id: np.ndarray,
    num_classes: int,
    mean: str,
) -> np.ndarray:
    """Mean of each row: float64 [R]; a geometric mean stays a logarithm, which ranks the same."""
    assert mean in ("arithmetic", "geometric"), mean
    row, image = query.row_image_pairs(query_row)
    score = np.zeros(len(query_row))
    for topk, share in zip(topks, shares, strict=True):
        probs = lookup_probs(topk, image, class_id[row], num_classes).astype(np.float64)
        if mean == "geometric":
            probs = np.log(np.maximum(probs, MIN_PROB))
        score += share * np.bincount(row, probs, minlength=len(query_row))
    return score / query.image_count[query_row]


def _normalize_weights(weights: Sequence[float], num_models: int) -> np.ndarray:
    """Weights with a sum of 1: float64 [num_models]."""
    shares = np.asarray(weights, np.float64)
    assert len(shares) == num_models, f"{len(shares)} weights for {num_models} models"
    assert (shares >= 0).all(), "negative weight"
    assert shares.sum() > 0, "all weights are 0"
    return shares / shares.sum()


def _num_unlisted(topk: TopK, num_classes: int) -> np.float32:
    """How many classes share the rest of a list."""
    return np.float32(max(num_classes - topk.classes.shape[1], 1))


@njit(cache=True, nogil=True)
def _floor(rest: np.float32, last: np.float32, num_unlisted: np.float32) -> np.float32:
    """Probability of a class that a list lacks.

    `last`, the lowest listed probability, bounds it: predictions are stored as float16, where
    `last` may be rounded down and `rest` up, and no unlisted class may overtake a listed one.
    """
    return min(rest / num_unlisted, last)


@njit(cache=True, nogil=True)
def _lookup(
    classes: np.ndarray,
    probs: np.ndarray,
    rest: np.ndarray,
    num_unlisted: np.float32,
    row: np.ndarray,
    class_id: np.ndarray,
) -> np.ndarray:
    """Probability of class_id int [m] in row int64 [m] of top-k lists: float32 [m].

    classes: int16 [n, k]; probs: float32 [n, k]; rest: float32 [n].
    """
    prob = np.empty(len(row), np.float32)
    for i in range(len(row)):
        image = row[i]
        prob[i] = _floor(rest[image], probs[image, -1], num_unlisted)
        for rank in range(classes.shape[1]):
            if classes[image, rank] == class_id[i]:
                prob[i] = probs[image, rank]
                break
    return prob


@njit(cache=True, nogil=True)
def _average(
    classes: np.ndarray,
    probs: np.ndarray,
    rest: np.ndarray,
    ends: np.ndarray,
    num_unlisted: np.ndarray,
    shares: np.ndarray,
    num_classes: int,
    top_classes: np.ndarray,
    top_probs: np.ndarray,
) -> None:
    """Fill the k best classes of each image's union, and their mean probabilities.

    classes: int16 [n, K] and probs: float32 [n, K], the lists of all models side by side.
    rest: float32 [n, M], of each model.
    ends: int64 [M], the column after each model's last.
    num_unlisted: float32 [M], classes outside each model's lists.
    shares: float64 [M], weights of the models.
    top_classes: int16 [n, k] and top_probs: float32 [n, k], which are filled.
    """
    k = top_classes.shape[1]
    score, prob_of_class = np.zeros(num_classes, np.float32), np.empty(num_classes, np.float32)
    model_of_class = np.full(num_classes, -1, np.int64)  # the last model that listed the class
    union = np.empty(classes.shape[1], np.int64)
    for image in range(len(classes)):
        size = 0
        for column in range(classes.shape[1]):
            class_id = classes[image, column]
            if score[class_id] >= 0:
                score[class_id] = -1  # in the union
                union[size] = class_id
                size += 1
        score[union[:size]] = 0
        for model in range(len(ends)):
            last = ends[model] - 1
            floor = _floor(rest[image, model], probs[image, last], num_unlisted[model])
            for column in range(ends[model - 1] if model else 0, ends[model]):
                model_of_class[classes[image, column]] = model
                prob_of_class[classes[image, column]] = probs[image, column]
            for class_id in union[:size]:
                is_listed = model_of_class[class_id] == model
                prob = prob_of_class[class_id] if is_listed else floor
                score[class_id] += shares[model] * prob
        for rank in range(k):
            best = union[0]
            for class_id in union[:size]:
                if score[class_id] > score[best] or (
                    score[class_id] == score[best] and class_id < best
                ):
                    best = class_id
            top_classes[image, rank], top_probs[image, rank] = best, score[best]
            score[best] = -1
        model_of_class[union[:size]] = -1
        score[union[:size]] = 0
