import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.output.report.confident_learning import (
    calibrated_counts,
    class_thresholds,
    confident_classes,
    confident_joint,
    find_label_issues,
)
from tests.output.report.parts import part_of, random_part


def reference_joint(probs, label, num_classes):
    """The confident joint as the article defines it, with loops over a dense matrix."""
    thresholds = [
        np.mean([p[c] for p, y in zip(probs, label, strict=True) if y == c])
        if any(y == c and p[c] > 0 for p, y in zip(probs, label, strict=True))
        else np.inf
        for c in range(num_classes)
    ]
    joint = np.zeros((num_classes, num_classes), int)
    true = []
    for p, y in zip(probs, label, strict=True):
        above = [c for c in range(num_classes) if p[c] > 0 and p[c] >= thresholds[c]]
        true.append(max(above, key=lambda c: (p[c], -c)) if above else -1)
        if above:
            joint[y, true[-1]] += 1
    return thresholds, joint, true


def reference_issues(probs, label, num_classes):
    """Pruning by noise rate, with loops: positions and suggested classes."""
    _, joint, _ = reference_joint(probs, label, num_classes)
    named = {}
    for y in range(num_classes):
        of_label = [i for i, own in enumerate(label) if own == y]
        for c in range(num_classes):
            if c == y or joint[y, c] == 0:
                continue
            count = round(joint[y, c] / joint[y].sum() * len(of_label))
            margin = {i: probs[i][c] - probs[i][y] for i in of_label if probs[i][c] > 0}
            order = sorted((i for i in margin if margin[i] >= 0), key=lambda i: (-margin[i], i))
            for i in order[:count]:
                if i not in named or margin[i] > named[i][1]:
                    named[i] = (c, margin[i])
    return named


@st.composite
def labelled(draw):
    """Probabilities in eighths, some of which are 0, and labels."""
    num_classes = draw(st.integers(2, 4))
    rows = draw(
        st.lists(
            st.tuples(
                st.lists(st.integers(0, 8), min_size=num_classes, max_size=num_classes),
                st.integers(0, num_classes - 1),
            ),
            min_size=1,
            max_size=25,
        )
    )
    probs = np.array([row for row, _ in rows], np.float32) / 8
    probs[probs.sum(axis=1) == 0, 0] = 0.5
    return probs, [label for _, label in rows], num_classes


@given(labelled())
@settings(max_examples=60)
def test_the_joint_is_that_of_the_definition(drawn):
    probs, label, num_classes = drawn
    part = part_of(probs, label)
    thresholds, joint, true = reference_joint(probs, label, num_classes)
    np.testing.assert_allclose(class_thresholds(part, num_classes), thresholds, rtol=1e-6)
    found = confident_classes(part, num_classes)
    assert found.tolist() == true
    counted = np.zeros_like(joint)
    pairs = confident_joint(part.label, found)
    counted[pairs.label, pairs.true] = pairs.number
    np.testing.assert_array_equal(counted, joint)
    counts = calibrated_counts(pairs, part.label, num_classes)
    for y in np.unique(pairs.label):
        assert counts[pairs.label == y].sum() == pytest.approx((part.label == y).sum())


@given(labelled())
@settings(max_examples=60)
def test_the_issues_are_those_of_the_definition(drawn):
    probs, label, num_classes = drawn
    expected = reference_issues(probs, label, num_classes)
    found = find_label_issues(part_of(probs, label), num_classes)
    assert set(found.position.tolist()) == set(expected)
    for i, margin in zip(found.position.tolist(), found.margin.tolist(), strict=True):
        assert margin == pytest.approx(expected[i][1], abs=1e-6)
    assert (np.diff(found.margin) <= 0).all()
    assert all(c != label[i] for i, c in zip(found.position, found.suggested, strict=True))


def test_planted_wrong_labels_are_found_and_few_others():
    part = random_part(3000, 6, seed=2)
    rng = np.random.default_rng(3)
    clear = np.flatnonzero(part.correct & (part.probability > 0.7))
    planted = rng.choice(clear, 100, replace=False)
    label = part.label.copy()
    label[planted] = (label[planted] + rng.integers(1, 6, 100)) % 6
    probs = np.zeros((3000, 6), np.float32)
    probs[part.row_product, part.row_class] = part.row_probability
    found = find_label_issues(part_of(probs, label), 6)
    hits = np.isin(planted, found.position)
    assert hits.mean() > 0.9
    place = {int(i): c for i, c in zip(found.position, found.suggested, strict=True)}
    assert all(place[i] == part.label[i] for i in planted[hits].tolist())
    assert np.isin(found.position[:60], planted).mean() > 0.7  # others are wrong by chance


def test_perfect_probabilities_and_labels_have_no_issue():
    assert (
        len(find_label_issues(part_of(np.eye(4)[[0, 1, 2, 3] * 5], [0, 1, 2, 3] * 5), 4).position)
        == 0
    )
