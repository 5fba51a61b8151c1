import csv

import numpy as np
import pyarrow.parquet as pq

from lib.data.catalog import Categories
from lib.output.label_sets import write_label_sets
from tests.output.test_predictions import catalog

CATEGORIES = Categories(np.arange(3), [(name, "", "") for name in "ABC"], ["A", "B", "B/C"])


def test_all_classes_above_their_thresholds_are_listed_best_first(tmp_path):
    probs = np.array([[0.5, 0.25, 0.75], [0.1, 0.2, 0.3]], np.float32)
    query = catalog(2, ["x", "y"])
    assert write_label_sets(tmp_path, query, CATEGORIES, probs, np.array([0.5, 0.3, 0.4])) == 2
    with (tmp_path / "predictions.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["product", "classes", "probs"],
            ["x", "B/C; A", "0.750000; 0.500000"],
            ["y", "", ""],
        ]
    table = pq.read_table(tmp_path / "predictions.parquet")
    assert table["classes"].to_pylist() == [["B/C", "A"], []]
    assert table["probs"].to_pylist() == [[0.75, 0.5], []]
