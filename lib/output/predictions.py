"""Stage 06 with `--new`: what is said of new products, best class first (B3).

predictions.parquet, predictions.csv   a row for each product, in the order of its file
    product                            the source's own id or name
    class_1, prob_1, class_2, ...      the catalogue's own classes; null: no more candidates
    accepted                           whether class_1 is sure enough
    name_1                             the levels of class_1 (Parquet only)
calibration.json, ladder.txt           what that is worth, measured on the locked part
"""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from lib.config.schema import Config
from lib.data.catalog import Catalog, Categories, read_categories
from lib.evaluation import abstention
from lib.stacking import blend
from lib.stages import ranking_stage

CHUNK = 100_000  # products written at a time
DIGITS = 6  # of a probability, in both files


def build_answers(
    config: Config, labelled: Catalog, query: Catalog, folder: Path
) -> dict[str, Any]:
    """Write the answers to every product of `query` and what they are worth; returns counts."""
    classes, sure = (
        read_categories(config.at("extract/classes")),
        abstention.read_confidence(config),
    )
    locked = abstention.final_scores(config, "locked")
    measured = abstention.measure(config, locked, labelled.group)
    rows, score = (
        ranking_stage.candidate_rows(config, "test"),
        abstention.final_scores(config, "test"),
    )
    tables = _tables(query, classes, rows, score, sure, config.new.top)
    products, accepted = write(folder, tables, len(query.product_id))
    facts = {**abstention.as_json(measured), "new": {"products": products, "accepted": accepted}}
    (folder / "calibration.json").write_text(json.dumps(facts, indent=1) + "\n")
    found = measured.accuracy
    lines = [
        f"{config.blend.final} blend on the locked part, {found.n:,} products:"
        f" {found.value:.4f} ({found.low:.4f} .. {found.high:.4f})",
        f"accepted {accepted:,} of {products:,} ({abstention.promise(measured)})",
    ]
    if labelled.keys is None and query.keys is not None:
        lines.append(NAMELESS)
    (folder / "ladder.txt").write_text("\n".join(lines) + "\n")
    return facts["new"]


NAMELESS = (
    "caution: the labelled products have numbers as ids and these have names, so what is known of"
    " ids nearby does not help here; the figures above promise too much"
)


def top_rows(product: np.ndarray, score: np.ndarray, top: int) -> np.ndarray:
    """Rows of each product's `top` highest scores, best first, ties by row: int64 [Q, top].

    product int32 [R] ascending, score float32 [R]. -1 where a product has fewer rows.
    """
    first, size = blend.runs(product)
    place = blend.rank(score, product).astype(np.int64)
    rows = np.flatnonzero(place < top)
    found = np.full((len(first), top), -1, np.int64)
    found[np.repeat(np.arange(len(first)), size)[rows], place[rows]] = rows
    return found


def _tables(
    query: Catalog,
    classes: Categories,
    rows: dict[str, np.ndarray],
    score: np.ndarray,
    sure: abstention.AbstentionRule,
    top: int,
) -> Iterator[pa.Table]:
    """The answers by CHUNK products. Raises ValueError for a product without candidates."""
    product, cls = rows["product"], rows["cls"]
    probability = sure.probability(score, product)
    products = len(query.product_id)
    for start in range(0, products, CHUNK):
        stop = min(start + CHUNK, products)
        some = slice(*np.searchsorted(product, [start, stop]))
        chosen = top_rows(product[some], score[some], top)
        if len(chosen) != stop - start:
            raise ValueError(f"{stop - start - len(chosen)} products have no candidates")
        there, chosen = chosen >= 0, np.maximum(chosen, 0)
        of_class = np.where(there, cls[some][chosen], -1)
        prob = np.where(there, probability[some][chosen], np.nan).astype(np.float32)
        keys = query.product_id if query.keys is None else query.keys
        yield _table(keys[start:stop], classes, of_class, prob, sure.accepts(prob[:, 0]))


def _table(
    keys: np.ndarray | pa.ChunkedArray,
    classes: Categories,
    cls: np.ndarray,
    probability: np.ndarray,
    accepted: np.ndarray,
) -> pa.Table:
    """keys [Q]; cls int [Q, top], -1 for none; probability float32 [Q, top]; accepted bool [Q]."""
    columns: dict[str, Any] = {"product": keys}
    rounded = probability.astype(np.float64).round(DIGITS).astype(np.float32)
    for place in range(cls.shape[1]):
        none = cls[:, place] < 0
        columns[f"class_{place + 1}"] = _classes(classes, cls[:, place], none)
        columns[f"prob_{place + 1}"] = pa.array(rounded[:, place], mask=none)
    columns["accepted"] = accepted
    levels = [" > ".join(level for level in path if level) for path in classes.names]
    columns["name_1"] = _of_dictionary(levels, cls[:, 0])
    return pa.table(columns)


def _classes(classes: Categories, cls: np.ndarray, none: np.ndarray) -> pa.Array:
    """The catalogue's own names: category ids int64, or strings."""
    if classes.keys is None:
        return pa.array(classes.category_id[np.maximum(cls, 0)], mask=none)
    return _of_dictionary(classes.keys, cls)


def _of_dictionary(values: list[str], index: np.ndarray) -> pa.DictionaryArray:
    """`index` -1: null."""
    places = pa.array(index.astype(np.int32), mask=index < 0)
    return pa.DictionaryArray.from_arrays(places, pa.array(values, pa.string()))


def write(folder: Path, tables: Iterator[pa.Table], products: int) -> tuple[int, int]:
    """Write both files, table by table; how many products there are, and are accepted."""
    count = accepted = 0
    writer = None
    with (
        (folder / "predictions.csv").open("w", newline="", encoding="utf-8") as file,
        tqdm(total=products, unit=" products", desc="answers", disable=None) as bar,
    ):
        lines = csv.writer(file, lineterminator="\n")
        for table in tables:
            if writer is None:
                writer = pq.ParquetWriter(folder / "predictions.parquet", table.schema)
                lines.writerow(table.column_names[:-1])
            writer.write_table(table)
            lines.writerows(_csv_rows(table))
            count += len(table)
            accepted += int(np.count_nonzero(table["accepted"].to_numpy()))
            bar.update(len(table))
    assert writer is not None, "an index without products"
    writer.close()
    return count, accepted


def _csv_rows(table: pa.Table) -> Iterator[tuple[Any, ...]]:
    """All columns but the last; null as nothing."""

    def texts(name: str) -> list[Any]:
        values = table[name].to_pylist()
        if name.startswith("prob_"):
            return [None if value is None else f"{value:.{DIGITS}f}" for value in values]
        if name == "accepted":
            return ["true" if value else "false" for value in values]
        return values

    return zip(*(texts(name) for name in table.column_names[:-1]), strict=True)
