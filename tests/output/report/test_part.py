import numpy as np
import pytest

from tests.output.report.parts import part_of, random_part

PROBS = [[0.1, 0.6, 0.3], [0.7, 0.0, 0.2], [0.0, 0.0, 0.9]]


def test_the_most_probable_class_is_the_prediction():
    part = part_of(PROBS, [1, 2, 0])
    assert part.best.tolist() == [1, 0, 2]
    assert part.correct.tolist() == [True, False, False]
    np.testing.assert_allclose(part.probability, [0.6, 0.7, 0.9])


def test_top_classes_come_best_first_and_only_from_candidates():
    tops = part_of(PROBS, [1, 2, 0]).top_classes(np.array([0, 2]), 2)
    assert [[top.class_id for top in row] for row in tops] == [[1, 2], [2]]
    assert tops[0][0].probability == pytest.approx(0.6)


def test_a_label_that_is_no_candidate_has_no_probability():
    np.testing.assert_allclose(part_of(PROBS, [1, 2, 0]).own_probability(), [0.6, 0.2, 0])


def test_own_probabilities_are_those_of_the_rows():
    part = random_part(50, 4)
    expected = [
        part.row_probability[(part.row_product == p) & (part.row_class == c)][0]
        for p, c in zip(part.product, part.label, strict=True)
    ]
    np.testing.assert_array_equal(part.own_probability(), expected)
