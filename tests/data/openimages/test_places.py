"""The tree of the classes: the counts of the published file, each fault, and random trees."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.config.clusters import Clusters
from lib.data.openimages.hierarchy import Fix, Hierarchy
from lib.data.openimages.places import read_hierarchy_file
from lib.errors import UserError

JSON, CSV = "bbox_labels_600_hierarchy.json", "class-descriptions-boxable.csv"


def tree(label: str, *kinds: dict, parts: tuple = ()) -> dict[str, Any]:
    """A node of the file."""
    node: dict[str, Any] = {"LabelName": label}
    if kinds:
        node["Subcategory"] = list(kinds)
    if parts:
        node["Part"] = list(parts)
    return node


def read(
    folder: Path, root: dict, names: dict[str, str] | None = None, **settings: Any
) -> tuple[Hierarchy, list[Fix]]:
    (folder / JSON).write_text(json.dumps(root))
    known = names if names is not None else {label: f"name of {label}" for label in "abcdefg"}
    (folder / CSV).write_text("".join(f"{label},{name}\n" for label, name in known.items()))
    return read_hierarchy_file(folder / JSON, folder / CSV, Clusters(**settings))


def parents(hierarchy: Hierarchy) -> dict[str, str]:
    """The label of the parent of each label; "" on top."""
    labels = [*hierarchy.labels, ""]
    return dict(zip(hierarchy.labels, (labels[row] for row in hierarchy.parent), strict=True))


def faults(fixes: list[Fix], *ignored: str) -> dict[str, list[str]]:
    """The labels of each fault; ignored: faults that are no matter."""
    found: dict[str, list[str]] = {}
    for fix in fixes:
        if fix.fault not in ("no place", *ignored):
            found.setdefault(fix.fault, []).append(fix.label)
    return found


def test_the_published_file_has_the_counts_of_the_article(shared_data):
    folder = shared_data / "openimages"
    hierarchy, fixes = read_hierarchy_file(folder / JSON, folder / CSV, Clusters())
    assert len(hierarchy) == 601
    assert len(hierarchy.node_class) + 1 == 848  # with the root
    assert Counter(hierarchy.level.tolist()) == {0: 90, 1: 231, 2: 226, 3: 47, 4: 7}
    assert (hierarchy.part_of >= 0).sum() == 38
    assert (hierarchy.node_part == 1).sum() == 53
    counts = Counter(fix.fault for fix in fixes)
    assert counts == {"several parents": 45, "part": 38, "copy": 107, "no description": 1}
    places = np.bincount(hierarchy.node_class)
    assert (places > 1).sum() == 190 == 45 + 38 + 107
    assert places.max() == 5
    assert len(set(hierarchy.names)) == 601
    named = {hierarchy.names[row]: hierarchy.path(row) for row in range(601)}
    for name, path in {
        "Bicycle": ["Vehicle", "Land vehicle", "Bicycle"],
        "Knife": ["Kitchenware", "Kitchen utensil", "Knife"],
        "Hat": ["Clothing", "Fashion accessory", "Hat"],
        "Human eye": ["Human eye"],
        "Vehicle registration plate": ["Auto part", "Vehicle registration plate"],
    }.items():
        assert [hierarchy.names[row] for row in named[name]] == path


def test_the_published_file_without_mending_mixes_kinds_and_parts(shared_data):
    folder = shared_data / "openimages"
    settings = Clusters(mend=False)
    hierarchy, fixes = read_hierarchy_file(folder / JSON, folder / CSV, settings)
    assert not fixes
    assert (hierarchy.level == 0).sum() == 54
    row = hierarchy.names.index("Guitar")
    path = [hierarchy.names[above] for above in hierarchy.path(row)]
    assert path == ["Building", "Musical instrument", "Guitar"]


def test_another_parent_can_be_chosen_by_rule_or_by_name(shared_data):
    folder = shared_data / "openimages"
    settings = Clusters(place="shallow", parents={"Tank": "Land vehicle", "/m/0kmg4": ""})
    hierarchy, _ = read_hierarchy_file(folder / JSON, folder / CSV, settings)
    names = {
        name: hierarchy.names[hierarchy.parent[row]] if hierarchy.parent[row] >= 0 else ""
        for row, name in enumerate(hierarchy.names)
    }
    assert names["Bicycle"] == "Sports equipment"
    assert names["Tank"] == "Land vehicle"
    assert names["Teddy bear"] == ""


def test_a_part_is_no_subcategory(tmp_path):
    root = tree("root", tree("a", tree("b"), parts=(tree("c", tree("d")),)), tree("c", tree("d")))
    hierarchy, fixes = read(tmp_path, root)
    assert parents(hierarchy) | {"e": "", "f": "", "g": ""} == parents(hierarchy)
    assert {label: parents(hierarchy)[label] for label in "abcd"} == dict(a="", b="a", c="", d="c")
    assert hierarchy.part_of.tolist()[:4] == [-1, -1, 0, -1]
    assert faults(fixes) == {"part": ["c"], "copy": ["d"], "no description": ["root"]}


def test_a_class_that_is_only_a_part_stands_on_top(tmp_path):
    hierarchy, _ = read(tmp_path, tree("root", tree("a", parts=(tree("b", tree("c")),))))
    assert {label: parents(hierarchy)[label] for label in "abc"} == dict(a="", b="", c="b")
    assert hierarchy.part_of[hierarchy.labels.index("b")] == hierarchy.labels.index("a")


@pytest.mark.parametrize(("place", "parent"), [("deep", "c"), ("shallow", "a")])
def test_of_several_parents_the_rule_takes_one(tmp_path, place, parent):
    root = tree("root", tree("a", tree("d")), tree("b", tree("c", tree("d"))), tree("e", tree("d")))
    hierarchy, fixes = read(tmp_path, root, place=place)
    assert parents(hierarchy)["d"] == parent
    (line,) = (fix for fix in fixes if fix.fault == "several parents")
    assert line.before == "name of a; name of c; name of e"
    assert line.after == f"name of {parent}"


def test_names_and_places_that_lack_are_named(tmp_path):
    root = tree("root", tree("a"), tree("x"))
    names = {"root": "Entity", "a": "same", "b": "same"}
    hierarchy, fixes = read(tmp_path, root, names)
    assert dict(zip(hierarchy.labels, hierarchy.names, strict=True)) == {
        "a": "same",
        "x": "x",
        "b": "same b",
    }
    assert [(fix.fault, fix.label) for fix in fixes] == [
        ("no description", "x"),
        ("same name", "b"),
        ("no place", "b"),
    ]
    first_places, _ = read(tmp_path, root, names, mend=False)
    assert first_places.labels == ["a"]


def test_a_class_below_itself_loses_that_place(tmp_path):
    hierarchy, fixes = read(tmp_path, tree("root", tree("a", tree("b", tree("a", tree("c"))))))
    assert {label: parents(hierarchy)[label] for label in "abc"} == dict(a="", b="a", c="a")
    assert faults(fixes, "copy", "no description")["loop"] == ["a"]
    crossed = tree("root", tree("a", tree("b")), tree("b", tree("a")))
    hierarchy, fixes = read(tmp_path, crossed)
    assert sorted(parents(hierarchy)[label] for label in "ab") == ["", "a"]
    assert len(faults(fixes)["loop"]) == 1


def test_the_root_below_itself_is_no_class(tmp_path):
    hierarchy, fixes = read(tmp_path, tree("root", tree("a", tree("root", tree("b")))))
    assert "root" not in hierarchy.labels
    assert parents(hierarchy)["b"] == ""
    assert faults(fixes)["below itself"] == ["root"]


def test_chosen_parents_are_checked(tmp_path):
    root = tree("root", tree("a", tree("b")))
    with pytest.raises(UserError, match="no class 'nam of a'; did you mean name of a"):
        read(tmp_path, root, parents={"b": "nam of a"})
    with pytest.raises(UserError, match=r"clusters\.parents: name of a would stand below itself"):
        read(tmp_path, root, parents={"a": "b", "b": "a"})
    hierarchy, _ = read(tmp_path, root, parents={"a": "b"})  # b gives way
    assert {label: parents(hierarchy)[label] for label in "ab"} == dict(a="b", b="")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not a JSON file"),
        ("[" * 100_000, "not a JSON file"),
        ("[]", "the root has no LabelName"),
        ('{"LabelName": "root"}', "no class below root"),
        ('{"LabelName": "root", "Subcategory": {}}', "Subcategory of root is not a list"),
        ('{"LabelName": "root", "Part": [{"Label": 1}]}', "a class below root has no LabelName"),
    ],
)
def test_a_file_that_is_no_hierarchy_is_one_line(tmp_path, text, words):
    (tmp_path / JSON).write_text(text)
    with pytest.raises(UserError, match=words) as error:
        read_hierarchy_file(tmp_path / JSON, tmp_path / CSV, Clusters())
    assert str(error.value).startswith(str(tmp_path / JSON))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no class in it"),
        (b"LabelName,DisplayName\n", "no class in it"),
        (b"a,b,c\n", "line 1: not a label and a name"),
        (b'a,"b\n', "not a CSV table"),
        (b"a,\xff\n", "not a CSV table in UTF-8"),
    ],
)
def test_a_file_that_has_no_names_is_one_line(tmp_path, data, words):
    (tmp_path / JSON).write_text(json.dumps(tree("root", tree("a"))))
    (tmp_path / CSV).write_bytes(data)
    with pytest.raises(UserError, match=words) as error:
        read_hierarchy_file(tmp_path / JSON, tmp_path / CSV, Clusters())
    assert "\n" not in str(error.value)


def test_files_that_lack_name_their_setting(tmp_path):
    with pytest.raises(UserError, match=r"no such file; set data\.hierarchy"):
        read_hierarchy_file(tmp_path / JSON, tmp_path / CSV, Clusters())
    (tmp_path / JSON).write_text(json.dumps(tree("root", tree("a"))))
    with pytest.raises(UserError, match=r"no such file; set data\.class_descriptions"):
        read_hierarchy_file(tmp_path / JSON, tmp_path / CSV, Clusters())


LABELS = st.sampled_from("abcdefgr")  # r is the root
TREES = st.recursive(
    st.builds(tree, LABELS),
    lambda inner: st.builds(
        lambda label, kinds, parts: tree(label, *kinds, parts=tuple(parts)),
        LABELS,
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=2),
    ),
    max_leaves=25,
)


@settings(max_examples=40)
@given(st.lists(TREES, min_size=1, max_size=5), st.booleans(), st.sampled_from(["deep", "shallow"]))
def test_every_class_has_one_place_and_no_loop(tmp_path_factory, kinds, mend, place):
    folder = tmp_path_factory.mktemp("tree")
    names = {label: label.upper() for label in "abcdh"}  # e, f, g have none; h has no place
    hierarchy, _ = read(folder, tree("r", *kinds), names, mend=mend, place=place)
    assert len(set(hierarchy.labels)) == len(hierarchy) == len(set(hierarchy.names))
    if mend:
        assert "r" not in hierarchy.labels
        assert "h" in hierarchy.labels
    for row, label in enumerate(hierarchy.labels):
        path = hierarchy.path(row)
        assert len(path) == hierarchy.level[row] + 1
        assert len(set(path)) == len(path)
        assert not hierarchy.is_above[row, row]
        assert label in names or mend
    known = {
        (row, int(hierarchy.node_class[above]) if above >= 0 else -1)
        for row, above in zip(
            hierarchy.node_class.tolist(), hierarchy.node_parent.tolist(), strict=True
        )
    }
    placed = {row for row, _ in known}
    for row, parent in enumerate(hierarchy.parent.tolist()):
        assert row not in placed or parent == -1 or (row, parent) in known
