"""One place for each class: read the tree of classes as it was published, and mend its faults.

`bbox_labels_600_hierarchy.json` of Open Images V4 has 602 labels in 848 nodes. 190 labels stand
two to five times, 38 of them also as a "Part" of another class, and the root has no description.
The rules:

- "Subcategory" and "Part" are apart. The parent of a class is one that it is a subcategory of; the
  class of which it is a part is `part_of`. A class that is only ever a part stands on top.
- What repeats below a repeated class is one place: musical instruments stand on top and as parts
  of buildings, and so do all of their kinds.
- Of several parents the one furthest down counts (`clusters.place = "deep"`), of equal ones the
  first in the file. It says more: a knife is a kitchen utensil rather than a weapon, a bicycle a
  land vehicle rather than sports equipment, a hat a fashion accessory and so clothing.
  `clusters.parents` sets others, such as a teddy bear that is a toy and no bear.
- The root is no class. Another label without a description is named by itself, one without a place
  stands on top, and a class below itself loses that place.

Without mending (`clusters.mend = false`) the tree is what a reader gets who does not look: parts
are subcategories, the first place counts, labels without a description or a place are lost.
"""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lib.config.clusters import Clusters
from lib.data.openimages.hierarchy import TOP, Fix, Hierarchy, find_class
from lib.errors import UserError

KINDS = {"subcategory": False, "part": True}  # keys of the children of a node, in small letters
MAX_CLASSES = np.iinfo(np.int16).max
FAR = 1 << 15  # deeper than any place


@dataclass(frozen=True)
class Node:
    """A place in the file: its label, the row of the node above (-1: the root), whether a Part.

    depth: 0 on top. proper: no node on its way down from the top is a Part.
    """

    label: str
    above: int
    part: bool
    depth: int
    proper: bool


@dataclass
class _Places:
    """The distinct places of a class, in the order of the file.

    parents: by the label of the parent, "" for the top, the depths of the proper nodes there.
    wholes: labels of what it is a part of. count: of its nodes.
    """

    parents: dict[str, list[int]] = field(default_factory=dict)
    wholes: list[str] = field(default_factory=list)
    count: int = 0

    def ranked(self, rule: str) -> list[str]:
        """The parents, best first; the top for a class that is only ever a part."""
        depths = self.parents
        if rule == "shallow":
            return sorted(depths, key=lambda above: min(depths[above], default=FAR)) or [""]
        return sorted(depths, key=lambda above: -max(depths[above], default=-1)) or [""]


def read_hierarchy_file(
    source: Path, descriptions: Path, settings: Clusters
) -> tuple[Hierarchy, list[Fix]]:
    """Read the tree and the names of its classes; returns it mended, and the fixes.

    source: JSON with LabelName, Subcategory and Part. descriptions: CSV of labels and names,
    without a header. Raises UserError for a file that is not as published, naming the place, and
    for settings that name no class or make a loop.
    """
    root, nodes = _read_nodes(source)
    names = _read_names(descriptions)
    if settings.mend:
        return _resolve_places(source, root, nodes, names, settings)
    return _take_first_places(source, nodes, names), []


