"""Planted faults: as many as asked for, none where none can be, each with its truth."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lib.config.scenes import Faults
from lib.data.synthetic.scenes.annotation import SceneObject
from lib.data.synthetic.scenes.class_tree import generate_tree, walk
from lib.data.synthetic.scenes.faults import LEVEL_0, Annotator, plant_in_tree

NONE = dict.fromkeys(Faults.__dataclass_fields__, 0.0)
TREE = generate_tree(60, 1)
DEEP = next(label for label in TREE.labels if len(TREE.ancestors(label)) == 2)
TOP = next(label for label in TREE.labels if not TREE.parents(label) and TREE.top[DEEP] != label)


def annotator(**faults: float) -> Annotator:
    ancestors = {label: TREE.ancestors(label) for label in TREE.labels}
    return Annotator(TREE, ancestors, Faults(**NONE | faults), TREE.labels)


def seen(label: str, box=(0.1, 0.6, 0.2, 0.9)) -> SceneObject:
    return SceneObject(label, "test", box)


def annotate(label: str, seed: int = 0, **faults: float):
    return annotator(**faults).annotate("a", [seen(label)], np.random.default_rng(seed))


def test_without_faults_the_labels_are_the_class_and_its_ancestors():
    annotation = annotate(DEEP)
    assert annotation.objects == [seen(DEEP)]
    positive = {label for label, confidence in annotation.labels if confidence}
    assert positive == {DEEP, *TREE.ancestors(DEEP)}
    absent = [label for label, confidence in annotation.labels if not confidence]
    assert len(absent) == 2
    assert not set(absent) & positive
    assert annotation.faults == []


def test_each_kind_is_planted_when_its_fraction_is_one():
    two = annotate(DEEP, two_levels=1.0)
    assert two.objects[0] == seen(DEEP)
    assert two.objects[1].label == two.faults[0].other
    assert two.faults[0].other in TREE.ancestors(DEEP)
    missing = annotate(DEEP, missing_box=1.0)
    assert missing.objects == []
    assert (DEEP, 1) in missing.labels
    wrong = annotate(DEEP, wrong_label=1.0)
    assert wrong.objects[0].label == wrong.faults[0].other
    assert (wrong.faults[0].label, wrong.faults[0].box) == (DEEP, seen(DEEP).box)
    assert (DEEP, 1) not in wrong.labels
    lacking = annotate(DEEP, missing_ancestor=1.0)
    assert [label for label, confidence in lacking.labels if confidence] == [DEEP]
    assert set(lacking.faults[0].other.split("|")) == set(TREE.ancestors(DEEP))


def test_a_class_without_ancestors_has_no_faults_of_them():
    annotation = annotate(TOP, two_levels=1.0, missing_ancestor=1.0)
    assert (annotation.faults, annotation.objects) == ([], [seen(TOP)])


def test_a_box_is_not_missing_where_another_of_its_class_is():
    """Nothing would tell a reader that it is."""
    objects = [seen(DEEP), seen(DEEP, (0.7, 0.8, 0.1, 0.2))]
    annotation = annotator(missing_box=1.0).annotate("a", objects, np.random.default_rng(0))
    assert annotation.objects == objects


labels = st.lists(st.sampled_from(TREE.labels), min_size=1, max_size=6)


@given(labels, st.integers(0, 10**6), st.floats(0, 1))
def test_every_change_of_the_boxes_is_a_listed_fault(present, seed, fraction):
    rng = np.random.default_rng(seed)
    truth = [seen(label, (0.1 * n, 0.1 * n + 0.05, 0.2, 0.9)) for n, label in enumerate(present)]
    careless = annotator(two_levels=fraction, missing_box=fraction, wrong_label=fraction)
    annotation = careless.annotate("a", truth, rng)
    kept = {found.box: found.label for found in annotation.objects}
    of_kind = {
        kind: {(fault.box, fault.label) for fault in annotation.faults if fault.kind == kind}
        for kind in ("two_levels", "missing_box", "wrong_label")
    }
    boxes = {found.box: found.label for found in truth}
    assert of_kind["missing_box"] == {(b, label) for b, label in boxes.items() if b not in kept}
    assert of_kind["wrong_label"] == {
        (b, label) for b, label in boxes.items() if b in kept and kept[b] != label
    }
    assert len(kept) == len(truth) - len(of_kind["missing_box"]) + len(of_kind["two_levels"])
    assert {label for label, _ in annotation.labels} >= set(kept.values())


@given(st.integers(0, 1000), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_faults_of_the_hierarchy_are_as_listed(seed, twice, parents, descriptions):
    settings = Faults(
        **NONE
        | {
            "placed_twice": twice,
            "missing_parent": parents,
            "missing_description": descriptions,
        }
    )
    boxed = TREE.labels[:30]
    faulty, faults = plant_in_tree(TREE, settings, boxed, seed)
    assert len({fault.label for fault in faults}) == len(faults)
    nodes = [
        (node["LabelName"], kind, parent["LabelName"]) for node, kind, parent in walk(faulty.root)
    ]
    before = [
        (node["LabelName"], kind, parent["LabelName"]) for node, kind, parent in walk(TREE.root)
    ]
    for fault in faults:
        places = [(kind, parent) for label, kind, parent in nodes if label == fault.label]
        true = [(kind, parent) for label, kind, parent in before if label == fault.label]
        if fault.kind == "placed_twice":
            assert len(places) == 2
            other = ("Subcategory", TREE.root["LabelName"])
            if fault.other != LEVEL_0:
                other = ("Part", fault.other)
                assert TREE.top[fault.label] != fault.other
            assert other in places
        elif fault.kind == "missing_parent":
            assert places == []
            assert fault.label in faulty.names
            assert fault.label not in boxed
        else:
            assert fault.label not in faulty.names
            assert len(places) == len(true)
    gone = {fault.label for fault in faults if fault.kind == "missing_parent"}
    assert set(faulty.labels) == set(TREE.labels) - gone
    for label in faulty.labels:
        if label not in {fault.label for fault in faults}:
            assert set(faulty.ancestors(label)) == set(TREE.ancestors(label)) - gone
    assert len([f for f in faults if f.kind == "missing_description"]) <= len(boxed)
