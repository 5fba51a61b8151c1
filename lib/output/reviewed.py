"""Predictions and submission with the answers of people, beside those that the models gave.

predictions.parquet, predictions.csv   as lib/output/predictions.py, and
    decided_by                         "model" or "person"
submission.csv.gz                      as lib/output/submission.py
answers.csv                            a row for each answer: what a person said of which product

A person's class becomes class_1; the others follow as the models ranked them. Probabilities stay
the models': that of a class which they did not rank is empty. Where a person says that the class
is not in the list, the models' classes stay, and the prediction is not accepted.
"""

import csv
import gzip
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from lib.output import submission
from lib.output.predictions import DIGITS, write_tables

MODEL, PERSON = "model", "person"
NOT_LISTED = "not in the list, says a person"
AFTER = "images_used"  # the column that decided_by follows


class Decision(NamedTuple):
    """What a person says of a product.

    class_key: the catalog's name of the class; None for "not in the list". person: their number.
    time: seconds since 1970.
    """

    class_key: str | None
    person: int
    time: float


def write_reviewed_predictions(
    folder: Path, source: Path, decisions: Mapping[str, Decision], paths: Mapping[str, str]
) -> None:
    """Write both files of predictions from the Parquet file of the models.

    decisions: by the name of the product. paths: the levels of each class, by its name.
    """
    with pq.ParquetFile(source) as file:
        groups = (file.read_row_group(number) for number in range(file.num_row_groups))
        write_tables(folder, (_reviewed(table, decisions, paths) for table in groups))


def write_reviewed_submission(
    path: Path, source: Path, decisions: Mapping[str, Decision], classes: list[str]
) -> None:
    """Write a submission with the classes of people in place of those in `source`.

    classes: all classes of the catalog. Raises UserError as `submission.check`.
    """
    with gzip.open(source, "rt", newline="", encoding="utf-8") as file:
        rows = csv.reader(file)
        first, second = next(rows)
        products, given = zip(*rows, strict=True)
    answered = {
        product: decision.class_key
        for product, decision in decisions.items()
        if decision.class_key is not None
    }
    final = [answered.get(*pair) for pair in zip(products, given, strict=True)]
    submission.write(path, (first, second), products, final)
    submission.check(path, (first, second), products, classes)


def write_answers(
    path: Path, decisions: Mapping[str, Decision], paths: Mapping[str, str], source: Path
) -> None:
    """Write answers.csv, in the order of time, with what the models said in `source`."""
    table = pq.read_table(source, columns=["product", "class_1", "prob_1"])
    keys = table["product"].cast(pa.string())
    best = zip(table["class_1"].to_pylist(), table["prob_1"].to_pylist(), strict=True)
    said = dict(zip(keys.to_pylist(), best, strict=True))
    with path.open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(["product", "class", "name", "person", "time", "class_1", "prob_1"])
        for product, (class_key, person, time) in sorted(
            decisions.items(), key=lambda item: item[1].time
        ):
            at = datetime.fromtimestamp(time, UTC).isoformat(timespec="seconds")
            name = NOT_LISTED if class_key is None else paths[class_key]
            first, chance = said[product]
            lines.writerow([product, class_key, name, person, at, first, f"{chance:.{DIGITS}f}"])


def _reviewed(
    table: pa.Table, decisions: Mapping[str, Decision], paths: Mapping[str, str]
) -> pa.Table:
    """A table of predictions with the column `decided_by` and the answers in it."""
    keys = table["product"].cast(pa.string()).to_pylist()
    decided = [decisions.get(key) for key in keys]
    by = pa.array([MODEL if decision is None else PERSON for decision in decided])
    if any(decided):
        columns = table.to_pydict()
        is_number = pa.types.is_integer(table.schema.field("class_1").type)
        for row, decision in enumerate(decided):
            if decision is not None:
                _decide(columns, row, decision, paths, is_number)
        table = pa.table(columns, schema=table.schema)
    return table.add_column(table.column_names.index(AFTER) + 1, "decided_by", by)


def _decide(
    columns: dict[str, list[Any]],
    row: int,
    decision: Decision,
    paths: Mapping[str, str],
    is_number: bool,
) -> None:
    """Change one row of the columns. is_number: whether names of classes are numbers there."""
    key = decision.class_key
    columns["accepted"][row] = key is not None
    columns["reason"][row] = NOT_LISTED if key is None else ""
    if key is None:
        return
    count = sum(name.startswith("class_") for name in columns)
    names = [f"class_{rank}" for rank in range(1, count + 1)]
    ranked = [(columns[name][row], columns[name.replace("class", "prob")][row]) for name in names]
    first = [pair for pair in ranked if pair[0] is not None and str(pair[0]) == key]
    others = [pair for pair in ranked if pair not in first]
    chosen = first or [(int(key) if is_number else key, None)]
    for name, (value, chance) in zip(names, chosen + others, strict=False):
        columns[name][row], columns[name.replace("class", "prob")][row] = value, chance
    columns["name_1"][row] = paths[key]
