"""The tree of the classes: one parent for each class, and the files that hold it between stages.

    classes.arrow  label, name, level int8, parent int16, part_of int16; one row for each class
    nodes.arrow    class int16, parent int32, part int8; every place of every class in the file
    mended.csv     the fixes of the user's files, and the rule of each

A class on top has level 0 and parent -1. "Part" places (a wheel is part of a car) are kept apart
from "Subcategory" places (a car is a vehicle): the whole is in `part_of`, -1 for none.
"""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from lib.data.catalog import read_table, write_table
from lib.errors import UserError

CLASSES, NODES, FIXES = "classes.arrow", "nodes.arrow", "mended.csv"
TOP = -1  # the parent of a class on top
FIX_COLUMNS = ("fault", "label", "name", "before", "after", "rule")


@dataclass(frozen=True)
class Fix:
    """One fix: the fault, whose it is, the state before and after, the rule."""

    fault: str
    label: str
    name: str
    before: str
    after: str
    rule: str


@dataclass(frozen=True)
class Hierarchy:
    """Classes [C] in a tree, in the order of the file; nodes [N] are their places in the file.

    labels: such as /m/0k4j. names: such as Car, each once.
    parent: int16 [C], row of the parent; -1 on top. level: int8 [C], 0 on top.
    part_of: int16 [C], row of the whole that a class is a part of; -1 for none.
    node_class: int16 [N]. node_parent: int32 [N], row of a node above; -1 on top.
    node_part: int8 [N], 1 if the node is a "Part" of the node above it.
    """

    labels: list[str]
    names: list[str]
    parent: np.ndarray
    level: np.ndarray
    part_of: np.ndarray
    node_class: np.ndarray
    node_parent: np.ndarray
    node_part: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def row_of_label(self) -> dict[str, int]:
        """The row of each label."""
        return {label: row for row, label in enumerate(self.labels)}

    def find(self, text: str, key: str) -> int:
        """The row of a class by its name or label.

        key: the setting that names it, for the error. Raises UserError for an unknown class.
        """
        return find_class(text, key, self.labels, self.names)

    def path(self, row: int) -> list[int]:
        """The rows from the top down to a class, itself included."""
        rows = []
        while row != TOP:
            rows.append(row)
            row = int(self.parent[row])
        return rows[::-1]

    @cached_property
    def is_above(self) -> np.ndarray:
        """bool [C, C]: whether class i stands above class j; no class is above itself."""
        above = np.zeros((len(self), len(self)), bool)
        for row in range(len(self)):
            above[self.path(row)[:-1], row] = True
        return above

    def children(self) -> list[list[int]]:
        """The rows below each class, by one level."""
        below: list[list[int]] = [[] for _ in self.labels]
        for row, parent in enumerate(self.parent.tolist()):
            if parent != TOP:
                below[parent].append(row)
        return below


def find_class(text: str, key: str, labels: Sequence[str], names: Sequence[str]) -> int:
    """The row of a class by its name or label; raises UserError, with the nearest, if unknown."""
    for known in (labels, names):
        if text in known:
            return known.index(text)
    near = get_close_matches(text, names) or list(names[:3])
    raise UserError(f"{key}: no class {text!a}; did you mean {', '.join(near)}?")


def write_hierarchy(folder: Path, hierarchy: Hierarchy, fixes: Iterable[Fix]) -> None:
    """Write `classes.arrow`, `nodes.arrow` and `mended.csv`."""
    write_table(
        folder / CLASSES,
        {
            "label": pa.array(hierarchy.labels, pa.string()),
            "name": pa.array(hierarchy.names, pa.string()),
            "level": hierarchy.level.astype(np.int8),
            "parent": hierarchy.parent.astype(np.int16),
            "part_of": hierarchy.part_of.astype(np.int16),
        },
    )
    write_table(
        folder / NODES,
        {
            "class": hierarchy.node_class.astype(np.int16),
            "parent": hierarchy.node_parent.astype(np.int32),
            "part": hierarchy.node_part.astype(np.int8),
        },
    )
    with (folder / FIXES).open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(FIX_COLUMNS)
        rows.writerows([getattr(fix, column) for column in FIX_COLUMNS] for fix in fixes)


def read_hierarchy(folder: Path) -> Hierarchy:
    """The tree in the folder of the artifact `extract/hierarchy`."""
    classes, nodes = read_table(folder / CLASSES), read_table(folder / NODES)
    return Hierarchy(
        labels=classes["label"].to_pylist(),
        names=classes["name"].to_pylist(),
        parent=classes["parent"].to_numpy(),
        level=classes["level"].to_numpy(),
        part_of=classes["part_of"].to_numpy(),
        node_class=nodes["class"].to_numpy(),
        node_parent=nodes["parent"].to_numpy(),
        node_part=nodes["part"].to_numpy(),
    )


def read_fixes(folder: Path) -> list[Fix]:
    """The fixes, as `write_hierarchy` listed them."""
    with (folder / FIXES).open(newline="", encoding="utf-8") as file:
        return [Fix(**row) for row in csv.DictReader(file)]
