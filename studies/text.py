"""What the texts of products tell beside their pictures, out-of-fold.

    python -m studies.text work/sample_text
    python -m studies.text work/fashion --texts ../input/train_titles.csv.gz \
        --columns title,gender,base_colour,season,year,usage

Reads the parts, folds and out-of-fold predictions that a finished run left, and its texts, or a
table of texts if it has none itself. A text model is trained over four folds of the same split for
each row of the table: all columns, the first alone, the first without the words of the names of
classes if it has any, and the first of a share of the products, which are drawn by seed. "with
pictures" is the geometric mean with the networks of the run; its text models have no part in it.
The weight of the text model in it is chosen for each fold by the accuracy of the other folds.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lib.config.inputs.text import Text
from lib.data.catalog import Catalog, Categories, Splits
from lib.data.sources.text_table import TableFormat
from lib.data.texts.join import join_texts, read_texts
from lib.errors import UserError
from lib.evaluation.markdown import table
from lib.evaluation.metrics import accuracy, gain
from lib.features.network import best_classes
from lib.features.query import Query, make_query
from lib.inference.text_predictor import TextPredictor
from lib.inference.topk import TopK
from lib.inference.topk_writer import write_topk
from lib.models.text.classifier import TextClassifier
from lib.models.text.fit import fit
from lib.models.text.ngrams import words
from lib.pipeline.experiment import Experiment
from lib.stages.read import read_topk
from studies.command import print_report
from studies.compare import Run, open_run
from studies.tables import points

FOLDS = 4
WEIGHTS = (0.0, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95)  # of the text model beside the pictures
SHARES = (0.5, 0.1)  # of the products that keep their text
MIN_LETTERS = 3  # of a masked word: "of" and "&" in names of classes name none


def mask_class_words(texts: pa.Table, categories: Categories) -> pa.Table:
    """The texts without the words of the names of classes, in singular and plural."""
    names = {word for levels in categories.names for name in levels for word in words(name)}
    stems = {_stem(name) for name in names if len(name) >= MIN_LETTERS}
    columns = {}
    for column in texts.column_names:
        kept = [
            None if text is None else " ".join(w for w in words(text) if _stem(w) not in stems)
            for text in texts[column].to_pylist()
        ]
        columns[column] = pa.array([text or None for text in kept], pa.string())
    return pa.table(columns)


def num_words(texts: pa.Table) -> int:
    """The words of all texts."""
    values = (text for column in texts.columns for text in column.to_pylist())
    return sum(len(words(text)) for text in values if text is not None)


def read_pictures(experiment: Experiment, part: str) -> dict[str, TopK]:
    """Predictions of the models of a run that see pictures, by name.

    Raises UserError if stage 03 has not run.
    """
    names = [n for n, model in experiment.config.classifiers.items() if model.input != "text"]
    for name in names:
        folder = experiment.path(f"predictions/{name}/{part}")
        if not folder.is_dir():
            raise UserError(f"{folder} is missing; run 03_predict_tta.py first")
    return {name: read_topk(experiment, name, part) for name in names}


def _stem(word: str) -> str:
    """Without an English plural: shoe of shoes, watch of watches; all that a mask needs."""
    return word.removesuffix("es").removesuffix("s").removesuffix("e")


def keep_share(texts: pa.Table, share: float, seed: int) -> pa.Table:
    """The texts of a share of the products, drawn by seed; the others have none."""
    kept = pa.array(np.random.default_rng(seed).random(len(texts)) < share)
    return pa.table(
        {
            name: pc.if_else(kept, texts[name], pa.scalar(None, pa.string()))
            for name in texts.column_names
        }
    )


def predict_out_of_fold(
    folder: Path,
    texts: pa.Table,
    catalog: Catalog,
    splits: Splits,
    num_classes: int,
    settings: Text,
    seed: int,
) -> TopK:
    """Predictions of the images of `fit`, each by the model that left out the fold of its product.

    folder: an empty one, for the files of the training.
    """
    from lib.config.schema import Predict

    fit_products = splits.products("fit")
    fold = splits.fold_of_product(FOLDS)
    present = np.logical_or.reduce([column.is_valid().to_numpy() for column in texts.columns])
    models: list[TextClassifier] = []
    for number in range(FOLDS):
        scratch = folder / str(number)
        scratch.mkdir()
        train = fit_products[(fold[fit_products] != number) & present[fit_products]]
        rows = texts.take(pa.array(train))
        *_, (model, _) = fit(scratch, rows, catalog.label[train], num_classes, settings, seed)
        models.append(model)
    images = catalog.images_of(fit_products)
    predictor = TextPredictor(models, texts, catalog.image_product)
    of_image = fold[catalog.image_product[images]]
    write_topk(folder, predictor, Predict(), images, of_image, center_view=False)
    return TopK.load(folder)


def variants(texts: pa.Table, categories: Categories, seed: int) -> Iterator[tuple[str, pa.Table]]:
    """Name and texts of each row of the table."""
    first = texts.select(texts.column_names[:1])
    name = texts.column_names[0]
    yield f"{name} alone", first
    if texts.num_columns > 1:
        yield f"all {texts.num_columns} columns", texts
    masked = mask_class_words(first, categories)
    if num_words(masked) < num_words(first):
        yield f"{name} without words of class names", masked
    for share in SHARES:
        yield f"{name} of {share:.0%} of the products", keep_share(first, share, seed)


def study(run: Run, texts: pa.Table, settings: Text) -> Iterator[list[str]]:
    """Cells of each row of the table: pictures alone, then each variant of the texts."""
    config, catalog, splits = run.experiment.config, run.catalog, run.splits
    fit_products = splits.products("fit")
    query = make_query(catalog, fit_products)
    label, num_classes = catalog.label[fit_products], len(run.categories)
    fold = splits.fold_of_product(FOLDS)[fit_products]
    group = None if catalog.group is None else catalog.group[fit_products]
    of_model = read_pictures(run.experiment, "fit")
    pictures, weights = list(of_model.values()), [config.model_weights[name] for name in of_model]
    before = best_classes(query, pictures, weights, num_classes) == label
    yield ["pictures alone", "", "", str(accuracy(before, group=group)), "", ""]
    for name, some in variants(texts, run.categories, config.seed):
        with TemporaryDirectory() as folder:
            topk = predict_out_of_fold(
                Path(folder), some, catalog, splits, num_classes, settings, config.seed
            )
        present = np.logical_or.reduce([column.is_valid().to_numpy() for column in some.columns])
        alone = best_classes(query, [topk], [1.0], num_classes) == label
        both = with_pictures(query, pictures, weights, topk, label, num_classes, fold)
        has_text = present[fit_products]
        of_text = None if group is None else group[has_text]
        yield [
            name,
            f"{has_text.mean():.1%}",
            str(accuracy(alone[has_text], group=of_text)),
            str(accuracy(both, group=group)),
            points(gain(both, before, group=group)),
            points(gain(both[has_text], alone[has_text], group=of_text)),
        ]


def with_pictures(
    query: Query,
    pictures: Sequence[TopK],
    weights: Sequence[float],
    texts: TopK,
    label: np.ndarray,
    num_classes: int,
    fold: np.ndarray,
) -> np.ndarray:
    """Whether the mean of pictures and texts is right, bool [Q]; no fold chooses its own weight.

    weights: of the networks. label, fold: int [Q].
    """
    correct = []
    for weight in WEIGHTS:
        shares = [*((1 - weight) * np.array(weights) / sum(weights)), weight]
        correct.append(best_classes(query, [*pictures, texts], shares, num_classes) == label)
    chosen = [
        int(np.argmax([hits[fold != number].mean() for hits in correct])) for number in range(FOLDS)
    ]
    return np.array(correct)[np.array(chosen)[fold], np.arange(len(label))]


def read_run_texts(run: Run, arguments: argparse.Namespace) -> pa.Table:
    """The texts of the labelled products: of a table, or those that the run itself has.

    Raises UserError if there are none.
    """
    data = run.experiment.config.data
    columns: Sequence[str] = arguments.columns.split(",") if arguments.columns else ()
    if not arguments.texts:
        if not data.text_columns:
            raise UserError(f"{run.name}: the run has no texts; name a table by --texts")
        folder = run.experiment.path("extract/texts/train")
        return read_texts(folder, columns or data.text_columns).combine_chunks()
    if not columns:
        raise UserError("name the columns of --texts by --columns")
    with TemporaryDirectory() as name:
        join_texts(
            Path(name),
            run.catalog,
            [Path(arguments.texts)],
            columns,
            data.id_column,
            TableFormat(data.encoding, data.separator),
            data.max_bad_fraction,
        )
        return read_texts(Path(name), columns).combine_chunks()


def report(arguments: argparse.Namespace) -> str:
    """The table in Markdown."""
    run = open_run(arguments.run)
    texts = read_run_texts(run, arguments)
    header = (
        "texts",
        "present",
        "texts alone, where present",
        "with pictures",
        "over pictures",
        "over texts",
    )
    rows = []
    for row in study(run, texts, Text(epochs=arguments.epochs)):
        print(" | ".join(row), file=sys.stderr, flush=True)
        rows.append(row)
    return table(header, rows)


def main() -> int:
    """Exit status: 0, or 2 after a user error."""
    parser = argparse.ArgumentParser(
        prog="python -m studies.text",
        description="Accuracy of texts, and of texts with pictures, out-of-fold.",
        epilog="example: python -m studies.text work/mine --texts titles.csv --columns title",
    )
    parser.add_argument("run", help="folder of a finished run, as work/fashion")
    parser.add_argument(
        "--texts", default="", metavar="FILE", help="CSV of ids and texts; else those of the run"
    )
    parser.add_argument("--columns", default="", help="names of its columns, as title,brand")
    parser.add_argument("--epochs", type=int, default=Text().epochs, help="(%(default)s)")
    return print_report(parser.parse_args(), report)


if __name__ == "__main__":
    sys.exit(main())
