"""Whether features mean the same for the labelled products as for those to classify."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from lib.features.comparable import MAX_NAMED, IdNumbers, count_id_numbers, moved_columns
from lib.features.table import FeatureTable
from tests.features.toy_features import small_data


@pytest.mark.parametrize(
    ("labelled", "others", "comparable"),
    [
        (1.0, None, True),
        (1.0, 0.98, True),  # one odd id in test
        (1.0, 0.9, False),
        (1.0, 0.0, False),
        (0.6, 0.57, True),
        (0.0, 1.0, False),
        (0.4, 0.4, False),
        (0.0, None, False),
    ],
)
def test_ids_are_comparable_if_both_sides_have_numbers(labelled, others, comparable):
    assert IdNumbers(labelled, others).comparable is comparable


def test_numbers_are_counted():
    data = small_data(3)
    assert count_id_numbers(data.labelled, data.test) == IdNumbers(1.0, 1.0)
    assert count_id_numbers(data.labelled, None) == IdNumbers(1.0, None)


def save(folder: Path, missing: float, names: Sequence[str] = ("id_distance",)) -> Path:
    folder.mkdir()
    values = np.ones((100, 1 + len(names)), np.float32)
    for number in range(len(names)):  # the first has most
        values[: max(0, int(100 * missing) - number), 1 + number] = np.nan
    FeatureTable(values, ["images", *names], []).save(folder)
    return folder


@pytest.mark.parametrize(("missing", "lines"), [(0.1, 0), (0.3, 0), (0.6, 1), (1.0, 1)])
def test_a_column_that_other_products_lack_is_named(tmp_path, missing, lines):
    found = moved_columns(save(tmp_path / "a", 0.1), save(tmp_path / "b", missing))
    assert len(found) == lines
    if lines:
        assert found[0].startswith(
            f"id_distance is missing in {missing:.0%} of the rows, and in 10"
        )


def test_of_many_columns_those_that_moved_most_are_named(tmp_path):
    names = [f"column_{number}" for number in range(9)]
    found = moved_columns(save(tmp_path / "a", 0.0, names), save(tmp_path / "b", 0.9, names))
    assert [line.split(" is ")[0] for line in found[:MAX_NAMED]] == names[:MAX_NAMED]
    assert found[MAX_NAMED:] == ["4 other columns have moved by more than 25%"]
