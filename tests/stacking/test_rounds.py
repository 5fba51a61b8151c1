"""One number of rounds for a layer, and what a watched row is worth."""

import numpy as np
import pytest

from lib.stacking import rounds


def test_the_best_round_is_that_of_the_mean_over_the_shortest_curve():
    curves = [[0.9, 0.5, 0.4, 0.1], [0.8, 0.4, 0.6], [0.7, 0.6, 0.5, 0.0, 0.0]]
    count, mean = rounds.best(curves)
    assert count == 2
    np.testing.assert_allclose(mean, [0.8, 0.5, 0.5])


def test_an_empty_curve_is_refused():
    with pytest.raises(ValueError, match="no rounds"):
        rounds.best([[0.3], []])


def test_the_loss_of_rows_is_bounded():
    score = np.array([0.9, 0.2, 0.0], np.float32)
    expected = -np.log([0.9, 0.8, 1e-7]).mean()
    assert rounds.row_loss(score, np.array([1, 0, 1], np.int8)) == pytest.approx(expected, rel=1e-6)
