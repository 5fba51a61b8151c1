"""Two runs of one catalog: accuracy of both, the difference, and the products that changed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lib.data.catalog import Catalog
from lib.evaluation.metrics import Estimate, accuracy, gain, mcnemar
from lib.output.report.blocks import (
    Block,
    Card,
    Choice,
    Gallery,
    Section,
    Table,
    Text,
    Tile,
    Tiles,
    missing,
    percent,
)
from lib.output.report.names import ClassNames
from lib.output.report.part import PartPredictions
from lib.output.report.pictures import Pictures

FIXED, BROKEN, OTHER = "fixed", "broken", "wrong otherwise"
NUM_CARDS, NUM_CLASSES = 120, 60  # of a part: products with pictures, classes in the table


@dataclass(frozen=True)
class Comparison:
    """The answers of two runs for the same products, in the order of the catalog.

    names: of the runs. origin: "out-of-fold" or "locked part". product: int32 [Q], rows of the
    catalog. label: int16 [Q]. best: int16 [2, Q], what each run answers. probability: float32
    [2, Q], of that. group: int32 [Q], products that are right or wrong together, or None.
    """

    names: tuple[str, str]
    origin: str
    product: np.ndarray
    label: np.ndarray
    best: np.ndarray
    probability: np.ndarray
    group: np.ndarray | None

    @property
    def correct(self) -> np.ndarray:
        """bool [2, Q]: whether each run is right."""
        return self.best == self.label

    @property
    def change(self) -> np.ndarray:
        """strings [Q]: FIXED, BROKEN, OTHER (both wrong, with other answers), "" for the same."""
        first, second = self.correct
        kinds = [second & ~first, first & ~second, self.best[0] != self.best[1]]
        return np.select(kinds, [FIXED, BROKEN, OTHER], "")

    def accuracies(self) -> list[Estimate]:
        """Of each run."""
        return [accuracy(correct, group=self.group) for correct in self.correct]

    def gain(self) -> Estimate:
        """Accuracy of the second run less that of the first, paired."""
        return gain(self.correct[1], self.correct[0], group=self.group)

    def mcnemar(self) -> tuple[int, int, float]:
        """Fixed and broken products, and the p-value, of `metrics.mcnemar`."""
        return mcnemar(self.correct[1], self.correct[0])


def compare_parts(
    names: tuple[str, str], first: PartPredictions, second: PartPredictions
) -> Comparison:
    """The products that both runs have scored. Raises ValueError where their labels differ."""
    product, *rows = np.intersect1d(first.product, second.product, return_indices=True)
    parts = list(zip((first, second), rows, strict=True))
    labels = [part.label[row] for part, row in parts]
    if not np.array_equal(labels[0], labels[1]):
        raise ValueError("the runs have other labels for the same products")
    return Comparison(
        names,
        first.origin,
        product,
        labels[0],
        np.stack([part.best[row] for part, row in parts]),
        np.stack([part.probability[row] for part, row in parts]),
        None if first.group is None else first.group[rows[0]],
    )


def headline_section(comparisons: Sequence[Comparison]) -> Section:
    """Accuracy of both runs, the paired difference, and McNemar's test, part by part."""
    lead = (
        "Both runs on the same products. A difference is one only if its 95 % interval leaves out"
        " zero. Choose by the out-of-fold figures: a part that decides no longer measures."
    )
    return Section("headline", "Accuracy", lead, [_tiles(c) for c in comparisons])


def _tiles(comparison: Comparison) -> Tiles:
    total, origin = len(comparison.product), comparison.origin
    tiles = [
        Tile(name, percent(estimate.value), _ends(estimate), origin)
        for name, estimate in zip(comparison.names, comparison.accuracies(), strict=True)
    ]
    estimate = comparison.gain()
    value, low, high = (100 * x for x in (estimate.value, estimate.low, estimate.high))
    word = "" if low > 0 or high < 0 else "; no difference, the interval contains zero"
    tiles.append(
        Tile("Difference", f"{value:+.2f} points", f"{low:+.2f} .. {high:+.2f}{word}", origin)
    )
    fixed, broken, p_value = comparison.mcnemar()
    other = int((comparison.change == OTHER).sum())
    detail = (
        f"fixed, broken of {total:,} products; {other:,} are wrong in both with other answers."
        f" McNemar, exact: p = {p_value:.3g}"
    )
    tiles.append(Tile("Changed answers", f"{fixed:,} : {broken:,}", detail, origin))
    return Tiles(tiles)


