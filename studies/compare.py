"""Two finished runs of one catalog: accuracy, the difference, and the products that changed.

    python -m studies.compare work/mine work/mine_larger
    python -m studies.compare work/mine work/mine_larger --csv changed.csv --page compare.html

Reads what both runs left and trains nothing. The first run is the baseline. Figures are of the
submitted blends, out-of-fold and on the locked part, over the products that both have scored:
accuracy with its 95 % interval, the paired difference, and McNemar's exact test. The CSV has every
product whose answer changed: "fixed", "broken", or "wrong otherwise" in both.

Runs of other catalogs, or whose parts differ, are refused: products that one run was trained on
say nothing about it.

The locked part only reports. To choose between many runs, compare them out-of-fold.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from json import dumps
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lib.data.catalog import Catalog, Categories, Splits, read_categories, read_splits
from lib.errors import UserError
from lib.evaluation.markdown import table
from lib.output.report.names import ClassNames
from lib.output.report.page import Heading, complete, render_page
from lib.output.report.pictures import Pictures
from lib.output.report.sections.comparison import (
    OTHER,
    Comparison,
    changes_section,
    compare_parts,
    differences_section,
    headline_section,
)
from lib.output.report.sections.run import different_settings
from lib.pipeline.artifact import status_all
from lib.pipeline.experiment import Experiment, load_experiment
from lib.pipeline.manifest import read_manifest
from lib.runtime.workers import num_threads
from lib.stages.order import declare_all
from lib.stages.read import catalog_of_part
from lib.stages.report import read_part
from lib.utils.files import atomic_write
from studies.command import print_report
from studies.pages import write_csv
from studies.tables import points

CONFIG = "config.toml"
PLACES = ("name", "work", "run.threads", "run.workers")  # no cause of a difference

COLUMNS = (
    *("part", "product", "change", "label"),
    *("first_class", "first_prob", "second_class", "second_prob"),
)


class Run(NamedTuple):
    """A finished run: its folder as it was named, and what the comparison needs of it."""

    name: str
    experiment: Experiment
    catalog: Catalog
    categories: Categories
    splits: Splits


def open_run(folder: str) -> Run:
    """The run in `work/NAME`. Raises UserError unless it is complete and fits its settings."""
    path = Path(folder)
    if not (path / CONFIG).is_file():
        raise UserError(f"{folder}: no {CONFIG}, so it is no folder of a run, as work/sample is")
    place = path.resolve()  # the folder may have been moved since
    moved = [f"work={dumps(str(place.parent))}", f"name={dumps(place.name)}"]
    experiment = load_experiment(path / CONFIG, moved)
    if experiment.config.multi_label:
        raise UserError(f"{folder}: its images have sets of classes; compare submit/scores.json")
    _check_finished(experiment, path)
    return Run(
        str(path),
        experiment,
        catalog_of_part(experiment, "train"),
        read_categories(experiment.path("extract/categories")),
        read_splits(experiment.path("extract/splits")),
    )


def _check_finished(experiment: Experiment, folder: Path) -> None:
    """Raise UserError unless all artifacts are as the settings say; the user's files may be gone.

    The report is a view of them.
    """
    stages = declare_all(experiment)
    artifacts = [replace(a, frozen=True) for stage in stages.values() for a in stage]
    report = experiment.path("report")
    for path, state in status_all([a for a in artifacts if a.path != report]).items():
        if not state.fresh:
            command = f"./run_all.sh {folder / CONFIG} --rebuild"
            raise UserError(f"{path} is {state}; finish the run with {command}")


def check_comparable(first: Run, second: Run) -> None:
    """Raise UserError that names the first thing by which catalogs or splits differ."""
    names = f"{first.name} and {second.name}"
    a, b = first.catalog, second.catalog
    if len(a.product_id) != len(b.product_id):
        counts = f"{len(a.product_id):,} and {len(b.product_id):,} labelled products"
        raise UserError(f"{names} are runs of different catalogs: {counts}")
    if (row := _first_difference(_keys(a), _keys(b))) is not None:
        keys = f"labelled product {row + 1} is {a.key(row)} and {b.key(row)}"
        raise UserError(f"{names} are runs of different catalogs: {keys}")
    labels = [_labels(run) for run in (first, second)]
    if (row := _first_difference(*labels)) is not None:
        count = int((labels[0] != labels[1]).sum())
        label = f"{labels[0][row]!r} and {labels[1][row]!r}"
        raise UserError(
            f"{names} have different labels for {count:,} products, the first is {a.key(row)}:"
            f" {label}"
        )
    if first.categories.names != second.categories.names:
        raise UserError(f"{names} are runs of different catalogs: their categories differ")
    parts = [run.splits.part for run in (first, second)]
    if (row := _first_difference(*parts)) is not None:
        count = int((parts[0] != parts[1]).sum())
        rows = different_settings(first.experiment.config, second.experiment.config)
        causes = [f"{key} {x} and {y}" for key, x, y in rows if key.startswith(("split.", "seed"))]
        raise UserError(
            f"{names} have different splits: {count:,} products, the first is {a.key(row)}, are in"
            f" other parts{''.join(f'; {cause}' for cause in causes)}"
        )
    trained = [run.experiment.config.stack_part for run in (first, second)]
    if trained[0] != trained[1]:
        raise UserError(
            f"{names}: out-of-fold products are those of {trained[0]} and of {trained[1]}; give"
            " their models the same kind of folds"
        )


def _keys(catalog: Catalog) -> np.ndarray:
    """The ids of the labelled products."""
    if catalog.keys is None:
        return catalog.product_id
    return np.array(catalog.keys.to_pylist(), object)


def _labels(run: Run) -> np.ndarray:
    """The source's own name of each product's class."""
    keys = np.array([run.categories.key(c) for c in range(len(run.categories))], object)
    return keys[run.catalog.label]


def _first_difference(a: np.ndarray, b: np.ndarray) -> int | None:
    different = np.flatnonzero(a != b)
    return int(different[0]) if len(different) else None


def compare(first: Run, second: Run) -> list[Comparison]:
    """The comparison out-of-fold, and on the locked part."""
    check_comparable(first, second)
    names = short_names(first.name, second.name)
    return [
        compare_parts(names, *(read_part(run.experiment, part) for run in (first, second)))
        for part in (first.experiment.config.stack_part, "locked")
    ]


def short_names(first: str, second: str) -> tuple[str, str]:
    """The names of two folders, or their paths where the names are the same."""
    a, b = Path(first).name, Path(second).name
    return (a, b) if a and b and a != b else (first, second)


def differences(first: Run, second: Run) -> list[tuple[str, str, str]]:
    """Name and both values of every setting and every library's version that differs."""
    settings = different_settings(first.experiment.config, second.experiment.config)
    rows = [row for row in settings if row[0] not in PLACES]
    a, b = (_libraries(run.experiment) for run in (first, second))
    for name in sorted(a.keys() | b.keys()):
        if a.get(name) != b.get(name):
            rows.append((f"version of {name}", a.get(name, "-"), b.get(name, "-")))
    return rows


