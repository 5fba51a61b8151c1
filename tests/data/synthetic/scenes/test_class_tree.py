"""The hierarchy of scenes: relations of classes, the real file, and generated ones."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.config.scenes import DESCRIPTIONS_FILE, HIERARCHY_FILE
from lib.data.synthetic.scenes.class_tree import (
    ClassTree,
    generate_tree,
    read_tree,
    true_ancestors,
    walk,
    write_tree,
)
from lib.errors import UserError


def node(label: str, *children: dict, parts: tuple[dict, ...] = ()) -> dict:
    found: dict = {"LabelName": label}
    if children:
        found["Subcategory"] = list(children)
    if parts:
        found["Part"] = list(parts)
    return found


CAR = node("car", node("taxi"), parts=(node("wheel", node("tire")),))
TREE = ClassTree(
    node(
        "entity",
        node("vehicle", CAR, node("bus")),
        node("toy", node("bus"), node("kite")),
        node("kite"),
    ),
    {label: label.title() for label in ("vehicle", "car", "taxi", "wheel", "tire", "bus")}
    | {"toy": "Toy", "kite": "Kite"},
)


def test_a_class_is_listed_once_in_the_order_of_the_file():
    expected = ("vehicle", "car", "taxi", "wheel", "tire", "bus", "toy", "kite")
    assert expected == TREE.labels


def test_parents_are_subcategories_alone():
    assert TREE.parents("taxi") == ("car",)
    assert TREE.parents("bus") == ("vehicle", "toy")
    assert TREE.parents("wheel") == ()
    assert TREE.parents("kite") == ("toy",)


def test_ancestors_are_those_of_all_places_and_true_ones_those_of_one(tmp_path):
    write_tree(tmp_path, TREE)
    true = true_ancestors(tmp_path)
    assert TREE.ancestors("taxi") == ("car", "vehicle") == true["taxi"]
    assert TREE.ancestors("bus") == ("vehicle", "toy")
    assert true["bus"] == ("vehicle",)  # the first of two at the same level
    assert true["kite"] == ("toy",)  # deeper than at level 0
    assert TREE.ancestors("tire") == ("wheel",)
    assert TREE.top["taxi"] == "vehicle"


def test_parts_are_inherited_from_ancestors():
    assert TREE.parts("car") == ("wheel", "tire") == TREE.parts("taxi")
    assert TREE.own_parts("taxi") == () == TREE.parts("bus")


def test_the_real_hierarchy_has_its_known_counts(shared_data):
    tree = read_tree(shared_data / "openimages")
    nodes = list(walk(tree.root))
    assert (len(tree.labels), len(nodes), len(tree.names)) == (601, 847, 601)
    assert len({node["LabelName"] for node, kind, _ in nodes if kind == "Part"}) == 38
    of = {name: label for label, name in tree.names.items()}
    assert of["Vehicle registration plate"] in tree.parts(of["Taxi"])
    assert of["Laptop"] in tree.own_parts(of["Building"])


@given(st.integers(2, 120), st.integers(0, 50))
def test_a_generated_hierarchy_has_as_many_classes_as_asked_for(num_classes, seed):
    tree = generate_tree(num_classes, seed)
    assert len(tree.labels) == num_classes == len(list(walk(tree.root)))
    assert set(tree.labels) == set(tree.names)
    assert tree.root == generate_tree(num_classes, seed).root
    assert all(len(tree.parents(label)) <= 1 for label in tree.labels)


@pytest.mark.parametrize("text", ["[]", "{}", '{"LabelName": "a", "Subcategory": [{}]}', "{"])
def test_a_file_that_is_no_hierarchy_is_named(tmp_path, text):
    (tmp_path / HIERARCHY_FILE).write_text(text)
    (tmp_path / DESCRIPTIONS_FILE).write_text("a,A\n")
    with pytest.raises(UserError, match="not the hierarchy of Open Images"):
        read_tree(tmp_path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"hierarchy\.json: not found; scenes\.pictures"):
        read_tree(tmp_path)
    (tmp_path / HIERARCHY_FILE).write_text(json.dumps(TREE.root))
    with pytest.raises(UserError, match=r"boxable\.csv: not found"):
        read_tree(tmp_path)
