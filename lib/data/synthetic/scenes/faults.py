"""Annotation faults, planted with their truth: in boxes, in image-level labels, in the hierarchy.

    two_levels           an object has a second box, whose label is an ancestor of its class
    missing_box          an object whose class the image-level labels name has no box
    wrong_label          a box has the label of another class, and so have the image-level labels
    missing_ancestor     the image-level labels name a class, but not its ancestors
    placed_twice         a class has a second place in the hierarchy: at level 0, or as a Part
    missing_parent       a class with children has a description, but no place in the hierarchy
    missing_description  a class has a place in the hierarchy, but no description

They are the faults of the article "Solving class imbalance on Google open images". All but
`wrong_label` contradict another file of the same folder, so that a reader can find each of them.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from lib.config.scenes import Faults
from lib.data.synthetic.scenes.annotation import SceneObject
from lib.data.synthetic.scenes.class_tree import ClassTree, Node, walk
from lib.data.synthetic.scenes.pictures.photographs import Box

JITTER = 0.012  # of the sides of a second box: its IoU with the first stays above 0.9
NUM_ABSENT = 2  # labels that people verified to be absent, of an image
LEVEL_0 = "level 0"


@dataclass(frozen=True)
class Fault:
    """A planted fault.

    kind: as above. image: ImageID, or "" in the hierarchy. label: the true class. other: the label
    that the box has, the ancestors that are missing (with bars), or where the second place is.
    box: of the object, if it is one.
    """

    kind: str
    image: str
    label: str
    other: str = ""
    box: Box | None = None


@dataclass(frozen=True)
class Annotation:
    """What the tables say of an image: its boxes, and its labels with a confidence of 1 or 0."""

    image: str
    objects: list[SceneObject]
    labels: list[tuple[str, int]]
    faults: list[Fault] = field(default_factory=list)


def plant_in_tree(
    tree: ClassTree, settings: Faults, boxed: Sequence[str], seed: int
) -> tuple[ClassTree, list[Fault]]:
    """The hierarchy with faults, and what they are.

    boxed: labels that objects may have; the classes placed twice or without a description are
    among them. A class has one of these faults at most.
    """
    rng = np.random.default_rng([seed, 27])
    root, names = copy.deepcopy(tree.root), dict(tree.names)
    places: dict[str, list[tuple[Node, str, Node]]] = {}
    for place in walk(root):
        places.setdefault(place[0]["LabelName"], []).append(place)
    once = {label for label, found in places.items() if len(found) == 1}
    order = [boxed[row] for row in rng.permutation(len(boxed)).tolist()]
    leaves = [
        label
        for label in order
        if label in once and set(places[label][0][0]) == {"LabelName"} and tree.parents(label)
    ]
    faults = []
    for label in leaves[: _share(settings.placed_twice, len(boxed))]:
        faults.append(_place_twice(tree, root, places, label, rng))
    used = {fault.label for fault in faults}
    free = [label for label in order if label not in used and label in names]
    for label in free[: _share(settings.missing_description, len(boxed))]:
        del names[label]
        faults.append(Fault("missing_description", "", label))
    used |= {fault.label for fault in faults}
    inner = [
        label
        for label in tree.labels
        if label in once - used - set(boxed)
        and label in names
        and places[label][0][1] == "Subcategory"
        and set(places[label][0][0]) == {"LabelName", "Subcategory"}
    ]
    count = _share(settings.missing_parent, len(inner))
    for row in rng.permutation(len(inner))[:count].tolist():
        node, kind, parent = places[inner[row]][0]
        siblings = parent[kind]
        at = next(place for place, sibling in enumerate(siblings) if sibling is node)
        siblings[at : at + 1] = node["Subcategory"]
        for child in node["Subcategory"]:  # whose parent may be the next to be removed
            label = child["LabelName"]
            places[label] = [
                (found, way, parent if found is child else above)
                for found, way, above in places[label]
            ]
        faults.append(Fault("missing_parent", "", inner[row], parent["LabelName"]))
    return ClassTree(root, names), faults


def _share(fraction: float, count: int) -> int:
    return round(fraction * count)


def _place_twice(
    tree: ClassTree,
    root: Node,
    places: dict[str, list[tuple[Node, str, Node]]],
    label: str,
    rng: np.random.Generator,
) -> Fault:
    """Give a class without children a second place: at level 0, or as a Part of a stranger."""
    strangers = [
        child
        for child in root["Subcategory"]
        if child.get("Subcategory") and child["LabelName"] != tree.top[label]
    ]
    if not strangers or rng.uniform() < 0.5:
        at = int(rng.integers(len(root["Subcategory"]) + 1))
        root["Subcategory"].insert(at, {"LabelName": label})
        return Fault("placed_twice", "", label, LEVEL_0)
    whole = strangers[int(rng.integers(len(strangers)))]
    whole.setdefault("Part", []).append({"LabelName": label})
    return Fault("placed_twice", "", label, whole["LabelName"])


@dataclass(frozen=True)
class Annotator:
    """Annotates scenes as people do: with faults.

    tree: the hierarchy without faults. ancestors: of each class, nearest first, in its true place.
    classes: labels that a wrong label is taken from. removed: classes that have no place in the
    hierarchy that readers get.
    """

    tree: ClassTree
    ancestors: dict[str, tuple[str, ...]]
    settings: Faults
    classes: tuple[str, ...]
    removed: frozenset[str] = frozenset()

    def annotate(
        self, image: str, truth: Sequence[SceneObject], rng: np.random.Generator
    ) -> Annotation:
        """The boxes and labels of an image.

        truth: its objects, each with a box. A fault of one kind excludes the others of an object.
        """
        chance = rng.uniform(size=(len(truth), 3))
        objects, faults, sound = [], [], []
        for found, (wrong, levels, _) in zip(truth, chance.tolist(), strict=True):
            other = self._confused(found.label, rng) if wrong < self.settings.wrong_label else ""
            ancestors = [a for a in self.ancestors[found.label] if a not in self.removed]
            if other:
                faults.append(Fault("wrong_label", image, found.label, other, found.box))
                objects.append(replace(found, label=other))
            elif ancestors and levels < self.settings.two_levels:
                above = ancestors[int(rng.integers(len(ancestors)))]
                faults.append(Fault("two_levels", image, found.label, above, found.box))
                objects += [found, replace(found, label=above, box=_jitter(found.box, rng))]
            else:
                sound.append(len(objects))
                objects.append(found)
        present = dict.fromkeys(found.label for found in objects)
        missing = self._missing_boxes(objects, sound, rng)
        faults += [
            Fault("missing_box", image, objects[n].label, "", objects[n].box) for n in missing
        ]
        kept = [found for n, found in enumerate(objects) if n not in missing]
        labels, lacking = self._labels(image, list(present), rng)
        return Annotation(image, kept, labels, faults + lacking)

    def _confused(self, label: str, rng: np.random.Generator) -> str:
        """A label that an annotator may take a class for: of the same parent, or any."""
        related = {label, *self.tree.ancestors(label)}
        others = [
            other
            for other in self.classes
            if other not in related and label not in self.tree.ancestors(other)
        ]
        parents = set(self.tree.parents(label))
        siblings = [other for other in others if parents & set(self.tree.parents(other))]
        pool = siblings if siblings and rng.uniform() < 0.5 else others
        return pool[int(rng.integers(len(pool)))] if pool else ""

    def _missing_boxes(
        self, objects: list[SceneObject], sound: list[int], rng: np.random.Generator
    ) -> set[int]:
        """Objects to leave out: those whose class, and what is below it, has no other box."""
        missing: set[int] = set()
        chance = rng.uniform(size=len(sound))
        for number in np.array(sound, np.int64)[chance < self.settings.missing_box].tolist():
            label = objects[number].label
            others = [o.label for n, o in enumerate(objects) if n != number and n not in missing]
            below = [o for o in others if o == label or label in self.ancestors[o]]
            if not below:
                missing.add(number)
        return missing

    def _labels(
        self, image: str, present: list[str], rng: np.random.Generator
    ) -> tuple[list[tuple[str, int]], list[Fault]]:
        """Image-level labels: what is present with its ancestors, and a few that are absent."""
        above = {label: set(self.ancestors[label]) - self.removed for label in present}
        lacking: set[str] = set()
        faults = []
        if rng.uniform() < self.settings.missing_ancestor:
            for row in rng.permutation(len(present)).tolist():
                label = present[row]
                needed = set(present).union(*(above[other] for other in present if other != label))
                lacking = above[label] - needed
                if lacking:
                    named = "|".join(sorted(lacking))
                    faults.append(Fault("missing_ancestor", image, label, named))
                    break
        positive = dict.fromkeys(present) | dict.fromkeys(
            ancestor for label in present for ancestor in sorted(above[label] - lacking)
        )
        known = set(positive) | lacking
        absent = [label for label in self.classes if label not in known]
        picked = rng.permutation(len(absent))[:NUM_ABSENT].tolist()
        labels = [(label, 1) for label in positive] + [(absent[row], 0) for row in picked]
        return labels, faults


def _jitter(box: Box | None, rng: np.random.Generator) -> Box:
    """Nearly the same box, as a second annotator draws it."""
    assert box is not None
    x_min, x_max, y_min, y_max = box
    wide, high = JITTER * (x_max - x_min), JITTER * (y_max - y_min)
    shift = rng.uniform(-1, 1, 4) * (wide, wide, high, high)
    moved = np.clip(np.array(box) + shift, 0, 1).tolist()
    return moved[0], moved[1], moved[2], moved[3]
