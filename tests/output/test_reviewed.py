"""Predictions and submissions with the answers of people."""

import csv
import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lib.errors import UserError
from lib.output import submission
from lib.output.predictions import write_tables
from lib.output.reviewed import (
    NOT_LISTED,
    Decision,
    write_answers,
    write_reviewed_predictions,
    write_reviewed_submission,
)

PATHS = {"7": "Men > Tees", "8": "Men > Hats", "9": "Shoes"}


def predictions(numbers: bool) -> pa.Table:
    """Four products with two ranked classes, whose names are numbers or texts."""
    kind = pa.int64() if numbers else pa.dictionary(pa.int32(), pa.string())

    def classes(values: list[int | None]) -> pa.Array:
        named = values if numbers else [None if v is None else str(v) for v in values]
        return pa.array(named, kind)

    return pa.table(
        {
            "product": pa.array([1, 2, 3, 4] if numbers else ["a", "b", "c", "d"]),
            "class_1": classes([7, 7, 8, 9]),
            "prob_1": pa.array([0.5, 0.4, 0.9, 0.3], pa.float32()),
            "class_2": classes([8, 8, None, 7]),
            "prob_2": pa.array([0.25, 0.3, None, 0.2], pa.float32()),
            "accepted": [False, False, True, False],
            "reason": ["improbable", "improbable", "", "improbable"],
            "images_used": pa.array([1, 2, 1, 0], pa.int16()),
            "name_1": pa.array(["Men > Tees", "Men > Tees", "Men > Hats", "Shoes"]),
        }
    )


def write_source(folder: Path, numbers: bool) -> Path:
    """The files of the models, in two parts as for many products."""
    folder.mkdir()
    table = predictions(numbers)
    write_tables(folder, iter([table.slice(0, 3), table.slice(3)]))
    return folder / "predictions.parquet"


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("numbers", [True, False])
def test_a_class_of_a_person_comes_first(tmp_path, numbers):
    source = write_source(tmp_path / "model", numbers)
    keys = [str(key) for key in pq.read_table(source)["product"].to_pylist()]
    decisions = {
        keys[0]: Decision("8", 1, 10.0),  # the second of the ranked ones
        keys[1]: Decision("9", 2, 11.0),  # one that no model ranked
        keys[3]: Decision(None, 1, 12.0),
    }
    (tmp_path / "out").mkdir()
    write_reviewed_predictions(tmp_path / "out", source, decisions, PATHS)
    table = pq.read_table(tmp_path / "out" / "predictions.parquet")
    of_models = pq.read_table(source)
    assert table.drop_columns("decided_by").schema.equals(of_models.schema)
    rows = read_csv(tmp_path / "out" / "predictions.csv")
    assert [row["product"] for row in rows] == keys
    assert [row["decided_by"] for row in rows] == ["person", "person", "model", "person"]
    assert [row["class_1"] for row in rows] == ["8", "9", "8", "9"]
    assert [row["prob_1"] for row in rows] == ["0.250000", "", "0.900000", "0.300000"]
    assert [row["class_2"] for row in rows] == ["7", "7", "", "7"]
    assert [row["prob_2"] for row in rows] == ["0.500000", "0.400000", "", "0.200000"]
    assert [row["accepted"] for row in rows] == ["true", "true", "true", "false"]
    assert [row["reason"] for row in rows] == ["", "", "", NOT_LISTED]
    names = table["name_1"].to_pylist()
    assert names == ["Men > Hats", "Shoes", "Men > Hats", "Shoes"]
    assert table["decided_by"].to_pylist() == [row["decided_by"] for row in rows]


def test_without_answers_all_is_decided_by_the_model(tmp_path):
    source = write_source(tmp_path / "model", True)
    (tmp_path / "out").mkdir()
    write_reviewed_predictions(tmp_path / "out", source, {}, PATHS)
    table = pq.read_table(tmp_path / "out" / "predictions.parquet")
    assert table.drop_columns("decided_by").equals(pq.read_table(source))
    assert set(table["decided_by"].to_pylist()) == {"model"}


def test_a_submission_has_a_class_for_every_product(tmp_path):
    source, path = tmp_path / "model.csv.gz", tmp_path / "submission.csv.gz"
    submission.write(source, ("_id", "category_id"), ["1", 'b, "c"', "3"], [7, 7, 8])
    decisions = {'b, "c"': Decision("9", 1, 0.0), "3": Decision(None, 1, 0.0)}
    write_reviewed_submission(path, source, decisions, list(PATHS))
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    assert lines == ["_id,category_id", "1,7", '"b, ""c""",9', "3,8"]
    with pytest.raises(UserError, match="unknown category 9"):
        write_reviewed_submission(path, source, decisions, ["7", "8"])


def test_the_answers_in_the_order_of_time(tmp_path):
    source = write_source(tmp_path / "model", True)
    decisions = {"2": Decision("9", 2, 1e9 + 60), "1": Decision("8", 1, 1e9)}
    decisions["4"] = Decision(None, 1, 1e9 + 120)
    write_answers(tmp_path / "answers.csv", decisions, PATHS, source)
    assert [list(row.values()) for row in read_csv(tmp_path / "answers.csv")] == [
        ["1", "8", "Men > Hats", "1", "2001-09-09T01:46:40+00:00", "7", "0.500000"],
        ["2", "9", "Shoes", "2", "2001-09-09T01:47:40+00:00", "7", "0.400000"],
        ["4", "", NOT_LISTED, "1", "2001-09-09T01:48:40+00:00", "9", "0.300000"],
    ]
