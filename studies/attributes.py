"""What attributes of products, such as brand and price, add to pictures and titles, out-of-fold.

    python -m studies.attributes --config configs/sample_text.toml
    python -m studies.attributes --config configs/fashion_small.toml --probe --title title \
        --texts ../shared/data/fashion/train_titles.csv.gz \
        --categorical gender,base_colour,season,usage --numeric year

Reads the parts and folds of stage 01, the out-of-fold predictions of stage 03, and the titles and
attributes of the config, or those of a table; then the config need not name any. `--probe` needs no
stage but the first: in place of the networks there is a logistic regression on its embeddings,
those of a frozen network. For each row one booster is fitted out-of-fold on the rows of `fit`, with
the columns of the networks (but the raw ones, which take time), hashes and ids, and those of the
attributes. Rows with a title also have those of a text model, trained over four folds of the same
split; in some only a share of the products keeps its title. "alone" is how often the text model
alone is right, or the class that is most frequent with a value in other folds.
"""

import argparse
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from lib.config.inputs.text import Text
from lib.config.load import load
from lib.config.schema import BoosterName
from lib.data.attributes.join import category_codes, value_codes
from lib.data.catalog import read_categories, read_splits
from lib.errors import UserError
from lib.evaluation.markdown import table
from lib.evaluation.metrics import accuracy, gain
from lib.features.attributes.columns import Attributes, AttributeTables, look_up_attributes
from lib.features.build import build_candidates, build_source
from lib.features.network import best_classes
from lib.features.query import PARTITION, make_query
from lib.features.table import FeatureTable, write_by_chunks
from lib.features.visibility import PartInputs, fold_of_queries, reference_products
from lib.inference.topk import TopK
from lib.pipeline.experiment import Experiment
from lib.pipeline.reading import map_array
from lib.runtime.workers import num_threads
from lib.stacking.oof import fit_oof
from lib.stages.read import catalog_of_part
from lib.utils.groups import group_argmax
from studies.beside import Beside, read_beside
from studies.command import config_parser, print_report
from studies.compare import Run
from studies.tables import points
from studies.text import (
    FOLDS,
    SHARES,
    keep_share,
    mask_class_words,
    num_words,
    predict_out_of_fold,
    read_pictures,
)

PART = "fit"
PROBE_STEPS = 30  # of L-BFGS; stopped early, it is regularized
BOOSTER: BoosterName = "xgboost"
HEADER = (
    "columns",
    "alone",
    "accuracy",
    "over the same without attributes",
    "over pictures",
    "over the title",
)


def probe_pictures(run: Run) -> TopK:
    """Predictions of the images of `fit` by logistic regression on the embeddings of stage 01.

    Out-of-fold, over FOLDS folds. Raises UserError if the config has no such embeddings.
    """
    path = run.experiment.path("extract/embeddings/train") / "embeddings.npy"
    if not path.is_file():
        raise UserError(f'{path} is missing; run 01_extract.py with data.group_by = "alike"')
    images = run.catalog.images_of(run.splits.products(PART))
    product = run.catalog.image_product[images]
    values = map_array(path)[images].astype(np.float32)
    values /= values.std()
    fold, label = run.splits.fold_of_product(FOLDS)[product], run.catalog.label[product]
    probs = np.zeros((len(images), len(run.categories)), np.float32)
    for number in range(FOLDS):
        train, left_out = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = LogisticRegression(max_iter=PROBE_STEPS).fit(values[train], label[train])
        probs[np.ix_(left_out, model.classes_)] = model.predict_proba(values[left_out])
    best = np.argsort(-probs, axis=1, kind="stable")[:, : run.experiment.config.predict.top_k]
    kept = np.take_along_axis(probs, best, axis=1)
    return TopK(images, best.astype(np.int16), kept, np.maximum(1 - kept.sum(axis=1), 0))


