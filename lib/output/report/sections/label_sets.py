"""Images that have sets of classes: the scores, the classes, and the most confident mistakes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lib.data.catalog import Catalog
from lib.evaluation.metrics import Estimate
from lib.output.report.blocks import (
    LOCKED,
    Block,
    Card,
    Choice,
    Gallery,
    Lines,
    Section,
    Table,
    Text,
    Tile,
    Tiles,
    missing,
)
from lib.output.report.names import ClassNames
from lib.output.report.neighbors import Neighborhood
from lib.output.report.pictures import Pictures

SCORES = {
    "mean_average_precision": "Mean average precision",
    "macro_f1": "Macro F1",
    "micro_f1": "Micro F1",
}
NUM_MISTAKES, TOP_K = 100, 5


@dataclass(frozen=True)
class LabelSetPart:
    """Images of a part and what the networks' mean says of them.

    origin: "out-of-fold" or "locked part". product: int [n], rows of the catalog. sets: int8
    [n, C], 1: annotated, 0: verified as absent, -1: nobody looked. probs: float32 [n, C].
    """

    origin: str
    product: np.ndarray
    sets: np.ndarray
    probs: np.ndarray


def headline_section(rows: Mapping[str, Mapping[str, Any]], shown: str, ladder: str) -> Section:
    """The three scores. rows: of label_sets.json; shown: the row in tiles."""
    lead = (
        "Each image has a set of classes. Thresholds were chosen out-of-fold; the locked part was"
        f" only scored. The tiles are of: {shown}."
    )
    tiles = []
    for key, name in SCORES.items():
        estimate = Estimate(**rows[shown][key])
        detail = f"{estimate.low:.3f} .. {estimate.high:.3f}; {estimate.n:,} images"
        tiles.append(Tile(name, f"{estimate.value:.3f}", detail, LOCKED))
    return Section("headline", "Headline", lead, [Tiles(tiles), Lines(ladder, "What to know")])


def networks_section(rows: Mapping[str, Mapping[str, Any]]) -> Section:
    """Every network and their mean."""
    lead = "Every network alone, and their weighted mean, which predicts. There are no boosters."
    cells = [[name, *(_rate(Estimate(**row[key])) for key in SCORES)] for name, row in rows.items()]
    table = Table("Networks, with 95 % intervals", ["", *SCORES.values()], cells, LOCKED)
    return Section("networks", "Networks", lead, [table])


def _rate(estimate: Estimate) -> str:
    return f"{estimate.value:.3f} ({estimate.low:.3f} .. {estimate.high:.3f})"


def classes_section(rows: Sequence[Mapping[str, str]]) -> Section:
    """The classes, those with the lowest average precision first. rows: of classes.csv."""
    lead = "Classes that fail come first. A class of few images has an uncertain figure."
    order = sorted(rows, key=lambda row: float(row["average_precision"] or 2))
    columns = ["products", "predicted", "correct", "average_precision", "f1", "threshold"]
    cells = [[row["category"], *(row[column] or "-" for column in columns)] for row in order]
    header = ["class", *(column.replace("_", " ") for column in columns)]
    table = Table(f"{len(cells):,} classes, by the networks' mean", header, cells, LOCKED)
    return Section("classes", "Classes", lead, [table])


def mistakes_section(
    part: LabelSetPart,
    thresholds: np.ndarray,
    catalog: Catalog,
    names: ClassNames,
    pictures: Pictures,
    near: Neighborhood,
    key: str,
) -> Section:
    """Images with the most confident mistake: a class that is found and not annotated, or missed.

    thresholds: float [C]. key: the anchor of the section.
    """
    title = f"Most confident mistakes, {part.origin}"
    lead = (
        "A class that was found and is not annotated, or that is annotated and was missed. Where"
        " nobody looked for a class, the annotation may lack it."
    )
    present, found = part.sets == 1, part.probs >= thresholds
    error = np.where(found & ~present, part.probs, np.where(present & ~found, 1 - part.probs, 0))
    worst, size = error.argmax(axis=1), error.max(axis=1, initial=0)
    wrong = np.flatnonzero(size > 0)
    if not len(wrong):
        return Section(key, title, lead, missing("Every set of this part is right."))
    chosen = wrong[np.argsort(-size[wrong], kind="stable")[:NUM_MISTAKES]]
    products = part.product[chosen].tolist()
    uris, strips = pictures.of_products(products), near.strips(products, folded=True)
    cards = []
    for place, i in enumerate(chosen.tolist()):
        kind = "missed" if present[i, worst[i]] else "found, and not annotated"
        if part.sets[i, worst[i]] == 0:
            kind = "found, and verified as absent"
        facts = [
            ("annotated", _list(names, present[i])),
            ("found", _list(names, found[i])),
            (kind, names.paths[int(worst[i])]),
        ]
        keys = [
            ("most confident", -float(size[i])),
            ("order of the catalog", float(products[place])),
        ]
        cards.append(
            Card(
                catalog.key(products[place]),
                uris[place],
                facts,
                _choices(part.probs[i], present[i], names),
                _list(names, present[i]),
                keys,
                strips[place],
            )
        )
    blocks: list[Block] = [Gallery(key, cards, part.origin)]
    if len(chosen) < len(wrong):
        blocks.append(Text(f"{len(chosen):,} of {len(wrong):,} images with a mistake are shown."))
    return Section(key, title, lead, blocks)


def _list(names: ClassNames, chosen: np.ndarray) -> str:
    return ", ".join(names.short[c] for c in np.flatnonzero(chosen).tolist()) or "none"


def _choices(probs: np.ndarray, present: np.ndarray, names: ClassNames) -> list[Choice]:
    """The most probable classes, and the annotated ones."""
    order = np.argsort(-probs, kind="stable")
    shown = [c for rank, c in enumerate(order.tolist()) if rank < TOP_K or present[c]]
    return [
        Choice(
            names.short[c], f"{probs[c]:.3f}", min(float(probs[c]), 1.0), "truth" * bool(present[c])
        )
        for c in shown
    ]
