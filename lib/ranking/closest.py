"""The closest pictures by cosine: row T3's score of a class, and the classes that they propose.

T3's score of a picture and a class: of the five reference pictures of the class with the largest
cosine, the sum of ((1 + cos) / 2) ** 35. Only candidate classes are asked about, so the work is the
sum over the classes of (pictures asked about it) x (its references): one matrix product a class.
"""

import numpy as np
import torch
from tqdm import tqdm

FIVE, POWER = 5, 35
ROWS, COLUMNS = 4096, 32_768  # of a block of cosines


def class_scores(
    known: np.ndarray,
    reference: np.ndarray,
    reference_class: np.ndarray,
    asked: np.ndarray,
    image: np.ndarray,
    cls: np.ndarray,
    device: torch.device | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """T3's score and the largest cosine of each pair of a picture and a class, float32 [n] each.

    known float [I, d] and asked float [J, d]: embeddings, of any length; a zero vector has a
    cosine of 0 with all. reference int64 [r]: rows of `known` that count, of classes
    reference_class int16 [r]. image int64 [n]: rows of `asked`; cls int16 [n].
    A class without references: score 0, cosine NaN.
    """
    device = device or torch.device("cpu")
    score, best = np.zeros(len(image), np.float32), np.full(len(image), np.nan, np.float32)
    by_class = np.argsort(reference_class, kind="stable")
    pairs = np.argsort(cls, kind="stable")
    asked_classes, first = np.unique(cls[pairs], return_index=True)
    for one, some in zip(
        tqdm(asked_classes, desc="closest of each class", unit=" classes", disable=None),
        np.split(pairs, first[1:]) if len(pairs) else [],
        strict=True,
    ):
        start, end = np.searchsorted(reference_class[by_class], [one, one + 1])
        if start == end:
            continue
        rows = reference[by_class[start:end]]
        for part in range(0, len(some), ROWS):
            piece = some[part : part + ROWS]
            top = _closest(_unit(asked, image[piece], device), known, rows, device)
            likeness = ((1 + top.double()) / 2).clamp(min=0) ** POWER
            score[piece] = likeness.sum(1).cpu().numpy()
            best[piece] = top[:, 0].cpu().numpy()
    return score, best


def nearest_classes(
    known: np.ndarray,
    reference: np.ndarray,
    reference_class: np.ndarray,
    asked: np.ndarray,
    k: int,
    device: torch.device | None = None,
) -> np.ndarray:
    """Classes of the k reference pictures closest to each row of `asked`, closest first.

    int16 [J, k], -1 where there are fewer pictures; arguments as in `class_scores`. Exact, so
    J x r x d products, which at millions of pictures want a GPU.
    """
    device = device or torch.device("cpu")
    found = np.full((len(asked), k), -1, np.int16)
    classes = torch.from_numpy(reference_class.astype(np.int64)).to(device)
    blocks = range(0, len(asked), ROWS)
    for start in tqdm(blocks, desc="closest pictures", unit=" blocks", disable=None):
        rows = np.arange(start, min(start + ROWS, len(asked)))
        query = _unit(asked, rows, device)
        top, of = query.new_empty((len(rows), 0)), classes.new_empty((len(rows), 0))
        for first in range(0, len(reference), COLUMNS):
            block = slice(first, first + COLUMNS)
            cosine = query @ _unit(known, reference[block], device).T
            values, places = cosine.topk(min(k, cosine.shape[1]), 1)
            top, of = torch.cat([top, values], 1), torch.cat([of, classes[block][places]], 1)
            top, places = top.topk(min(k, top.shape[1]), 1)
            of = of.gather(1, places)
        found[rows, : of.shape[1]] = of.cpu().numpy()
    return found


def _closest(
    query: torch.Tensor, known: np.ndarray, rows: np.ndarray, device: torch.device
) -> torch.Tensor:
    """The largest cosines of each query, falling: float32 [q, at most FIVE]."""
    top = query.new_empty((len(query), 0))
    for start in range(0, len(rows), COLUMNS):
        cosine = query @ _unit(known, rows[start : start + COLUMNS], device).T
        found = torch.cat([top, cosine.topk(min(FIVE, cosine.shape[1]), 1).values], 1)
        top = found.topk(min(FIVE, found.shape[1]), 1).values
    return top


def _unit(vectors: np.ndarray, rows: np.ndarray, device: torch.device) -> torch.Tensor:
    """The rows brought to length 1, float32."""
    return torch.nn.functional.normalize(torch.from_numpy(vectors[rows]).to(device).float())
