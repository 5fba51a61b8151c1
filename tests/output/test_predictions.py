import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lib.data.catalog import Catalog, Categories
from lib.evaluation.abstention import AbstentionRule
from lib.output import predictions
from lib.similarity.nearest_products import NearestProducts
from lib.stacking.calibration import Calibration

RULE = AbstentionRule(Calibration(1.0, 0.9), 0.5, 0.6, num_products=9, num_tested=9, coverage=0.5)
CATEGORIES = Categories(
    np.array([100, 200, 300]), [("A", "B", "C"), ("A", "", ""), ("A", "B", "D")]
)
PRODUCT = np.array([0, 0, 0, 1, 2, 2], np.int32)
CLASS_ID = np.array([0, 1, 2, 0, 1, 2], np.int16)
SCORE = np.array([0.1, 0.2, 0.7, 0.3, 0.5, 0.5], np.float32)
CANDIDATES = PRODUCT, CLASS_ID, SCORE
LIKE = np.ones(3, bool), np.array([0.9, 0.75, -np.inf], np.float32)


def catalog(num_products: int, keys: list[str] | None = None) -> Catalog:
    """A catalog of products with one image each, which nothing reads."""
    none = np.zeros(num_products, np.int64)
    columns = (none - 1, none, none + 1, none[:0], none[:0], none[:0], none[:0], none[:0])
    names = None if keys is None else pa.chunked_array([keys])
    return Catalog(Path(), np.arange(num_products) + 10, *columns, keys=names)


NEAR_PRODUCT = np.array([[2, 0, 3, -1, -1], [1, 3, 2, 0, 4], [-1] * 5], np.int32)
NEAR_COS = np.where(NEAR_PRODUCT >= 0, [0.9, 0.8, 0.7, 0.6, 0.5], -np.inf).astype(np.float32)
NEAR = NearestProducts(NEAR_PRODUCT, NEAR_COS, NEAR_PRODUCT.astype(np.int64)), catalog(5)


