"""The plan of scenes: the power law, the subjects and the pictures."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.config.scenes import Scenes
from lib.data.synthetic.scenes.class_tree import generate_tree
from lib.data.synthetic.scenes.plan import plan_scenes, power_law_counts, subject_classes
from lib.errors import UserError


@given(st.integers(0, 5000), st.integers(1, 300), st.floats(0, 5))
def test_counts_follow_the_power_law_and_add_up(total, num_classes, exponent):
    counts = power_law_counts(total, num_classes, exponent)
    weights = np.arange(1, num_classes + 1) ** -exponent
    assert counts.sum() == total
    assert np.abs(counts - total * weights / weights.sum()).max() < 1
    assert (np.diff(counts) <= 1).all()


def test_subjects_and_pictures_follow_from_the_settings():
    settings = Scenes(num_images=500, num_test_images=100, power_law=1.0)
    classes = tuple("abcde")
    plan = plan_scenes(settings, classes, seed=3)
    expected = power_law_counts(500, 5, 1.0)
    assert np.bincount(plan.subject[:500]).tolist() == expected.tolist()
    assert np.bincount(plan.subject[500:]).tolist() == power_law_counts(100, 5, 1.0).tolist()
    for subject in range(5):
        occurrence = plan.occurrence[plan.subject == subject]
        assert occurrence.tolist() == list(range(len(occurrence)))
    assert len(set(plan.ids)) == 600
    assert list(plan.ids[:500]) == sorted(plan.ids[:500])
    assert all(len(name) == 16 and int(name, 16) >= 0 for name in plan.ids)
    assert np.abs(np.corrcoef(np.arange(500), plan.subject[:500])[0, 1]) < 0.2


def test_a_class_without_pictures_needs_parts_that_have_some():
    tree = generate_tree(80, 1)
    whole = next(label for label in tree.labels if tree.own_parts(label))
    part = tree.own_parts(whole)[0]
    other = next(label for label in tree.labels if label not in (whole, part))
    assert set(subject_classes(tree, {part: 3, other: 1}, 80, 1)) == {part, other}
    assert len(subject_classes(tree, dict.fromkeys(tree.labels, 1), 7, 1)) == 7
    with pytest.raises(UserError, match="fewer than two classes"):
        subject_classes(tree, {part: 3}, 80, 1)