def _libraries(experiment: Experiment) -> dict[str, str]:
    manifest = read_manifest(experiment.path("submit"))
    return (manifest or {}).get("libraries", {})


def to_markdown(
    comparisons: Sequence[Comparison], rows: Sequence[tuple[str, str, str]], folds: bool
) -> str:
    """Both tables; folds: whether the runs have the same folds."""
    first, second = comparisons[0].names
    header = ["", "products", first, second, "difference, points", "fixed", "broken"]
    lines = []
    for c in comparisons:
        fixed, broken, p_value = c.mcnemar()
        other = int((c.change == OTHER).sum())
        figures = [*map(str, c.accuracies()), points(c.gain())]
        counts = [f"{fixed:,}", f"{broken:,}", f"{other:,}", f"{p_value:.3g}"]
        lines.append([c.origin, f"{len(c.product):,}", *figures, *counts])
    text = table([*header, "wrong otherwise", "McNemar p"], lines)
    if comparisons[0].group is not None:
        text += (
            "\n\nIntervals draw whole groups of near twins; McNemar's test takes each product as"
            " independent, so that its p may be too small. Trust the interval."
        )
    if not folds:
        text += (
            "\n\nThe folds differ: networks and boosters of the runs learned from other products."
        )
    if not rows:
        return f"{text}\n\nNo setting and no version of a library differs."
    return f"{text}\n\n{table(['differs', first, second], rows)}"


def changed_rows(
    comparisons: Sequence[Comparison], catalog: Catalog, categories: Categories
) -> list[dict[str, Any]]:
    """A row for each product whose answer changed."""
    rows = []
    for c in comparisons:
        for i in np.flatnonzero(c.change != "").tolist():
            values = [c.origin, catalog.key(int(c.product[i])), str(c.change[i])]
            values.append(categories.key(int(c.label[i])))
            for best, chance in zip(c.best[:, i].tolist(), c.probability[:, i], strict=True):
                values += [categories.key(best), f"{chance:.6f}"]
            rows.append(dict(zip(COLUMNS, values, strict=True)))
    return rows


def page(comparisons: Sequence[Comparison], rows: Sequence[tuple[str, str, str]], run: Run) -> str:
    """The comparison as one HTML file."""
    first, second = comparisons[0].names
    names = ClassNames(run.categories)
    with Pictures(run.catalog, num_threads(run.experiment.config.run)) as pictures:
        sections = [headline_section(comparisons)]
        for number, comparison in enumerate(comparisons):
            key = f"changes-{number}"
            sections.append(changes_section(comparison, run.catalog, names, pictures, key))
        sections.append(differences_section(rows, (first, second)))
    subtitle = f"{len(run.catalog.product_id):,} labelled products, {len(names):,} categories"
    return complete(render_page(Heading(f"{first} and {second}", subtitle), sections), [])


def report(arguments: argparse.Namespace) -> str:
    """Write the files that were asked for; returns both tables in Markdown."""
    first, second = open_run(arguments.first), open_run(arguments.second)
    comparisons, rows = compare(first, second), differences(first, second)
    notes = []
    if arguments.csv:
        changed = changed_rows(comparisons, first.catalog, first.categories)
        write_csv(Path(arguments.csv), changed, COLUMNS)
        notes.append(f"{len(changed):,} changed answers: {arguments.csv}")
    if arguments.page:
        text = page(comparisons, rows, first)
        Path(arguments.page).parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(Path(arguments.page)) as path:
            path.write_text(text)
        notes.append(f"page: {arguments.page}")
    folds = bool(np.array_equal(first.splits.fold, second.splits.fold))
    return "\n\n".join([to_markdown(comparisons, rows, folds), *notes])


def main() -> int:
    """Exit status: 0, or 2 after a user error."""
    parser = argparse.ArgumentParser(
        prog="python -m studies.compare",
        description="Two finished runs of one catalog, on the products that both have scored.",
        epilog="example: python -m studies.compare work/mine work/mine_larger --page compare.html",
    )
    parser.add_argument("first", help="folder of the run that is the baseline, as work/mine")
    parser.add_argument("second", help="folder of the run that is compared with it")
    parser.add_argument("--csv", default="", metavar="FILE", help="products whose answer changed")
    parser.add_argument("--page", default="", metavar="FILE.html", help="the comparison as a page")
    return print_report(parser.parse_args(), report)


if __name__ == "__main__":
    sys.exit(main())
