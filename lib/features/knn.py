"""Exact k nearest neighbors by cosine: the score of a class, and the classes of the neighbors.

The similarity of two images is ((1 + cos) / 2) ** 35. The score of an image and a class is the sum
of the similarities of the five most similar reference images of the class. Only candidate classes
are scored, so the work is the sum over classes of (images scored for the class) x (its reference
images): one matrix product for each class. Source: 5th-place Cdiscount write-up.
"""

import numpy as np
import torch
from tqdm import tqdm

from lib.similarity.topk_cosine import CPU, topk_cosine
from lib.utils.compiled import njit

NUM_NEIGHBORS, POWER = 5, 35
QUERIES = 65_536  # queried at a time


def class_knn_scores(
    labelled_embeddings: np.ndarray,
    reference_rows: np.ndarray,
    reference_class: np.ndarray,
    query_embeddings: np.ndarray,
    query_rows: np.ndarray,
    class_id: np.ndarray,
    device: torch.device = CPU,
) -> tuple[np.ndarray, np.ndarray]:
    """Score and largest cosine of each pair of a query image and a class: float32 [n] each.

    labelled_embeddings: float [I, d], of any length; a zero vector has cosine 0 with all.
    reference_rows: int64 [r], rows of `labelled_embeddings` that count.
    reference_class: int16 [r], class of each.
    query_embeddings: float [J, d].
    query_rows: int64 [n], rows of `query_embeddings`; class_id: int16 [n].
    A class without reference images has score 0 and cosine NaN.
    """
    score = np.zeros(len(query_rows), np.float32)
    cosine = np.full(len(query_rows), np.nan, np.float32)
    by_class = np.argsort(reference_class, kind="stable")
    sorted_class = reference_class[by_class]
    pairs = np.argsort(class_id, kind="stable")
    classes, first = np.unique(class_id[pairs], return_index=True)
    ends = np.append(first, len(pairs))[1:]
    bar = tqdm(classes.tolist(), desc="k-NN scores of classes", unit=" classes", disable=None)
    for one_class, start, end in zip(bar, first, ends, strict=True):
        low, high = np.searchsorted(sorted_class, [one_class, one_class + 1])
        if low == high:
            continue
        rows = reference_rows[by_class[low:high]]
        for chunk in range(start, end, QUERIES):
            piece = pairs[chunk : min(chunk + QUERIES, end)]
            top, _ = topk_cosine(
                query_embeddings,
                query_rows[piece],
                labelled_embeddings,
                rows,
                NUM_NEIGHBORS,
                device,
            )
            score[piece] = _similarity(top).sum(axis=1)
            cosine[piece] = top[:, 0]
    return score, cosine


def knn_classes(
    labelled_embeddings: np.ndarray,
    reference_rows: np.ndarray,
    reference_class: np.ndarray,
    query_embeddings: np.ndarray,
    k: int,
    device: torch.device = CPU,
) -> tuple[np.ndarray, np.ndarray]:
    """Classes int16 [J, k] and similarities float32 [J, k] of the k nearest reference images.

    Nearest first; -1 and 0 if there are fewer images. Arguments as in `class_knn_scores`, where
    every row of `query_embeddings` is queried. Exact, so J x r x d multiplications: with millions
    of images use a GPU.
    """
    classes = np.full((len(query_embeddings), k), -1, np.int16)
    similarity = np.zeros((len(query_embeddings), k), np.float32)
    blocks = range(0, len(query_embeddings), QUERIES)
    for start in tqdm(blocks, desc="k-NN classes", unit=" blocks", disable=None):
        rows = np.arange(start, min(start + QUERIES, len(query_embeddings)))
        cosine, index = topk_cosine(
            query_embeddings, rows, labelled_embeddings, reference_rows, k, device
        )
        exists = index >= 0
        classes[rows[0] :][: len(rows)][exists] = reference_class[index[exists]]
        similarity[rows] = _similarity(cosine)
    return classes, similarity


@njit(cache=True, nogil=True)
def vote(classes: np.ndarray, votes: np.ndarray, k: int) -> np.ndarray:
    """The k classes of each row with the most votes, best first: int16 [n, k], -1 for none.

    classes: int16 [n, K], -1 for none; votes: float32 [n, K]. Votes of a class that occurs several
    times in a row are added. Ties go to the class that occurs first.
    """
    best = np.full((len(classes), k), -1, np.int16)
    width = classes.shape[1]
    for row in range(len(classes)):
        total = np.full(width, -1.0)  # of a class, in the column where it occurs first
        for column in range(width):
            if classes[row, column] >= 0:
                first = 0
                while classes[row, first] != classes[row, column]:
                    first += 1
                total[first] = max(total[first], 0.0) + votes[row, column]
        for rank in range(min(k, width)):
            top = np.argmax(total)
            if total[top] < 0:
                break
            best[row, rank] = classes[row, top]
            total[top] = -1.0
    return best


def _similarity(cosine: np.ndarray) -> np.ndarray:
    """float64, same shape; 0 if there is no image (cosine -inf)."""
    return ((1 + cosine.astype(np.float64)) / 2).clip(min=0) ** POWER
