"""What a review earns, compared with counting by hand."""

import cv2
import numpy as np
import pytest

from studies.review import COLUMNS, draw, review_curve, to_markdown
from tests.output.report.parts import part_of, random_part


def test_the_least_sure_are_decided_first():
    probs = [[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.3, 0.7]]
    part = part_of(probs, label=[0, 1, 1, 0])  # the second and the fourth are wrong
    rows = review_curve(part, [0, 0.25, 0.5, 1], 0)
    assert [row["decided"] for row in rows] == [0, 1, 2, 4]
    assert [row["least_sure"] for row in rows] == [0.5, 0.75, 1, 1]
    assert [row["corrected"] for row in rows] == [0, 1, 1, 0.5]
    assert [row["random"] for row in rows][::3] == [0.5, 1]
    assert set(COLUMNS) <= set(rows[0])
    text = to_markdown(rows)
    assert "| 25 % (1) | 75.0 (" in text
    assert "100 % were wrong" in text


def test_sure_predictions_are_worth_less_to_review():
    """Of calibrated probabilities; at random, a share of the products corrects as many errors."""
    part = random_part(4000, 5)
    rows = review_curve(part, [0.2], 0)
    wrong = 1 - part.correct.mean()
    assert rows[0]["random"] == pytest.approx(1 - 0.8 * wrong, abs=0.02)
    assert rows[0]["gain_low"] > 0
    assert rows[0]["corrected"] > wrong
    np.testing.assert_allclose(
        rows[0]["least_sure"], part.correct.mean() + 0.2 * rows[0]["corrected"], atol=1e-9
    )


def test_the_curve_is_drawn(tmp_path):
    draw(review_curve(random_part(200, 4), (0.0, 0.1, 0.2), 0), tmp_path / "review.png")
    assert cv2.imread(str(tmp_path / "review.png")).std() > 10
