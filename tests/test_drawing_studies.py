"""The studies on drawings: real networks on a few drawn shapes, and what they make of figures."""

import csv
import json
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lib import jobs
from lib.config.load import load
from lib.errors import UserError
from lib.evaluation.metrics import Estimate
from studies import (
    cells,
    pages,
    quickdraw_classes,
    quickdraw_imbalance,
    quickdraw_models,
    quickdraw_rasters,
    quickdraw_size,
    quickdraw_strokes,
)
from studies.cells import Cell, Outcome
from tests.conftest import ROOT

NAMES = ("bar", "dot", "ring", "wave")
EACH = 50


def shapes(number: int) -> np.ndarray:
    """uint8 [EACH, 784]: light at a place of its own, on noise."""
    rng = np.random.default_rng(number)
    drawn = rng.integers(0, 60, (EACH, 28, 28), np.uint8)
    drawn[:, 7 * number : 7 * number + 7] = 255
    return drawn.reshape(EACH, -1)


@pytest.fixture
def config(tmp_path):
    (tmp_path / "drawn").mkdir()
    for number, name in enumerate(NAMES):
        np.save(tmp_path / "drawn" / f"{name}.npy", shapes(number))
    changes = [f"work={tmp_path}", f'data.root="{tmp_path}"', 'data.train="drawn"']
    changes += [
        "data.classes=[]",
        "train.epochs=2",
        "models.modern.epochs=2",
        "train.batch_size=8",
        "run.workers=1",
    ]
    made = load(ROOT / "configs/quickdraw.toml", changes)
    jobs.ensure_all(made, "extract", False, lambda _: None)
    return made


def given(tmp_path: Path, **more: object) -> Namespace:
    common = {"seeds": 2, "out": str(tmp_path / "docs"), "model": "cnn2", "epochs": 2}
    return Namespace(**(common | more))


