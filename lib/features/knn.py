"""The closest pictures by cosine: row T3's score of a class, and the classes that they propose.

T3's score of a picture and a class: of the five reference pictures of the class with the largest
cosine, the sum of ((1 + cos) / 2) ** 35. Only candidate classes are asked about, so the work is the
sum over the classes of (pictures asked about it) x (its references): one matrix product a class.
"""

import numpy as np
import torch
from numba import njit
from tqdm import tqdm

FIVE, POWER = 5, 35
ROWS, COLUMNS = 1024, 4096  # of a block of cosines: what a CPU's cache holds
GPU_ROWS, GPU_COLUMNS = 65_536, 16_384  # the host prepares the columns of each block anew
QUERIES = 65_536  # asked at a time
STRIDE = 64  # cosines that are looked at together: most hold none of the largest
CPU = torch.device("cpu")


def class_scores(
    known: np.ndarray,
    reference: np.ndarray,
    reference_class: np.ndarray,
    asked: np.ndarray,
    image: np.ndarray,
    cls: np.ndarray,
    device: torch.device = CPU,
) -> tuple[np.ndarray, np.ndarray]:
    """T3's score and the largest cosine of each pair of a picture and a class, float32 [n] each.

    known float [I, d] and asked float [J, d]: embeddings, of any length; a zero vector has a
    cosine of 0 with all. reference int64 [r]: rows of `known` that count, of classes
    reference_class int16 [r]. image int64 [n]: rows of `asked`; cls int16 [n]. A class
    without references: score 0, cosine NaN.
    """
    score, best = np.zeros(len(image), np.float32), np.full(len(image), np.nan, np.float32)
    by_class = np.argsort(reference_class, kind="stable")
    sorted_class = reference_class[by_class]
    pairs = np.argsort(cls, kind="stable")
    asked_classes, first = np.unique(cls[pairs], return_index=True)
    ends = np.append(first, len(pairs))[1:]
    bar = tqdm(asked_classes.tolist(), desc="closest of each class", unit=" classes", disable=None)
    for one, start, end in zip(bar, first, ends, strict=True):
        low, high = np.searchsorted(sorted_class, [one, one + 1])
        if low == high:
            continue
        rows = reference[by_class[low:high]]
        for part in range(start, end, QUERIES):
            piece = pairs[part : min(part + QUERIES, end)]
            cosine, _ = _closest(asked, image[piece], known, rows, FIVE, device)
            likeness = _likeness(cosine)
            score[piece] = likeness.sum(axis=1)
            best[piece] = cosine[:, 0]
    return score, best


def nearest_classes(
    known: np.ndarray,
    reference: np.ndarray,
    reference_class: np.ndarray,
    asked: np.ndarray,
    k: int,
    device: torch.device = CPU,
) -> tuple[np.ndarray, np.ndarray]:
    """Classes of the k reference pictures closest to each row of `asked`, closest first.

    int16 [J, k], -1 where there are fewer pictures, and the likeness of each, float32 [J, k], 0
    there: ((1 + cos) / 2) ** 35. Arguments as in `class_scores`. Exact, so
    J x r x d products, which at millions of pictures want a GPU.
    """
    found = np.full((len(asked), k), -1, np.int16)
    likeness = np.zeros((len(asked), k), np.float32)
    blocks = range(0, len(asked), QUERIES)
    for start in tqdm(blocks, desc="closest pictures", unit=" blocks", disable=None):
        rows = np.arange(start, min(start + QUERIES, len(asked)))
        cosine, place = _closest(asked, rows, known, reference, k, device)
        there = place >= 0
        found[rows[0] :][: len(rows)][there] = reference_class[place[there]]
        likeness[rows] = _likeness(cosine)
    return found, likeness


@njit(cache=True, nogil=True)
def voted(classes: np.ndarray, votes: np.ndarray, k: int) -> np.ndarray:
    """The k classes of each row with the most votes, best first: int16 [n, k], -1 beyond the last.

    classes int16 [n, K], -1 for none, with votes float32 [n, K], which add up for a class that
    comes several times. Of equals the one that comes first.
    """
    best = np.full((len(classes), k), -1, np.int16)
    width = classes.shape[1]
    for row in range(len(classes)):
        total = np.full(width, -1.0)  # of a class, where it comes first
        for column in range(width):
            if classes[row, column] >= 0:
                at = 0
                while classes[row, at] != classes[row, column]:
                    at += 1
                total[at] = max(total[at], 0.0) + votes[row, column]
        for place in range(min(k, width)):
            top = np.argmax(total)
            if total[top] < 0:
                break
            best[row, place] = classes[row, top]
            total[top] = -1.0
    return best


def _likeness(cosine: np.ndarray) -> np.ndarray:
    """float64, 0 where there is no picture (-inf)."""
    return ((1 + cosine.astype(np.float64)) / 2).clip(min=0) ** POWER


def _closest(
    asked: np.ndarray,
    image: np.ndarray,
    known: np.ndarray,
    reference: np.ndarray,
    k: int,
    device: torch.device,
) -> tuple[np.ndarray, np.ndarray]:
    """The k largest cosines, falling, and places in `reference` of each image: float32, int64
    [q, k], -inf and -1 beyond the last. On a CPU the first of equals comes first."""
    query = _unit(asked, image, device)
    top = np.full((len(image), k), -np.inf, np.float32)
    place = np.full((len(image), k), -1, np.int64)
    on_cpu = device.type == "cpu"
    high, wide = (ROWS, COLUMNS) if on_cpu else (GPU_ROWS, GPU_COLUMNS)
    for start in range(0, len(reference), wide):
        rows = reference[start : start + wide]
        unit = _unit(known, rows, device).T
        for first in range(0, len(query), high):
            part = slice(first, first + high)
            cosine = query[part] @ unit
            if on_cpu:
                places = np.arange(start, start + len(rows))[None]
                _merge(top[part], place[part], cosine.numpy(), places, False)
            else:
                values, columns = cosine.topk(min(k, len(rows)), 1)
                places = start + columns.cpu().numpy()
                _merge(top[part], place[part], values.cpu().numpy(), places, True)
    return top, place


@njit(cache=True, nogil=True)
def _merge(
    top: np.ndarray, place: np.ndarray, values: np.ndarray, places: np.ndarray, own: bool
) -> None:
    """Put values float32 [q, c] that are among the largest into `top`, falling, and their places
    int64 [q, c] (`own`), or [1, c] that all rows share, into `place`."""
    k = top.shape[1]
    for row in range(len(top)):
        line, least = values[row], top[row, k - 1]
        for start in range(0, len(line), STRIDE):
            some = line[start : start + STRIDE]
            above = np.uint32(0)  # a sum of comparisons, which vectorises
            for column in range(len(some)):
                above += np.uint32(some[column] > least)
            if above == 0:
                continue
            for column in range(len(some)):
                value = some[column]
                if value <= least:
                    continue
                at = k - 1
                while at > 0 and top[row, at - 1] < value:
                    top[row, at] = top[row, at - 1]
                    place[row, at] = place[row, at - 1]
                    at -= 1
                top[row, at] = value
                place[row, at] = places[row if own else 0, start + column]
                least = top[row, k - 1]


def _unit(vectors: np.ndarray, rows: np.ndarray, device: torch.device) -> torch.Tensor:
    """The rows brought to length 1, float32; zeros stay."""
    some = vectors[rows].astype(np.float32)
    length = np.sqrt(np.einsum("ij,ij->i", some, some))
    some /= np.where(length > 0, length, 1)[:, None]
    return torch.from_numpy(some).to(device)