def read_csv(folder: Path) -> list[dict[str, str]]:
    with (folder / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_classes_are_written_best_first_with_calibrated_probabilities(tmp_path):
    counts = predictions.write_predictions(
        tmp_path, catalog(3), CATEGORIES, *CANDIDATES, RULE, 2, *LIKE, *NEAR
    )
    assert counts == (3, 2)
    assert read_csv(tmp_path) == [
        {
            "product": "10",
            "class_1": "300",
            "prob_1": "0.630000",
            "class_2": "200",
            "prob_2": "0.180000",
            "accepted": "true",
            "reason": "",
            "images_used": "1",
        },
        {
            "product": "11",
            "class_1": "100",
            "prob_1": "0.900000",
            "class_2": "",
            "prob_2": "",
            "accepted": "true",
            "reason": "",
            "images_used": "1",
        },
        {
            "product": "12",
            "class_1": "200",
            "prob_1": "0.450000",
            "class_2": "300",
            "prob_2": "0.450000",
            "accepted": "false",
            "reason": "improbable",
            "images_used": "1",
        },
    ]


def test_the_parquet_file_also_holds_levels_and_the_nearest_cosine(tmp_path):
    predictions.write_predictions(
        tmp_path, catalog(3), CATEGORIES, *CANDIDATES, RULE, 2, *LIKE, *NEAR
    )
    table = pq.read_table(tmp_path / "predictions.parquet")
    assert table["name_1"].to_pylist() == ["A > B > D", "A > B > C", "A"]
    assert table["class_2"].to_pylist() == [200, None, 300]
    assert table["prob_2"].type == pa.float32()
    assert table["accepted"].to_pylist() == [True, True, False]
    assert table["reason"].to_pylist() == ["", "", "improbable"]
    cosine = table["nearest_cos"].to_pylist()
    assert cosine == [pytest.approx(0.9), 0.75, None]  # none: a product without images
    assert table["near_1"].to_pylist() == [12, 11, None]  # ids of the labelled catalog
    assert table["near_4"].to_pylist() == [None, 10, None]
    assert table["near_cos_4"].to_pylist() == [None, pytest.approx(0.6), None]
    assert table["near_cos_4"].type == pa.float32()


def test_nearest_products_go_by_the_names_of_their_own_catalog(tmp_path):
    near = NEAR[0], catalog(5, ["a", "b", "c", "d", "e"])
    files = tmp_path, catalog(3), CATEGORIES
    predictions.write_predictions(*files, *CANDIDATES, RULE, 2, *LIKE, *near)
    table = pq.read_table(tmp_path / "predictions.parquet")
    assert table["near_1"].to_pylist() == ["c", "b", None]
    assert table.column_names[-10:] == predictions.NEAR_COLUMNS
    assert predictions.NEAR_COLUMNS[:4] == ["near_1", "near_cos_1", "near_2", "near_cos_2"]


def test_a_product_unlike_every_labelled_one_is_not_accepted(tmp_path):
    like = np.array([True, False, False]), np.ones(3, np.float32)
    counts = predictions.write_predictions(
        tmp_path, catalog(3), CATEGORIES, *CANDIDATES, RULE, 2, *like, *NEAR
    )
    assert counts == (3, 1)
    rows = read_csv(tmp_path)
    assert [row["prob_1"] for row in rows] == ["0.630000", "0.900000", "0.450000"]
    assert [row["accepted"] for row in rows] == ["true", "false", "false"]
    assert [row["reason"] for row in rows] == ["", *["unlike every labelled product"] * 2]
    table = pq.read_table(tmp_path / "predictions.parquet")
    assert table["reason"].to_pylist() == [row["reason"] for row in rows]


def test_a_product_without_a_readable_image_is_never_accepted(tmp_path):
    """However probable its class is, and whatever else speaks against it."""
    query = replace(catalog(3), image_count=np.array([2, 0, 0], np.int16))
    like = np.array([True, True, False]), np.ones(3, np.float32)
    counts = predictions.write_predictions(
        tmp_path, query, CATEGORIES, *CANDIDATES, RULE, 1, *like, *NEAR
    )
    assert counts == (3, 1)
    rows = read_csv(tmp_path)
    assert [row["accepted"] for row in rows] == ["true", "false", "false"]
    assert [row["reason"] for row in rows] == ["", *["no readable image"] * 2]
    assert [row["images_used"] for row in rows] == ["2", "0", "0"]
    table = pq.read_table(tmp_path / "predictions.parquet")
    assert table["images_used"].to_pylist() == [2, 0, 0]


def test_without_a_threshold_nothing_is_accepted_because_nothing_can_be_promised(tmp_path):
    like = np.array([True, False, True]), np.ones(3, np.float32)
    counts = predictions.write_predictions(
        tmp_path, catalog(3), CATEGORIES, *CANDIDATES, RULE.withdraw(), 2, *like, *NEAR
    )
    assert counts == (3, 0)
    rows = read_csv(tmp_path)
    assert [row["accepted"] for row in rows] == ["false"] * 3
    assert {row["reason"] for row in rows} == {"no precision can be promised for these products"}


def test_names_of_the_source_stand_for_numbers(tmp_path):
    query = catalog(3, ["a", 'b "c", d', "e"])
    named = Categories(CATEGORIES.category_id, CATEGORIES.names, ["x", "y", "z"])
    predictions.write_predictions(tmp_path, query, named, *CANDIDATES, RULE, 1, *LIKE, *NEAR)
    rows = read_csv(tmp_path)
    assert [row["product"] for row in rows] == ["a", 'b "c", d', "e"]
    assert [row["class_1"] for row in rows] == ["z", "x", "y"]


def test_a_product_without_candidates_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="1 products have no candidates"):
        predictions.write_predictions(
            tmp_path, catalog(4), CATEGORIES, *CANDIDATES, RULE, 2, *LIKE, *NEAR
        )


def test_products_written_in_chunks_are_those_written_at_once(tmp_path, monkeypatch):
    # The third product, first of the second chunk, is the only one without support.
    like = np.array([True, True, False]), LIKE[1]
    written = []
    for chunk in (100, 2):
        monkeypatch.setattr(predictions, "CHUNK", chunk)
        predictions.write_predictions(
            tmp_path, catalog(3), CATEGORIES, *CANDIDATES, RULE, 2, *like, *NEAR
        )
        table = pq.read_table(tmp_path / "predictions.parquet")
        written.append(((tmp_path / "predictions.csv").read_bytes(), table.to_pylist()))
    assert written[0] == written[1]
    assert [row["reason"] for row in written[1][1]] == ["", "", "unlike every labelled product"]


def test_top_rows_are_those_of_a_sort_by_score_and_row():
    rng = np.random.default_rng(0)
    product = np.sort(rng.integers(0, 40, 200)).astype(np.int32)
    score = rng.integers(0, 5, 200).astype(np.float32)
    top = predictions.top_rows(product, score, 4)
    for got, one in zip(top.tolist(), np.unique(product), strict=True):
        rows = np.flatnonzero(product == one).tolist()
        best = sorted(rows, key=lambda row: (-score[row], row))[:4]
        assert got == best + [-1] * (4 - len(best))