def look_up(run: Run, beside: Beside, names: Sequence[str]) -> AttributeTables:
    """What the rows of `fit` look up of some attributes."""
    catalog, features = run.catalog, run.experiment.config.features
    query = make_query(catalog, run.splits.products(PART))
    codes = {name: value_codes(beside.category[name]) for name in names if name in beside.category}
    category = {name: category_codes(beside.category[name], code) for name, code in codes.items()}
    number = {
        name: beside.number[name].fill_null(float("nan")).to_numpy()
        for name in names
        if name in beside.number
    }
    return look_up_attributes(
        Attributes(
            {name: (values, values[query.products]) for name, values in category.items()},
            {name: len(code) + 1 for name, code in codes.items()},
            {name: (values, values[query.products]) for name, values in number.items()},
        ),
        catalog.label,
        *reference_products(features, PART, catalog.label, run.splits),
        fold_of_queries(PART, run.splits, query),
        len(run.categories),
    )


def alone(run: Run, tables: AttributeTables) -> float:
    """How often the class most frequent with the first attribute in other folds is right."""
    name = next(iter(tables.values))
    best = tables.counts[name].proposals(tables.values[name], tables.fold, 1)[:, 0]
    return float((best == run.catalog.label[run.splits.products(PART)]).mean())


def fit_rows(
    folder: Path, run: Run, topks: dict[str, TopK], tables: AttributeTables | None
) -> np.ndarray:
    """Whether a booster is right for each product of `fit`, out-of-fold: bool [Q].

    folder: an empty one. topks: predictions of the images of `fit`, by name.
    """
    config = run.experiment.config
    features = replace(config.features, use_raw_topk=False)
    products = run.splits.products(PART)
    query = make_query(run.catalog, products)
    inputs = PartInputs(
        features,
        PART,
        run.catalog,
        run.splits,
        run.catalog,
        query,
        len(run.categories),
        list(topks.values()),
        attribute_classes=None if tables is None else tables.proposals(features.attribute_k),
    )
    folders = [folder / name for name in ("candidates", "source", "attributes", "booster")]
    for one in folders:
        one.mkdir()
    build_candidates(folders[0], [inputs], PART)
    build_source(
        folders[1],
        features,
        folders[0],
        [(query, inputs.topks)],
        list(topks),
        inputs.num_classes,
    )
    product, class_id, fold, target = (
        np.load(folders[0] / f"{name}.npy") for name in ("product", "class_id", "fold", "target")
    )
    query_row = np.searchsorted(products, product)
    if tables is not None:
        write_by_chunks(folders[2], query_row, class_id, tables.columns, PARTITION)
    used = folders[: 2 if tables is None else 3]
    threads = num_threads(config.run)
    columns = [FeatureTable.load(one) for one in used]
    fit_oof(folders[3], BOOSTER, columns, target, fold, product, config.stack, config.seed, threads)
    best = group_argmax(np.load(folders[3] / "oof.npy"), product)
    right = np.zeros(len(products), bool)  # a product without a row stays wrong
    right[query_row[best]] = target[best] == 1
    return right


def study(run: Run, beside: Beside, pictures: dict[str, TopK], epochs: int) -> Iterator[list[str]]:
    """Cells of each row of the table: pictures, then titles, each without and with attributes.

    pictures: predictions of the images of `fit`, by name. epochs: of the text model.
    """
    config = run.experiment.config
    names = [*beside.category, *beside.number]
    every = ["all attributes", *(names if len(names) > 1 else [])]
    right = _fit(run, pictures, None)
    yield from _rows(run, beside, "pictures", pictures, every, right, None)
    for what, texts in () if beside.title is None else titles(run, beside.title):
        with TemporaryDirectory() as folder:
            topk = predict_out_of_fold(
                Path(folder),
                texts,
                run.catalog,
                run.splits,
                len(run.categories),
                Text(epochs=epochs),
                config.seed,
            )
        yield from _title_rows(run, beside, what, topk, pictures, right)