def _read_nodes(source: Path) -> tuple[str, list[Node]]:
    """The label of the root, and all nodes below it; a node comes after the node above it."""
    try:
        tree = json.loads(source.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise UserError(f"{source}: no such file; set data.hierarchy") from None
    except OSError as error:
        raise UserError(f"{source}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{source}: not a JSON file: {error}; fetch it again") from None
    nodes: list[Node] = []
    root = _label(source, tree, "the root")
    # Last in, first out: the children of a node are pushed in reverse, so that they come in order.
    waiting = [(child, TOP, part, 0, not part) for child, part in _children(source, tree, root)]
    waiting.reverse()
    while waiting:
        inner, above, part, depth, proper = waiting.pop()
        label = _label(source, inner, f"a class below {nodes[above].label if above >= 0 else root}")
        nodes.append(Node(label, above, part, depth, proper))
        row = len(nodes) - 1
        for child, is_part in reversed(list(_children(source, inner, label))):
            waiting.append((child, row, is_part, depth + 1, proper and not is_part))
    if not nodes:
        raise UserError(f"{source}: no class below {root}; data.hierarchy is another file")
    return root, nodes


def _label(source: Path, node: Any, where: str) -> str:
    label = node.get("LabelName") if isinstance(node, dict) else None
    if not isinstance(label, str) or not label.strip():
        raise UserError(f"{source}: {where} has no LabelName; data.hierarchy is another file")
    return label


def _children(source: Path, node: dict[str, Any], label: str) -> Iterator[tuple[Any, bool]]:
    """(node, whether it is a Part) of what stands below a node."""
    for key, inner in node.items():
        part = KINDS.get(key.lower())
        if part is None:
            continue
        if not isinstance(inner, list):
            raise UserError(f"{source}: {key} of {label} is not a list")
        for child in inner:
            yield child, part


def _read_names(source: Path) -> dict[str, str]:
    """The name of each label; of two lines of one label the first counts."""
    names: dict[str, str] = {}
    try:
        with source.open(newline="", encoding="utf-8-sig") as file:
            for line, row in enumerate(csv.reader(file, strict=True), start=1):
                if not any(row) or row[0] == "LabelName":  # later versions have a header
                    continue
                if len(row) != 2 or not row[0].strip():
                    raise UserError(f"{source}: line {line}: not a label and a name: {row!a:.60}")
                names.setdefault(row[0].strip(), row[1].strip())
    except FileNotFoundError:
        raise UserError(f"{source}: no such file; set data.class_descriptions") from None
    except OSError as error:
        raise UserError(f"{source}: cannot be read: {error.strerror}") from None
    except (csv.Error, UnicodeError) as error:
        raise UserError(f"{source}: not a CSV table in UTF-8: {error}; fetch it again") from None
    if not names:
        raise UserError(f"{source}: no class in it; data.class_descriptions is another file")
    return names


def _take_first_places(source: Path, nodes: Sequence[Node], names: Mapping[str, str]) -> Hierarchy:
    """The tree as a reader has it who takes every child for a subcategory, first come."""
    first: dict[str, Node] = {}
    for node in nodes:
        if node.label in names:
            first.setdefault(node.label, node)
    parents = {}
    for label, node in first.items():
        above = node.above
        while above != TOP and nodes[above].label not in first:
            above = nodes[above].above
        parents[label] = nodes[above].label if above != TOP else ""
    return _assemble(source, nodes, names, parents, {})


def _resolve_places(
    source: Path, root: str, nodes: Sequence[Node], described: Mapping[str, str], settings: Clusters
) -> tuple[Hierarchy, list[Fix]]:
    fixes: list[Fix] = []
    places = _places(nodes)
    below_root = places.pop(root, None)
    names = _complete_names(root, places, described, fixes)
    for label in names:
        if label not in places:
            places[label] = _Places({"": [0]}, [], 1)
            fixes.append(Fix("no place", label, names[label], "", "top", "a class needs a place"))
    if below_root:
        fixes.append(Fix("below itself", root, "", "the root", "no class", "a place is lost"))
    chosen = _chosen_parents(settings, names)
    parents = {}
    for label, place in places.items():
        ranked = [above for above in place.ranked(settings.place) if above in names] or [""]
        parents[label] = chosen.get(label, ranked[0])
        rule = "clusters.parents" if label in chosen else f"clusters.place = {settings.place}"
        fixes += _place_fixes(label, place, parents[label], rule, names)
    _open_loops(places, parents, chosen, settings.place, names, fixes)
    wholes = {label: place.wholes[0] for label, place in places.items() if place.wholes}
    return _assemble(source, nodes, names, parents, wholes), fixes


def _places(nodes: Sequence[Node]) -> dict[str, _Places]:
    """The places of each class, in the order of the file."""
    places: dict[str, _Places] = {}
    for node in nodes:
        place = places.setdefault(node.label, _Places())
        place.count += 1
        above = nodes[node.above].label if node.above != TOP else ""
        if node.part:
            place.wholes += [] if above in place.wholes else [above]
            continue
        # What stands below a Part is a copy of what stands elsewhere; its depth says nothing.
        place.parents.setdefault(above, []).extend([node.depth] if node.proper else [])
    return places


def _complete_names(
    root: str, places: Mapping[str, _Places], described: Mapping[str, str], fixes: list[Fix]
) -> dict[str, str]:
    """The name of each class, each once, in the order of the tree and then of the descriptions."""
    if not described.get(root):
        fixes.append(Fix("no description", root, "", "the root", "no class", "it says nothing"))
    names: dict[str, str] = {}
    taken: set[str] = set()
    for label in (*places, *(label for label in described if label not in (*places, root))):
        name = described.get(label, "")
        if not name:
            name, rule = label, "the label is the name"
            fixes.append(Fix("no description", label, name, "", name, rule))
        if name in taken:
            before, name = name, f"{name} {label}"
            fixes.append(Fix("same name", label, name, before, name, "the label is added"))
        names[label] = name
        taken.add(name)
    return names


def _chosen_parents(settings: Clusters, names: Mapping[str, str]) -> dict[str, str]:
    """The labels of the parents that the config sets, by label; "" for the top."""
    labels, key = list(names), "clusters.parents"
    shown = list(names.values())
    return {
        labels[find_class(child, key, labels, shown)]: (
            labels[find_class(parent, key, labels, shown)] if parent else ""
        )
        for child, parent in settings.parents.items()
    }


def _place_fixes(
    label: str, place: _Places, parent: str, rule: str, names: Mapping[str, str]
) -> Iterator[Fix]:
    """The fixes of the places of one class."""

    def name(above: str) -> str:
        return names.get(above, above) or "top"

    after = name(parent)
    if len(place.parents) > 1 or parent not in (*place.parents, ""):
        before = "; ".join(map(name, place.parents))
        yield Fix("several parents", label, names[label], before, after, rule)
    if place.wholes:
        before = "; ".join(
            [*map(name, place.parents), *(f"part of {name(whole)}" for whole in place.wholes)]
        )
        after = f"{after}, part of {name(place.wholes[0])}"
        rule = "parts are apart, and the first whole counts"
        yield Fix("part", label, names[label], before, after, rule)
    elif len(place.parents) == 1 and place.count > 1:
        rule = "what repeats below a repeated class is one place"
        yield Fix("copy", label, names[label], f"{place.count} x {name(parent)}", after, rule)


def _open_loops(
    places: Mapping[str, _Places],
    parents: dict[str, str],
    chosen: Mapping[str, str],
    place: str,
    names: Mapping[str, str],
    fixes: list[Fix],
) -> None:
    """Give every class that stands below itself its next place, or the top."""
    for label in parents:
        if not _is_below_itself(label, parents):
            continue
        if label in chosen and all(above in chosen for above in _loop(label, parents)):
            raise UserError(f"clusters.parents: {names[label]} would stand below itself")
        if label in chosen:
            continue  # another class of the loop gives way
        before = names[parents[label]]
        options = [above for above in places[label].ranked(place) if above in names]
        for option in (*options, ""):
            parents[label] = option
            if not _is_below_itself(label, parents):
                break
        after = names.get(parents[label], "top")
        fixes.append(Fix("loop", label, names[label], before, after, "the next place counts"))


def _loop(label: str, parents: Mapping[str, str]) -> list[str]:
    """The classes above a class, up to the first that comes again, or to the top."""
    above, seen = parents[label], []
    while above and above not in seen:
        seen.append(above)
        above = parents[above]
    return seen


def _is_below_itself(label: str, parents: Mapping[str, str]) -> bool:
    return label in _loop(label, parents)


def _assemble(
    source: Path,
    nodes: Sequence[Node],
    names: Mapping[str, str],
    parents: Mapping[str, str],
    wholes: Mapping[str, str],
) -> Hierarchy:
    """The tree of the classes in `parents`, in its order."""
    labels = list(parents)
    if len(labels) > MAX_CLASSES:
        raise UserError(f"{source}: {len(labels)} classes; at most {MAX_CLASSES:,} are supported")
    row = {label: number for number, label in enumerate(labels)} | {"": TOP}
    kept = [number for number, node in enumerate(nodes) if node.label in parents]
    node_row = {number: new for new, number in enumerate(kept)}
    return Hierarchy(
        labels=labels,
        names=[names[label] for label in labels],
        parent=np.array([row[parents[label]] for label in labels], np.int16),
        level=np.array([len(_loop(label, parents)) for label in labels], np.int8),
        part_of=np.array([row.get(wholes.get(label, ""), TOP) for label in labels], np.int16),
        node_class=np.array([row[nodes[number].label] for number in kept], np.int16),
        node_parent=np.array([_kept_above(nodes, n, node_row) for n in kept], np.int32),
        node_part=np.array([nodes[number].part for number in kept], np.int8),
    )


def _kept_above(nodes: Sequence[Node], number: int, node_row: Mapping[int, int]) -> int:
    """The row of the nearest node above that is kept."""
    above = nodes[number].above
    while above != TOP and above not in node_row:
        above = nodes[above].above
    return node_row.get(above, TOP)