def _ends(estimate: Estimate) -> str:
    return f"{100 * estimate.low:.1f} .. {100 * estimate.high:.1f}; {estimate.n:,} products"


def changes_section(
    comparison: Comparison, catalog: Catalog, names: ClassNames, pictures: Pictures, key: str
) -> Section:
    """Products whose answer changed, with pictures; those that the second run breaks come first."""
    before, after = comparison.names
    title = f"Changed answers, {comparison.origin}"
    lead = (
        f"Broken: {before} is right and {after} is wrong. Fixed: the other way round. Of each kind"
        " the most confident come first."
    )
    change = comparison.change
    changed = [np.flatnonzero(change == kind) for kind in (BROKEN, FIXED, OTHER)]
    total = sum(map(len, changed))
    if not total:
        return Section(key, title, lead, missing("Both runs give the same answers."))
    blocks: list[Block] = [_classes_table(comparison, names)]
    shown = [_most_confident(comparison, index) for index in changed]
    index = np.concatenate(shown)
    blocks.append(
        Gallery(key, _cards(comparison, index, catalog, names, pictures), comparison.origin)
    )
    if len(index) < total:
        blocks.append(Text(f"{len(index):,} of {total:,} products are shown; --csv lists all."))
    return Section(key, title, lead, blocks)


def _most_confident(comparison: Comparison, index: np.ndarray) -> np.ndarray:
    """At most a third of NUM_CARDS of these products, by the second run's probability."""
    order = np.argsort(-comparison.probability[1, index], kind="stable")
    return index[order[: NUM_CARDS // 3]]


def _cards(
    comparison: Comparison,
    index: np.ndarray,
    catalog: Catalog,
    names: ClassNames,
    pictures: Pictures,
) -> list[Card]:
    products, change = comparison.product[index].tolist(), comparison.change[index]
    kinds = {kind: number for number, kind in enumerate((BROKEN, FIXED, OTHER))}
    cards = []
    for i, product, kind, uris in zip(
        index.tolist(), products, change, pictures.of_products(products), strict=True
    ):
        label = int(comparison.label[i])
        choices = [
            Choice(
                f"{run}: {names.short[int(best)]}",
                f"{chance:.3f}",
                min(float(chance), 1.0),
                "truth" if best == label else "",
            )
            for run, best, chance in zip(
                comparison.names, comparison.best[:, i], comparison.probability[:, i], strict=True
            )
        ]
        keys = [
            ("broken first", float(kinds[kind])),
            ("fixed first", float(-(kind == FIXED))),
            ("most confident", -float(comparison.probability[1, i])),
            ("order of the catalog", float(product)),
        ]
        facts = [("label", names.paths[label]), ("change", str(kind))]
        title = f"Product {catalog.key(product)}"
        cards.append(Card(title, uris, facts, choices, names.paths[label], keys))
    return cards


def _classes_table(comparison: Comparison, names: ClassNames) -> Table:
    """The classes whose number of right answers changed most."""
    count = len(names)
    total = np.bincount(comparison.label, minlength=count)
    right = [np.bincount(comparison.label[c], minlength=count) for c in comparison.correct]
    difference = right[1] - right[0]
    touched = np.flatnonzero(
        np.bincount(comparison.label[comparison.change != ""], minlength=count)
    )
    order = touched[np.lexsort((touched, -np.abs(difference[touched])))][:NUM_CLASSES]
    rows = [
        [
            names.paths[c],
            f"{total[c]:,}",
            f"{right[0][c]:,}",
            f"{right[1][c]:,}",
            f"{difference[c]:+,}",
        ]
        for c in order.tolist()
    ]
    caption = f"{len(rows)} of {len(touched):,} classes with changed answers, most changed first"
    header = ["class", "products", *(f"right in {name}" for name in comparison.names), "difference"]
    return Table(caption, header, rows, comparison.origin, folded=True)


def differences_section(rows: Sequence[tuple[str, str, str]], names: tuple[str, str]) -> Section:
    """What differs between the runs: rows of name and both values."""
    lead = "Settings and versions of libraries: a difference above comes from these."
    if not rows:
        text = "No setting and no version of a library differs."
        return Section("settings", "What differs", lead, missing(text))
    table = Table("All that differs", ["", *names], rows, "configs", num_text=3)
    return Section("settings", "What differs", lead, [table])
