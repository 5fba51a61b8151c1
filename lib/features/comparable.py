"""Whether features mean the same for the labelled products as for those to classify.

A booster that has learned from a column which other products lack predicts worse than one that
never saw it: where a value is missing, its trees turn in a direction that nothing was fitted to.
"""

from dataclasses import dataclass
from pathlib import Path

from lib.data.catalog import Catalog
from lib.features.table import missing_shares

MIN_NUMBERS = 0.5  # of the labelled products; with fewer, ids are names
MAX_WITHOUT = 0.05  # of the products to classify that may lose what labelled ones have
LARGE_MOVE = 0.25  # of the share of missing values of a column
MAX_NAMED = 5  # columns that have a line of their own


@dataclass(frozen=True)
class IdNumbers:
    """The fraction of products whose id is a number, of the labelled ones and of the others.

    others: None if there are none to classify.
    """

    labelled: float
    others: float | None

    @property
    def comparable(self) -> bool:
        """Whether ids that are near each other can tell a class."""
        if self.labelled < MIN_NUMBERS:
            return False
        return self.others is None or self.others >= self.labelled - MAX_WITHOUT


def count_id_numbers(labelled: Catalog, others: Catalog | None) -> IdNumbers:
    """How many ids of each catalog are numbers."""
    catalogs = [labelled] if others is None else [labelled, others]
    shares = [float(catalog.id_is_number().mean()) for catalog in catalogs]
    return IdNumbers(shares[0], shares[1] if others is not None else None)


def moved_columns(trained: Path, scored: Path) -> list[str]:
    """A line for each column of a feature table that has far more or fewer missing values.

    trained: folder of the table that boosters are fitted to. scored: of the same columns, of the
    rows that they score. Of many columns, those that moved most have a line each.
    """
    before, after = missing_shares(trained), missing_shares(scored)
    moves = {name: abs(after[name] - before[name]) for name in before if name in after}
    moved = [name for name in moves if moves[name] > LARGE_MOVE]
    moved.sort(key=lambda name: -moves[name])
    lines = [
        f"{name} is missing in {after[name]:.0%} of the rows, and in {before[name]:.0%} of those"
        " that the boosters are fitted to"
        for name in moved[:MAX_NAMED]
    ]
    if len(moved) > MAX_NAMED:
        lines.append(
            f"{len(moved) - MAX_NAMED} other columns have moved by more than {LARGE_MOVE:.0%}"
        )
    return lines
