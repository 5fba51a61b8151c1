"""Which classes each source proposes as candidates, and how often the truth is among them (C9).

`Proposals` is what becomes candidate rows; the tables of recall say what each source is worth, and
at
which k another class a list costs more rows than it finds truths.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from lib.features.candidates import Query, best_listed, candidates


@dataclass(frozen=True)
class Proposals:
    """Classes that each source proposes, best first, -1 for none; arrays by name of the source.

    of_images: int16 [n, k] arrays by picture, one of each network or key; of_products: int16
    [Q, k] by slot.
    """

    of_images: dict[str, list[np.ndarray]]
    of_products: dict[str, np.ndarray]

    @property
    def names(self) -> list[str]:
        return [*self.of_images, *self.of_products]

    def rows(
        self, query: Query, fallback: np.ndarray, class_count: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """The union of all sources, as `candidates` returns it."""
        return candidates(query, *self._lists(), fallback, class_count)

    def best(
        self, query: Query, slot: np.ndarray, cls: np.ndarray, cap: int, class_count: int
    ) -> np.ndarray:
        """Which of these rows `best_listed` keeps: bool [R]."""
        return best_listed(query, *self._lists(), slot, cls, cap, class_count)

    def only(self, name: str) -> "Proposals":
        """The lists of one source."""
        of_images = {key: lists for key, lists in self.of_images.items() if key == name}
        of_products = {key: listed for key, listed in self.of_products.items() if key == name}
        return Proposals(of_images, of_products)

    def first(self, k: int) -> "Proposals":
        """The first k classes of each list."""
        of_images = {key: [o[:, :k] for o in lists] for key, lists in self.of_images.items()}
        return Proposals(of_images, {key: o[:, :k] for key, o in self.of_products.items()})

    def instead(self, other: "Proposals") -> "Proposals":
        """These lists, but the other's of the sources that it has."""
        return Proposals(self.of_images | other.of_images, self.of_products | other.of_products)

    def recall(self, query: Query, truth: np.ndarray, class_count: int) -> tuple[float, float]:
        """Share of the products whose class is listed, and classes listed a product.

        truth int16 [Q]; a product of no class (-1) has none that could be listed: it does not
        count in the share.
        """
        nothing = np.empty((len(truth), 0), np.int16)
        slot, cls = self.rows(query, nothing, class_count)
        hits = int((cls == truth[slot]).sum())
        return hits / max(int((truth >= 0).sum()), 1), len(slot) / max(len(truth), 1)

    def _lists(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        of_images = [listed for lists in self.of_images.values() for listed in lists]
        return of_images, list(self.of_products.values())


def recalls(
    listed: Proposals, query: Query, truth: np.ndarray, class_count: int
) -> dict[str, float]:
    """Recall of each source alone, `recall_<source>`, and of all before a cap."""
    of = {name: listed.only(name) for name in listed.names} | {"without_cap": listed}
    return {
        f"recall_{name}": round(some.recall(query, truth, class_count)[0], 6)
        for name, some in of.items()
    }


def recall_by_k(
    widest: Proposals, used: Proposals, query: Query, truth: np.ndarray, class_count: int, most: int
) -> list[dict[str, Any]]:
    """A row for each source of `widest` and each k up to `most`: its first k classes a list.

    Alone, and together with the other sources as they are in `used`. Rows a product are before a
    cap and without fallback.
    """
    table = []
    for name in widest.names:
        for k in range(1, most + 1):
            own = widest.only(name).first(k)
            recall, rows = own.recall(query, truth, class_count)
            of_all, all_rows = used.instead(own).recall(query, truth, class_count)
            table.append(
                {
                    "source": name,
                    "k": k,
                    "recall_alone": recall,
                    "rows_alone": rows,
                    "recall": of_all,
                    "rows_per_product": all_rows,
                }
            )
    return table
