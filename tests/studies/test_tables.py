"""Tables of variants against the first one."""

import numpy as np
import pytest

from lib.evaluation.metrics import accuracy
from studies.tables import Answers, compare, compare_macro_f1, over_seeds, slug, to_markdown

CORRECT = np.array([True, False] * 50)


@pytest.fixture
def rows():
    """Two variants of two seeds; one seed of the second gains one product of 100."""
    better = CORRECT.copy()
    better[1] = True
    return compare({"a": [CORRECT, CORRECT], "b": [better, CORRECT]})


def test_gains_are_paired_and_listed_seed_by_seed(rows):
    assert rows[1].gain_by_seed == pytest.approx((0.01, 0.0))
    assert rows[1].gain.value == pytest.approx(0.005)
    assert rows[1].score.value == pytest.approx(0.505)
    assert rows[0].gain is None


def test_the_markdown_table_has_a_column_for_seeds_and_marks_no_gain(rows):
    lines = to_markdown("a title", rows).splitlines()
    assert lines[0] == "### a title"
    assert lines[2] == "|  | out-of-fold | gain | seed by seed |"
    assert lines[-1].endswith("| +1.00 +0.00 |")
    assert "none" in lines[-1]


def test_a_second_equal_seed_does_not_narrow_the_interval():
    one, two = over_seeds(accuracy, [CORRECT]), over_seeds(accuracy, [CORRECT, CORRECT])
    assert (one.value, one.low, one.high) == (two.value, two.low, two.high)


def test_the_mean_f1_of_a_small_class_counts_as_much_as_that_of_a_large_one():
    label = np.repeat([0, 1], [90, 10])
    no_small = Answers(label, np.zeros(100, int))
    swapped = Answers(label, np.repeat([0, 1, 1], [80, 10, 10]))  # 10 of the large class are lost
    rows = compare_macro_f1({"natural": [no_small] * 2, "balance": [swapped, no_small]})
    before, after = 180 / 190 / 2, (160 / 170 + 20 / 30) / 2
    assert rows[0].score.value == pytest.approx(before)
    assert rows[1].gain_by_seed == pytest.approx((after - before, 0))
    assert rows[1].gain.value == pytest.approx((after - before) / 2)
    assert rows[1].gain.low > 0
    assert rows[1].score.value == pytest.approx((before + after) / 2)


def test_variants_with_different_numbers_of_seeds_are_an_error():
    with pytest.raises(ValueError, match="different numbers of seeds"):
        compare({"a": [CORRECT], "b": [CORRECT, CORRECT]})


def test_a_slug_is_a_folder_name():
    assert slug("without hashes, ids, k-NN") == "without-hashes-ids-k-NN"
