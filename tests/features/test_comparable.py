"""Whether features mean the same for the labelled products as for those to classify."""

from pathlib import Path

import numpy as np
import pytest

from lib.features.comparable import IdNumbers, count_id_numbers, moved_columns
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


def save(folder: Path, missing: float) -> Path:
    folder.mkdir()
    values = np.ones((100, 2), np.float32)
    values[: int(100 * missing), 1] = np.nan
    FeatureTable(values, ["images", "id_distance"], []).save(folder)
    return folder


@pytest.mark.parametrize(("missing", "lines"), [(0.1, 0), (0.3, 0), (0.6, 1), (1.0, 1)])
def test_a_column_that_other_products_lack_is_named(tmp_path, missing, lines):
    found = moved_columns(save(tmp_path / "a", 0.1), save(tmp_path / "b", missing))
    assert len(found) == lines
    if lines:
        assert found[0].startswith(
            f"id_distance is missing in {missing:.0%} of the rows, and in 10"
        )
