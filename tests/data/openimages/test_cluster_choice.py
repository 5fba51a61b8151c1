"""The clusters of small trees, against all choices there are, and the properties of larger ones."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.data.openimages.cluster_choice import (
    Choice,
    choose_clusters,
    cluster_of_classes,
    cluster_sizes,
    worth,
)


def make_choice(parent: list[int], images: list[int], **settings) -> Choice:
    """A choice among classes; each parent stands before its children."""
    level: list[int] = []
    for upper in parent:
        level.append(level[upper] + 1 if upper >= 0 else 0)
    none = np.zeros(len(parent), bool)
    values = dict(forced=none, barred=none, max_clusters=76, min_images=1, depth_worth=0.5)
    return Choice(parent, level, images, **values | settings)


@st.composite
def choices(draw, max_classes: int, most: int = 1, marked: str = "...fb") -> Choice:
    number = draw(st.integers(1, max_classes))
    parent = [draw(st.integers(-1, row - 1)) for row in range(number)]
    images = draw(st.lists(st.integers(0, 9), min_size=number, max_size=number))
    marks = draw(st.lists(st.sampled_from(marked), min_size=number, max_size=number))
    return make_choice(
        parent,
        images,
        forced=np.array([mark == "f" for mark in marks]),
        barred=np.array([mark == "b" for mark in marks]),
        max_clusters=draw(st.integers(1, number + 1)),
        min_images=draw(st.integers(1, most)),
        depth_worth=draw(st.sampled_from([0, 0.25, 0.5, 1, 3])),
    )


def all_sets(choice: Choice):
    """Every set of clusters that is allowed, without regard to `min_images`."""
    most = max(choice.max_clusters, int(choice.forced.sum()))
    for marks in product([False, True], repeat=len(choice.parent)):
        chosen = np.array(marks)
        allowed = (choice.forced <= chosen).all() and not (chosen & choice.barred).any()
        if allowed and chosen.sum() <= most:
            yield chosen


@given(choices(max_classes=7))
@settings(max_examples=80)
def test_no_other_choice_is_worth_more(choice):
    choice = replace(choice, min_images=0)
    chosen = choose_clusters(choice)
    sets = list(all_sets(choice))
    assert any((chosen == other).all() for other in sets)
    assert worth(choice, chosen) == pytest.approx(max(worth(choice, other) for other in sets))


@given(choices(max_classes=25, most=40))
@settings(max_examples=40)
def test_clusters_are_few_and_large_and_a_class_is_in_one_at_most(choice):
    chosen = choose_clusters(choice)
    sizes = cluster_sizes(choice, chosen)
    assert chosen.sum() <= max(choice.max_clusters, choice.forced.sum())
    assert (chosen >= choice.forced).all()
    assert not (chosen & choice.barred).any()
    assert (sizes[chosen & ~choice.forced] >= choice.min_images).all()
    cluster = cluster_of_classes(choice.parent, chosen)
    assert sizes.sum() == np.array(choice.images)[cluster >= 0].sum()
    for row, upper in enumerate(choice.parent):
        assert cluster[row] == (row if chosen[row] else cluster[upper] if upper >= 0 else -1)


@given(choices(max_classes=20, marked="...b"))
@settings(max_examples=25)
def test_more_clusters_are_worth_no_less_and_cover_no_less(choice):
    for depth_worth in (0.0, choice.depth_worth):
        values = []
        for most in (1, 2, 4, 20):
            tried = replace(choice, max_clusters=most, min_images=0, depth_worth=depth_worth)
            values.append(worth(tried, choose_clusters(tried)))  # the coverage, if depth is nothing
        assert values == sorted(values)


def chosen_rows(choice: Choice) -> list[int]:
    return np.flatnonzero(choose_clusters(choice)).tolist()


def test_a_parent_absorbs_small_children_and_a_large_one_is_split_off():
    # 0 has children 1 (large), 2 and 3 (small); 4 is alone and small.
    choice = make_choice([-1, 0, 0, 0, -1], [10, 100, 5, 6, 3], min_images=20)
    assert chosen_rows(choice) == [0, 1]
    assert cluster_sizes(choice, choose_clusters(choice)).tolist() == [21, 100, 0, 0, 0]
    assert chosen_rows(replace(choice, max_clusters=1)) == [1]  # 100 * 1.5 is more than 121
    assert chosen_rows(replace(choice, max_clusters=1, depth_worth=0.1)) == [0]
    assert chosen_rows(replace(choice, min_images=200)) == []


def test_forced_clusters_stay_whatever_the_limits():
    forced = np.array([False, False, True, True])
    choice = make_choice([-1, 0, 0, -1], [50, 50, 1, 0], forced=forced)
    choice = replace(choice, max_clusters=1, min_images=20)
    assert chosen_rows(choice) == [2, 3]
    assert chosen_rows(replace(choice, max_clusters=3)) == [0, 2, 3]