def _title_rows(
    run: Run, beside: Beside, what: str, topk: TopK, pictures: dict[str, TopK], right: np.ndarray
) -> Iterator[list[str]]:
    """The rows of pictures and a title. right: bool [Q], of the booster on pictures alone."""
    products = run.splits.products(PART)
    query = make_query(run.catalog, products)
    best = best_classes(query, [topk], [1.0], len(run.categories))
    title = best == run.catalog.label[products]
    both = {**pictures, "text": topk}
    yield from _rows(run, beside, f"pictures, {what}", both, ["all attributes"], right, title)


def titles(run: Run, title: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """Name and titles: without words of class names, if there are any; all; of some products."""
    name = title.column_names[0]
    masked = mask_class_words(title, run.categories)
    if num_words(masked) < num_words(title):
        yield f"{name} without words of class names", masked
    yield name, title
    for share in SHARES:
        some = keep_share(title, share, run.experiment.config.seed)
        yield f"{name} of {share:.0%} of the products", some


def _fit(run: Run, topks: dict[str, TopK], tables: AttributeTables | None) -> np.ndarray:
    with TemporaryDirectory() as folder:
        return fit_rows(Path(folder), run, topks, tables)


def _rows(
    run: Run,
    beside: Beside,
    what: str,
    topks: dict[str, TopK],
    attributes: Sequence[str],
    pictures: np.ndarray,
    title: np.ndarray | None,
) -> Iterator[list[str]]:
    """A row without attributes, and one with each of them.

    pictures, title: bool [Q], whether the booster on pictures alone, and the text model alone, are
    right; title is None for rows without titles.
    """
    products = run.splits.products(PART)
    group = None if run.catalog.group is None else run.catalog.group[products]
    before = pictures if title is None else _fit(run, topks, None)
    yield [
        what,
        "" if title is None else f"{title.mean():.1%}",
        str(accuracy(before, group=group)),
        "",
        "" if title is None else points(gain(before, pictures, group=group)),
        "" if title is None else points(gain(before, title, group=group)),
    ]
    for name in attributes:
        every = name == attributes[0]
        names = [*beside.category, *beside.number] if every else [name]
        tables = look_up(run, beside, names)
        after = _fit(run, topks, tables)
        yield [
            f"{what}, {name}",
            "" if every else f"{alone(run, tables):.1%}",
            str(accuracy(after, group=group)),
            points(gain(after, before, group=group)),
            points(gain(after, pictures, group=group)),
            "" if title is None else points(gain(after, title, group=group)),
        ]


def report(arguments: argparse.Namespace) -> str:
    """The table in Markdown. Raises UserError if stage 03 has not run."""
    config = load(arguments.config, arguments.set)
    experiment = Experiment(config)
    if not experiment.path("extract/splits").is_dir():
        raise UserError(f"{experiment.path('extract/splits')} is missing; run 01_extract.py")
    run = Run(
        config.name,
        experiment,
        catalog_of_part(experiment, "train"),
        read_categories(experiment.path("extract/categories")),
        read_splits(experiment.path("extract/splits")),
    )
    rows, beside = [], read_beside(run, arguments)
    pictures = (
        {"probe": probe_pictures(run)} if arguments.probe else read_pictures(run.experiment, PART)
    )
    for row in study(run, beside, pictures, arguments.epochs):
        print(" | ".join(row), file=sys.stderr, flush=True)
        rows.append(row)
    return table(HEADER, rows)


def main() -> int:
    """Exit status: 0, or 2 after a user error."""
    parser = config_parser(
        "attributes",
        "Accuracy of pictures, and of pictures and titles, without and with attributes.",
        "configs/fashion_small.toml",
    )
    parser.add_argument(
        "--texts", default="", metavar="FILE", help="CSV of ids and attributes; else the config's"
    )
    parser.add_argument("--categorical", default="", help="names of its columns, as brand,color")
    parser.add_argument("--numeric", default="", help="names of columns of numbers, as price")
    parser.add_argument("--title", default="", help="its column of titles")
    parser.add_argument("--probe", action="store_true", help="a probe in place of the networks")
    parser.add_argument("--epochs", type=int, default=Text().epochs, help="(%(default)s)")
    return print_report(parser.parse_args(), report)


if __name__ == "__main__":
    sys.exit(main())
