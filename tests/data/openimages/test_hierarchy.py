import numpy as np
import pytest

from lib.data.openimages.hierarchy import (
    Fix,
    Hierarchy,
    find_class,
    read_fixes,
    read_hierarchy,
    write_hierarchy,
)
from lib.errors import UserError


def make_hierarchy(parent: list[int]) -> Hierarchy:
    """Classes c0, c1, ... with these parents; each has one place."""
    hierarchy = Hierarchy(
        labels=[f"/m/{row}" for row in range(len(parent))],
        names=[f"c{row}" for row in range(len(parent))],
        parent=np.array(parent, np.int16),
        level=np.zeros(len(parent), np.int8),
        part_of=np.full(len(parent), -1, np.int16),
        node_class=np.arange(len(parent), dtype=np.int16),
        node_parent=np.array(parent, np.int32),
        node_part=np.zeros(len(parent), np.int8),
    )
    hierarchy.level[:] = [len(hierarchy.path(row)) - 1 for row in range(len(parent))]
    return hierarchy


def test_a_hierarchy_is_read_as_it_was_written(tmp_path):
    hierarchy = make_hierarchy([-1, 0, 1, -1, 1])
    fixes = [Fix("part", "/m/1", "c, 1", "a", 'b "c"', "rule")]
    write_hierarchy(tmp_path, hierarchy, fixes)
    read = read_hierarchy(tmp_path)
    assert read_fixes(tmp_path) == fixes
    assert (read.labels, read.names) == (hierarchy.labels, hierarchy.names)
    for name in ("parent", "level", "part_of", "node_class", "node_parent", "node_part"):
        np.testing.assert_array_equal(getattr(read, name), getattr(hierarchy, name))
    assert read.level.tolist() == [0, 1, 2, 0, 2]


def test_paths_children_and_what_is_above():
    hierarchy = make_hierarchy([-1, 0, 1, -1, 1])
    assert hierarchy.path(4) == [0, 1, 4]
    assert hierarchy.children() == [[1], [2, 4], [], [], []]
    above = {(int(i), int(j)) for i, j in zip(*np.nonzero(hierarchy.is_above), strict=True)}
    assert above == {(0, 1), (0, 2), (0, 4), (1, 2), (1, 4)}
    assert hierarchy.row_of_label["/m/3"] == 3


def test_a_class_is_found_by_name_or_label():
    hierarchy = make_hierarchy([-1, 0])
    assert hierarchy.find("c1", "key") == hierarchy.find("/m/1", "key") == 1
    with pytest.raises(UserError, match=r"^key: no class 'c9'; did you mean c0, c1\?$"):
        hierarchy.find("c9", "key")
    with pytest.raises(UserError, match="did you mean a, b"):
        find_class("zzz", "key", [], ["a", "b"])
