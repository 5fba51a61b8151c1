"""The study of numbers of categories and drawings, and its regression."""

import numpy as np
import pytest

from lib.errors import UserError
from studies import quickdraw_classes, trials


def test_the_grid_has_a_row_for_each_trial(experiment, arguments, read_csv):
    data = trials.load_drawings(experiment)
    grid = arguments(drawings=[10, 20], categories=[2, 3], seeds=2)
    quickdraw_classes.study(grid, experiment, data)
    rows = read_csv("classes_quickdraw")
    cells = {(row["categories"], row["drawings"], row["seed"]) for row in rows}
    assert len(rows) == len(cells) == 8


def test_a_grid_that_cannot_be_fitted_or_filled_is_an_error(experiment, arguments):
    data = trials.load_drawings(experiment)
    with pytest.raises(UserError, match="two numbers of drawings"):
        quickdraw_classes.study(arguments(drawings=[20], categories=[2, 3]), experiment, data)
    with pytest.raises(UserError, match="lower --drawings"):
        quickdraw_classes.study(arguments(drawings=[10, 46], categories=[2, 4]), experiment, data)


def test_the_regression_finds_known_coefficients():
    rng = np.random.default_rng(0)
    rows = [
        {
            "categories": categories,
            "drawings": drawings,
            "seed": seed,
            "accuracy": 0.95 - 0.02 * categories + 0.00001 * drawings + rng.normal(0, 0.002),
        }
        for seed in range(4)
        for categories in range(3, 9)
        for drawings in range(1000, 4001, 1000)
    ]
    _, by_category, by_drawing = quickdraw_classes.regress(rows, "accuracy")
    assert by_category[0] == pytest.approx(-0.02, abs=0.001)
    assert by_category[1] < -0.02 < by_category[2]
    assert by_drawing[0] == pytest.approx(0.00001, abs=0.000001)
    assert by_drawing[3] < by_drawing[0] < by_drawing[4]