def table_of(tmp_path: Path, name: str) -> list[dict[str, str]]:
    with (tmp_path / "docs" / "quickdraw" / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_cell_is_computed_once(config, monkeypatch):
    known = cells.known(config)
    model = config.models["cnn2"]
    labels = known.numbered([1, 3])
    some = known.some(known.fit, [1, 3], 20, 0)
    assert np.bincount(known.catalogue.label[some], minlength=4).tolist() == [0, 20, 0, 20]
    assert set(some) < set(known.some(known.fit, [1, 3], 25, 0))  # a draw that grows
    cell = Cell("x", model, some, known.of(known.locked, [1, 3]), labels, 2)
    (first,) = cells.compute(config, [cell])
    assert len(first.answers) == len(cell.test)
    assert set(first.answers) <= {0, 1}
    assert [line["epoch"] for line in first.history] == [1, 2]
    assert np.mean(first.right(cell)) == pytest.approx(first.history[-1]["valid_accuracy"])
    assert first.loss == pytest.approx(first.history[-1]["valid_loss"], rel=1e-4)
    monkeypatch.setattr(cells, "learn", None)
    (again,) = cells.compute(config, [cell])
    np.testing.assert_array_equal(again.answers, first.answers)
    other = Cell("x", model, some[1:], cell.test, labels, 2)
    with pytest.raises(TypeError):
        cells.compute(config, [other])


def test_size_and_models_and_their_pages(config, tmp_path):
    known = cells.known(config)
    quickdraw_size.study(given(tmp_path, rows=[10, 500], categories=3), config, known)
    rows = table_of(tmp_path, "size_quickdraw_3")
    assert [int(row["rows"]) for row in rows] == [10, 40]
    page = (tmp_path / "docs" / "quickdraw.md").read_text()
    assert "The files have too few for 500." in page
    assert "asked about" in page
    quickdraw_models.study(given(tmp_path, seeds=1), config, known)
    models = table_of(tmp_path, "models_quickdraw")
    assert [row["model"] for row in models] == ["dense", "cnn1", "cnn2", "modern"]
    assert int(models[3]["parameters"]) <= 100_000
    twice = (tmp_path / "docs" / "quickdraw.md").read_text()
    assert page.strip() in twice  # the other section stays
    assert (tmp_path / "docs" / "quickdraw" / "models_quickdraw.png").stat().st_size > 9_000


def test_a_rare_category_and_a_grid(config, tmp_path, monkeypatch):
    monkeypatch.setattr(quickdraw_imbalance, "SHARES", (0.002, 0.2, 1.0))
    known = cells.known(config)
    asked = given(tmp_path, seeds=1, majority="bar", minority="wave")
    quickdraw_imbalance.study(asked, config, known)
    rows = table_of(tmp_path, "imbalance_quickdraw")
    assert sorted({int(row["rare"]) for row in rows}) == [8, 40]
    assert {row["remedy"] for row in rows} == set(quickdraw_imbalance.REMEDIES)
    with pytest.raises(UserError, match="'comet' is no category"):
        quickdraw_imbalance.study(given(tmp_path, majority="comet", minority="bar"), config, known)
    grid = given(tmp_path, rows=[10, 20], categories=[2, 3], seeds=2)
    quickdraw_classes.study(grid, config, known)
    assert len(table_of(tmp_path, "classes_quickdraw")) == 8
    with pytest.raises(UserError, match="two numbers of drawings"):
        quickdraw_classes.study(given(tmp_path, rows=[20], categories=[2, 3]), config, known)
    with pytest.raises(UserError, match="lower --rows"):
        quickdraw_classes.study(given(tmp_path, rows=[10, 46], categories=[2, 4]), config, known)


def test_how_soon_one_is_as_good():
    def run(accuracies, seconds):
        lines = [
            {"valid_accuracy": a, "cpu_seconds": s}
            for a, s in zip(accuracies, seconds, strict=True)
        ]
        return Outcome(np.zeros(0), 0.0, lines)

    first = run([0.2, 0.6, 0.5], [2.0, 2.0, 2.0])
    assert quickdraw_models.soon(first, run([0.1, 0.7], [0.5, 0.5])) == 4.0
    assert np.isnan(quickdraw_models.soon(first, run([0.5], [1.0])))


def test_the_regression_finds_what_was_put_in():
    rng = np.random.default_rng(0)
    rows = [
        {"categories": count, "rows": many, "seed": seed, "accuracy": exact + rng.normal(0, 0.002)}
        for seed in range(4)
        for count in range(3, 9)
        for many in range(1000, 4001, 1000)
        for exact in [0.95 - 0.02 * count + 0.00001 * many]
    ]
    _, by_category, by_row = quickdraw_classes.fitted(rows, "accuracy")
    assert by_category[0] == pytest.approx(-0.02, abs=0.001)
    assert by_category[1] < -0.02 < by_category[2]
    assert by_row[0] == pytest.approx(0.00001, abs=0.000001)
    assert by_row[3] < by_row[0] < by_row[4]


def test_figures_of_the_rare_by_hand():
    labels = np.array([0, 0, 1, 1, 1], np.int16)
    cell = Cell("imbalance-1-plain", None, labels, np.arange(5), labels, 2)
    asked, found = [], []
    for remedy in quickdraw_imbalance.REMEDIES:
        answers = np.array([0, 0, 1, 0, 0] if remedy == "plain" else [0, 1, 1, 1, 1])
        name = quickdraw_imbalance._name(1.0, remedy)
        asked.append(Cell(name, cell.model, labels, cell.test, labels, 2))
        found.append(Outcome(answers, 0.0, []))
    plain, altered, *_ = quickdraw_imbalance.lines(asked, found, [1.0], 10)
    assert (plain["all"], plain["common_right"], plain["rare_right"]) == (0.6, 1.0, 0.3333)
    assert (altered["rare_right"], altered["rare_gain"]) == (1.0, 0.6667)
    assert altered["gain"] == 0.2


def test_strokes_while_they_are_drawn(tmp_path):
    (tmp_path / "drawn").mkdir()
    rng = np.random.default_rng(0)
    for name in ("flat", "steep"):
        lines = []
        for key in range(40):
            wave = [rng.integers(0, 40, 6).tolist(), [0, 50, 99, 150, 200, 255]]
            stroke = wave if name == "steep" else wave[::-1]
            lines.append(
                json.dumps(
                    {"key_id": str(100 * len(name) + key), "drawing": [stroke, stroke[::-1]]}
                )
            )
        (tmp_path / "drawn" / f"{name}.ndjson").write_text("\n".join(lines))
    changes = [f"work={tmp_path}", f'data.root="{tmp_path}"', 'data.train="drawn"']
    config = load(ROOT / "configs/quickdraw_strokes.toml", [*changes, "train.batch_size=8"])
    jobs.ensure_all(config, "extract", False, lambda _: None)
    known = cells.known(config)
    asked = given(tmp_path, model="modern", categories=0, epochs=3, seeds=1)
    quickdraw_strokes.study(asked, config, known)
    (name,) = [path.stem for path in (tmp_path / "docs" / "quickdraw").glob("*.csv")]
    rows = table_of(tmp_path, name)
    assert [float(row["share"]) for row in rows] == list(quickdraw_strokes.SHARES)
    assert max(float(row["pen_begun"]) for row in rows) > 0.8
    with pytest.raises(UserError, match="needs strokes"):
        quickdraw_strokes.study(
            Namespace(config="x.toml"), load(ROOT / "configs/quickdraw.toml"), known
        )


def test_a_section_replaces_itself_alone(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Drawings\n\nWords.\n")
    for key, text in (("a", "one"), ("b", r"two \1"), ("a", "three")):
        pages.put(page, key, text)
    whole = page.read_text()
    assert whole.startswith("# Drawings\n\nWords.\n")
    assert "one" not in whole
    assert whole.index("three") < whole.index(r"two \1")


def test_words_for_estimates():
    assert pages.percent(Estimate(0.5, 0.25, 0.75, 4)) == "50.0 (25.0..75.0)"
    assert pages.points(Estimate(0.01, -0.02, 0.03, 4)) == "+1.0 (-2.0..+3.0): none"
    assert pages.points(Estimate(-0.02, -0.03, -0.01, 4)) == "-2.0 (-3.0..-1.0)"
    row = pages.flat("x", Estimate(0.12344, 0.1, 0.2, 9))
    assert row == {"x": 0.1234, "x_low": 0.1, "x_high": 0.2}
    assert pages.estimate(row, "x") == Estimate(0.1234, 0.1, 0.2, 0)


def test_rasters_against_bitmaps(config, tmp_path):
    """Each kind is learnt; not one from the other: strokes are centred, these bitmaps are not."""
    (tmp_path / "lines").mkdir()
    for number, name in enumerate(NAMES):
        lines = []
        for key in range(20):
            rows = np.linspace(70 * number + key, 70 * number + 40, 4).astype(int).clip(0, 255)
            strokes = [[[0, 255], [int(row)] * 2] for row in rows]
            lines.append(json.dumps({"key_id": str(1000 * number + key), "drawing": strokes}))
        (tmp_path / "lines" / f"{name}.ndjson").write_text("\n".join(lines))
    text = (ROOT / "configs/quickdraw_strokes.toml").read_text()
    text = text.replace('root = "../shared/data/quickdraw"', f'root = "{tmp_path}"')
    (tmp_path / "strokes.toml").write_text(text.replace('"strokes"\ntest', '"lines"\ntest'))
    asked = given(tmp_path, seeds=1, strokes=str(tmp_path / "strokes.toml"), rebuild=False)
    longer = replace(config, models={"cnn2": replace(config.models["cnn2"], epochs=15)})
    quickdraw_rasters.study(asked, longer, cells.known(config))
    found = table_of(tmp_path, "rasters")
    pairs = [(row["learnt_from"], row["asked_about"]) for row in found]
    assert pairs == [(a, b) for a in quickdraw_rasters.KINDS for b in quickdraw_rasters.KINDS]
    own = [float(row["accuracy"]) for row in found if row["learnt_from"] == row["asked_about"]]
    assert min(own) > 0.9
