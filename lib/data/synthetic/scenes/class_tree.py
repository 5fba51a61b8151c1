"""The class hierarchy of scenes, read from the official files or generated in their format.

A node of `bbox_labels_600_hierarchy.json` is {"LabelName": "/m/0k4j", "Subcategory": [...], "Part":
[...]}; a class may stand in it more than once. The root ("Entity") is no class.
"""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lib.config.clusters import Clusters
from lib.config.scenes import DESCRIPTIONS_FILE, HIERARCHY_FILE
from lib.data.openimages.places import read_hierarchy_file
from lib.errors import UserError

CHILD_KINDS = ("Subcategory", "Part")
ROOT = "/m/0bl9f"

Node = dict[str, Any]


@dataclass(frozen=True, eq=False)  # hashed by identity, for the caches below
class ClassTree:
    """Classes with their names, and the nodes that say how they are related.

    root: the tree as the JSON file has it. names: the display name of each label that has one.
    """

    root: Node
    names: dict[str, str]

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The label of each class once, in the order of the file."""
        return tuple(dict.fromkeys(node["LabelName"] for node, _, _ in walk(self.root)))

    @cached_property
    def _places(self) -> dict[str, list[tuple[str, str]]]:
        """Of each class: (kind, label of the parent) of each of its nodes."""
        places: dict[str, list[tuple[str, str]]] = {label: [] for label in self.labels}
        for node, kind, parent in walk(self.root):
            places[node["LabelName"]].append((kind, parent["LabelName"]))
        return places

    @cache  # noqa: B019 - a tree lives as long as its program
    def parents(self, label: str) -> tuple[str, ...]:
        """The classes that a class is a Subcategory of; the root counts as none."""
        top = self.root["LabelName"]
        found = [parent for kind, parent in self._places[label] if kind == "Subcategory"]
        return tuple(dict.fromkeys(parent for parent in found if parent != top))

    @cache  # noqa: B019
    def ancestors(self, label: str) -> tuple[str, ...]:
        """All classes above a class by Subcategory, over all of its places, nearest first."""
        found: dict[str, None] = {}
        level = self.parents(label)
        while level:
            found |= dict.fromkeys(level)
            above = [p for parent in level for p in self.parents(parent)]
            level = tuple(p for p in dict.fromkeys(above) if p not in found and p != label)
        return tuple(found)

    def own_parts(self, label: str) -> tuple[str, ...]:
        """What a class itself has as a Part, with what is below that."""
        return self._own_parts[label]

    @cache  # noqa: B019
    def parts(self, label: str) -> tuple[str, ...]:
        """What a class has as a Part, by itself or through an ancestor, with what is below that."""
        wholes = (label, *self.ancestors(label))
        return tuple(dict.fromkeys(part for whole in wholes for part in self._own_parts[whole]))

    @cached_property
    def _own_parts(self) -> dict[str, tuple[str, ...]]:
        children: dict[tuple[str, str], dict[str, None]] = {}
        for node, kind, parent in walk(self.root):
            children.setdefault((parent["LabelName"], kind), {})[node["LabelName"]] = None
        return {
            label: tuple(
                dict.fromkeys(
                    found
                    for part in children.get((label, "Part"), ())
                    for found in (part, *children.get((part, "Subcategory"), ()))
                )
            )
            for label in self.labels
        }

    @cached_property
    def top(self) -> dict[str, str]:
        """The class at level 0 that each class belongs to; a Part alone belongs to itself."""
        return {label: (label, *self.ancestors(label))[-1] for label in self.labels}


def walk(root: Node) -> Iterator[tuple[Node, str, Node]]:
    """(node, kind, parent node) of every node below the root, in the order of the file."""
    for kind in CHILD_KINDS:
        for child in root.get(kind, ()):
            yield child, kind, root
            yield from walk(child)


def read_tree(folder: Path) -> ClassTree:
    """The hierarchy of a folder with the two official files.

    Raises UserError if one is missing or is not what its name says.
    """
    try:
        root = json.loads((folder / HIERARCHY_FILE).read_text())
        with (folder / DESCRIPTIONS_FILE).open(newline="", encoding="utf-8") as file:
            names = {row[0]: row[1] for row in csv.reader(file) if len(row) > 1}
        tree = ClassTree(root, names)
        if not tree.labels:  # KeyError: a node without a label
            raise ValueError("no class below the root")
    except FileNotFoundError as error:
        raise UserError(
            f"{error.filename}: not found; scenes.pictures is a folder with openimages/ in it"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{folder}: not the hierarchy of Open Images: {error}") from None
    return tree


def write_tree(folder: Path, tree: ClassTree) -> None:
    """Write the two official files."""
    (folder / HIERARCHY_FILE).write_text(json.dumps(tree.root, indent=1) + "\n")
    with (folder / DESCRIPTIONS_FILE).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(tree.names.items())


def true_ancestors(folder: Path) -> dict[str, tuple[str, ...]]:
    """Of each class in the two official files of a folder: its ancestors, nearest first.

    A class that the file places twice has the place that `clusters.place` chooses by default: 190
    of the real classes are placed twice without a fault of ours.
    """
    files = (folder / HIERARCHY_FILE, folder / DESCRIPTIONS_FILE)
    hierarchy, _ = read_hierarchy_file(*files, Clusters())
    return {
        label: tuple(hierarchy.labels[above] for above in reversed(hierarchy.path(row)[:-1]))
        for row, label in enumerate(hierarchy.labels)
    }


def generate_tree(num_classes: int, seed: int) -> ClassTree:
    """A hierarchy of `num_classes` classes of up to three levels, some of them parts of others.

    About half of the families (level 0) have no children, as in Open Images. A part is a child of
    its whole alone, as a Part.
    """
    rng = np.random.default_rng([seed, 20])
    names: dict[str, str] = {}

    def add(parent: Node, kind: str, name: str) -> Node:
        node: Node = {"LabelName": f"/m/g{len(names):05d}"}
        names[node["LabelName"]] = name
        parent.setdefault(kind, []).append(node)
        return node

    root: Node = {"LabelName": ROOT}
    family = 0
    while len(names) < num_classes:
        family += 1
        top = add(root, "Subcategory", f"Family {family}")
        children = int(rng.integers(2, 6)) if family % 2 else 0
        for child in range(1, min(children, num_classes - len(names)) + 1):
            if len(names) >= num_classes:
                break
            node = add(top, "Subcategory", f"Kind {family}.{child}")
            if child == 1 and len(names) < num_classes and rng.uniform() < 0.5:
                add(node, "Part", f"Part of kind {family}.{child}")
            varieties = int(rng.integers(2, 4)) if rng.uniform() < 0.25 else 0
            for variety in range(1, min(varieties, num_classes - len(names)) + 1):
                add(node, "Subcategory", f"Variety {family}.{child}.{variety}")
    return ClassTree(root, names)
