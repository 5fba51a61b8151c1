"""Products without labels: how many predictions are accepted, why not, and what they look like."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from lib.evaluation.metrics import Estimate
from lib.output.report.blocks import (
    Block,
    Card,
    Chart,
    Choice,
    Gallery,
    Lines,
    Section,
    Table,
    Text,
    Tile,
    Tiles,
    missing,
    percent,
)
from lib.output.report.charts import GROUND, SERIES, draw, whole_numbers
from lib.output.report.names import ClassNames
from lib.output.report.neighbors import Neighborhood
from lib.output.report.pictures import Pictures

if TYPE_CHECKING:
    from matplotlib.axes import Axes

THESE = "these products"
NUM_CARDS, NUM_CLASSES, NUM_BINS = 120, 200, 20  # of a gallery; rows of the table; of the chart
MIN_CHART = 20  # products; the bars of fewer say less than the gallery


@dataclass(frozen=True)
class NewProducts:
    """What predictions.parquet says, in the order of the catalog of the new products.

    key: strings [P]. class_id: int [P, k], -1 for none, and probability: float [P, k], best first.
    accepted: bool [P]. reason: strings [P], "" for accepted ones. images: int [P], that were used.
    nearest_cos: float [P], NaN without an image.
    """

    key: list[str]
    class_id: np.ndarray
    probability: np.ndarray
    accepted: np.ndarray
    reason: np.ndarray
    images: np.ndarray
    nearest_cos: np.ndarray


def read_predictions(table: pa.Table, names: ClassNames) -> NewProducts:
    """The columns of predictions.parquet. Raises KeyError for a class that is none of `names`."""
    number = {key: class_id for class_id, key in enumerate(names.keys)} | {None: -1}
    count = sum(name.startswith("class_") for name in table.column_names)

    def classes(column: str) -> list[int]:
        values = table[column].to_pylist()
        return [number[value if value is None else str(value)] for value in values]

    def floats(column: str) -> np.ndarray:
        return np.array(table[column].to_pylist(), np.float64)  # None becomes NaN

    ranks = range(1, count + 1)
    return NewProducts(
        [str(key) for key in table["product"].to_pylist()],
        np.column_stack([classes(f"class_{rank}") for rank in ranks]),
        np.column_stack([floats(f"prob_{rank}") for rank in ranks]),
        np.array(table["accepted"].to_pylist(), bool),
        np.array(table["reason"].to_pylist(), object),
        np.array(table["images_used"].to_pylist(), np.int64),
        floats("nearest_cos"),
    )


def headline_section(new: NewProducts, facts: dict[str, Any], ladder: str) -> Section:
    """How many there are and are accepted, and what may be expected. facts: of calibration.json."""
    lead = (
        "No label of these products is known, so that no accuracy here is measured on them. What is"
        " expected of them follows from the labelled products, with a 95 % interval."
    )
    total, accepted = len(new.key), int(new.accepted.sum())
    blind, promise = int((new.images == 0).sum()), facts["new"]
    expected = Estimate(**promise["expected_accuracy"])
    aucs = promise["auc"]
    auc = aucs[max(aucs, key=lambda name: aucs[name]["low"])]
    alike = "unlike the labelled" if promise["differs"] else "no difference found"
    if promise.get("too_few"):  # absent in runs of older versions
        alike = "too few products to tell"
    tiles = [
        Tile("Products", f"{total:,}", f"{blind:,} without a readable picture", THESE),
        Tile("Accepted", percent(accepted / total), f"{accepted:,} of {total:,}", THESE),
        Tile(
            "Expected accuracy",
            percent(expected.value),
            f"{100 * expected.low:.1f} .. {100 * expected.high:.1f}, not measured",
            "estimate",
        ),
        Tile(
            "Labelled or new?",
            f"AUC {auc['value']:.2f}",
            f"{auc['low']:.2f} .. {auc['high']:.2f}; {alike}; 0.5 if alike",
            THESE,
        ),
    ]
    return Section("headline", "Headline", lead, [Tiles(tiles), Lines(ladder, "What to know")])


def reasons_section(new: NewProducts) -> Section:
    """Why predictions are not accepted, and how probable they are."""
    lead = "A person should look at predictions that are not accepted."
    reasons, counts = np.unique(new.reason.astype(str), return_counts=True)
    total = len(new.key)
    rows = [
        [reason or "accepted", f"{count:,}", percent(count / total)]
        for reason, count in sorted(
            zip(reasons.tolist(), counts.tolist(), strict=True), key=lambda pair: -pair[1]
        )
    ]
    table = Table("Products by what became of them", ["", "products", "share"], rows, THESE)
    if total < MIN_CHART:
        return Section("reasons", "Accepted or not", lead, [table])
    chart = Chart(
        draw("probabilities", "products by probability", lambda axes: _paint(axes, new)),
        "Products by the calibrated probability of their most probable category; below, those that"
        " are accepted.",
        THESE,
    )
    return Section("reasons", "Accepted or not", lead, [chart, table])


def _paint(axes: "Axes", new: NewProducts) -> None:
    first = np.nan_to_num(new.probability[:, 0])
    bins = np.linspace(0, 1, NUM_BINS + 1).tolist()
    parts = [first[new.accepted], first[~new.accepted]]
    labels, colors = ["accepted", "not accepted"], [SERIES[2], SERIES[1]]
    axes.hist(parts, bins, stacked=True, color=colors, label=labels, edgecolor=GROUND)
    axes.set(xlim=(0, 1), xlabel="probability", ylabel="products")
    whole_numbers(axes.yaxis)
    axes.legend()


def classes_section(new: NewProducts, names: ClassNames) -> Section:
    """How many products each category gets."""
    lead = "What was predicted. A category that gets far more than it should is worth a look."
    best = new.class_id[:, 0]
    total = np.bincount(best[best >= 0], minlength=len(names))
    accepted = np.bincount(best[(best >= 0) & new.accepted], minlength=len(names))
    order = np.flatnonzero(total)
    order = order[np.argsort(-total[order], kind="stable")]
    rows = [
        [names.paths[c], f"{total[c]:,}", f"{accepted[c]:,}"] for c in order[:NUM_CLASSES].tolist()
    ]
    caption = f"{len(rows):,} of {len(order):,} predicted categories, the most frequent first"
    table = Table(caption, ["category", "products", "accepted"], rows, THESE)
    return Section("classes", "Predicted categories", lead, [table])


def gallery_section(
    new: NewProducts,
    accepted: bool,
    names: ClassNames,
    pictures: Pictures,
    near: Neighborhood,
) -> Section:
    """Products that are accepted, or that are not, drawn evenly over their probabilities."""
    key, title = ("accepted", "Accepted") if accepted else ("to-check", "Not accepted")
    lead = (
        "Pictures of the product, the most probable categories with their calibrated probability,"
        " and the labelled products whose pictures are nearest."
    )
    index = np.flatnonzero(new.accepted == accepted)
    if not len(index):
        return Section(key, title, lead, missing("There is no such product."))
    order = index[np.argsort(-np.nan_to_num(new.probability[index, 0]), kind="stable")]
    places = np.unique(np.linspace(0, len(order) - 1, min(NUM_CARDS, len(order))).astype(int))
    shown = order[places]
    blocks: list[Block] = [Gallery(key, _cards(new, shown, names, pictures, near), THESE)]
    if len(shown) < len(index):
        text = f"{len(shown):,} of {len(index):,} are shown; predictions.csv has all."
        blocks.append(Text(text))
    if not near.pictures.has_originals:
        blocks.append(Text(f"{near.labelled.path} is gone, and with it the labelled pictures."))
    return Section(key, title, lead, blocks)


def _cards(
    new: NewProducts,
    index: np.ndarray,
    names: ClassNames,
    pictures: Pictures,
    near: Neighborhood,
) -> list[Card]:
    rows = index.tolist()
    cards = []
    for i, uris, strips in zip(rows, pictures.of_products(rows), near.strips(rows), strict=True):
        best, first = int(new.class_id[i, 0]), float(np.nan_to_num(new.probability[i, 0]))
        path = names.paths[best] if best >= 0 else ""
        facts = [("predicted", path or "nothing")]
        if new.reason[i]:
            facts.append(("not accepted", str(new.reason[i])))
        choices = _choices(new.class_id[i].tolist(), new.probability[i].tolist(), names)
        keys = [
            ("most probable", -first),
            ("least probable", first),
            ("least like a labelled product", float(np.nan_to_num(new.nearest_cos[i], nan=-2))),
            ("order of the file", float(i)),
        ]
        cards.append(Card(new.key[i], uris, facts, choices, path, keys, strips))
    return cards


def _choices(classes: Sequence[int], probs: Sequence[float], names: ClassNames) -> list[Choice]:
    return [
        Choice(names.short[class_id], f"{prob:.3f}", min(prob, 1.0))
        for class_id, prob in zip(classes, probs, strict=True)
        if class_id >= 0
    ]
