"""The most confused pairs of classes, with pictures of both side by side."""

from typing import NamedTuple

import numpy as np

from lib.output.report.blocks import Pair, Pairs, Section, Table, missing
from lib.output.report.names import ClassNames
from lib.output.report.part import PartPredictions
from lib.output.report.pictures import Pictures

NUM_PAIRS, NUM_LISTED, PICTURES = 12, 60, 4


class Confusion(NamedTuple):
    """Products of a class that were taken for another one."""

    truth: int
    predicted: int
    number: int


def confusions(part: PartPredictions, most: int) -> list[Confusion]:
    """The most frequent pairs of a class and another that was predicted; ties by class."""
    wrong = ~part.correct
    if not wrong.any():
        return []
    pairs = np.column_stack([part.label[wrong], part.best[wrong]])
    found, counts = np.unique(pairs, axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:most]
    return [Confusion(int(found[i, 0]), int(found[i, 1]), int(counts[i])) for i in order]


def confusion_section(part: PartPredictions, names: ClassNames, pictures: Pictures) -> Section:
    """The most confused pairs."""
    lead = (
        "Left: products of a class that were taken for another one, the most confident first."
        " Right: products of that other class that were recognized, the most confident first."
    )
    pairs = confusions(part, NUM_LISTED)
    if not pairs:
        return Section("confusions", "Confused pairs", lead, missing("No prediction is wrong."))
    shown = [_pair(part, confusion, names, pictures) for confusion in pairs[:NUM_PAIRS]]
    rows = [[names.paths[c.truth], names.paths[c.predicted], f"{c.number:,}"] for c in pairs]
    caption = f"The {len(pairs)} most frequent pairs"
    header = ["class", "taken for", "products"]
    table = Table(caption, header, rows, part.origin, num_text=2, folded=True)
    return Section("confusions", "Most confused pairs", lead, [Pairs(shown, part.origin), table])


def _pair(part: PartPredictions, pair: Confusion, names: ClassNames, pictures: Pictures) -> Pair:
    truth, predicted, count = pair
    total = int((part.label == truth).sum())
    back = int(((part.label == predicted) & (part.best == truth)).sum())
    left = _most_confident(part, (part.label == truth) & (part.best == predicted))
    right = _most_confident(part, (part.label == predicted) & part.correct)
    return Pair(
        f"{names.short[truth]} taken for {names.short[predicted]}",
        f"{count:,} of {total:,} products; the other way round {back:,}",
        names.paths[truth],
        [uri for uris in pictures.of_products(left, 1) for uri in uris],
        names.paths[predicted],
        [uri for uris in pictures.of_products(right, 1) for uri in uris],
    )


def _most_confident(part: PartPredictions, chosen: np.ndarray) -> list[int]:
    index = np.flatnonzero(chosen)
    order = np.argsort(-part.probability[index], kind="stable")[:PICTURES]
    return part.product[index[order]].tolist()
