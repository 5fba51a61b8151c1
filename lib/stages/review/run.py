"""`./run_all.sh CONFIG --review`: people decide what was not accepted, on a page of this machine

work/<name>/reviewed/                      with --new, work/<name>/new/<slug>/reviewed/
    answers.sqlite                         every answer, from the moment it is given
    model/                                 predictions of the test products, as the models gave them
    predictions.csv, predictions.parquet   with the answers, and decided_by
    submission.csv.gz                      with the answers; not with --new
    answers.csv                            a row for each decided product

What the models said stays in `submit/`. The files with the answers are written when the page is
closed, or by `--review --export`.
"""

import argparse
import shutil
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.errors import UserError
from lib.pipeline.artifact import Artifact, ensure
from lib.pipeline.experiment import Experiment
from lib.runtime import workers
from lib.runtime.numba_cache import use_writable_cache
from lib.stages.review.label_issues import review_label_issues
from lib.stages.review.page import ANSWERS, NEXT, finished, move_into_place, open_log, serve

if TYPE_CHECKING:
    from lib.labelling.review.log import ReviewLog
    from lib.labelling.review.task import ReviewTask
    from lib.output.report.names import ClassNames

NUM_PEOPLE, MAX_PEOPLE = 2, 100


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a review."""
    add = parser.add_argument
    add(
        "--review",
        action="store_true",
        help="open a page on this machine, on which people decide the products that were not"
        " accepted; Ctrl-C closes it and writes their answers to reviewed/",
    )
    add(
        "--label-issues",
        action="store_true",
        help="with --review: decide the labelled products whose labels are likely wrong; their"
        " corrections are written to corrections/",
    )
    add("--export", action="store_true", help="with --review: write the answers, open no page")
    add("--people", type=int, metavar="N", help=f"with --review: how many people ({NUM_PEOPLE})")
    add(
        "--port",
        type=int,
        metavar="N",
        help="with --review or --serve: port of the page (any free one)",
    )


def check_options(arguments: argparse.Namespace) -> None:
    """Raise UserError for an option of a review without a review, and for a wrong number."""
    for name in ("label_issues", "export", "people", "port"):
        if getattr(arguments, name) not in (None, False) and not arguments.review:
            owner = "--review or --serve" if name == "port" else "--review"
            raise UserError(f"--{name.replace('_', '-')} belongs to {owner}; add it")
    if arguments.review and arguments.label_issues and arguments.new is not None:
        raise UserError("--label-issues is for labelled products, and --new names others")
    if arguments.review and getattr(arguments, "dry_run", False):
        raise UserError("--review shows or writes answers, so it has no --dry-run")
    if not 1 <= (NUM_PEOPLE if arguments.people is None else arguments.people) <= MAX_PEOPLE:
        raise UserError(f"--people {arguments.people}: must be from 1 to {MAX_PEOPLE}")


def review(experiment: Experiment, arguments: argparse.Namespace) -> list[str]:
    """Serve the page until Ctrl-C or SIGTERM, then write the answers; returns lines to print.

    arguments: those of `add_options`. Raises UserError where there is nothing to review, the run
    is not complete, the pictures are gone, or another review of these products is open.
    """
    check_options(arguments)
    workers.limit_threads(workers.num_threads(experiment.config.run))
    use_writable_cache()
    num_people, port = arguments.people or NUM_PEOPLE, arguments.port or 0
    if arguments.label_issues:
        return review_label_issues(experiment, arguments.export, num_people, port)
    source = _model_predictions(experiment)
    with open_log(reviewed_folder(experiment)) as log:
        if not arguments.export:
            serve(read_task(experiment, source), log, num_people, port)
        return export(experiment, source, log)


def export_answers(experiment: Experiment) -> Path:
    """Write the answers as when the page is closed; returns the path of answers.csv.

    Raises UserError as `review`, and where nobody has answered.
    """
    folder = reviewed_folder(experiment)
    if not (folder / ANSWERS).exists():
        raise UserError(f"{folder}: no answers yet; give some on the page that --review opens")
    source = _model_predictions(experiment)
    with open_log(folder) as log:
        export(experiment, source, log)
    return folder / "answers.csv"


def reviewed_folder(experiment: Experiment) -> Path:
    """Where the answers are."""
    return experiment.path("submit").parent / "reviewed"


def _model_predictions(experiment: Experiment) -> Path:
    """The Parquet file of the models' predictions, which is written first if it has to be."""
    if experiment.config.multi_label:
        raise UserError("--review is for products of one class each, not for clusters.multi_label")
    if not experiment.has_test:
        raise UserError("data.test names no products to classify; name some with --new PATH")
    submit = finished(experiment, "submit")
    if experiment.target is not None:
        return submit.path / "predictions.parquet"
    model = Artifact(
        reviewed_folder(experiment) / "model",
        partial(_predict_test, experiment),
        config={"top_k": experiment.config.inference.top_k},
        inputs={**submit.inputs, "submit": submit},
    )
    ensure(model, rebuild=True)
    return model.path / "predictions.parquet"


def _predict_test(experiment: Experiment, folder: Path) -> dict[str, Any]:
    """Write the predictions of the test products, as `--new` does of others; returns counts."""
    from lib.stages.blends.predictions import predict_products
    from lib.stages.blends.promise import read_labelled
    from lib.stages.blends.scores import score_part

    parts = (experiment.config.stack_part, "locked")
    oof, locked = (score_part(experiment, part) for part in parts)
    labelled = read_labelled(experiment, oof, locked)
    return predict_products(experiment, folder, labelled).counts


def read_task(experiment: Experiment, source: Path) -> "ReviewTask":
    """The products to decide. source: the Parquet file of the models' predictions."""
    import pyarrow.parquet as pq

    from lib.labelling.review.task import make_review_task
    from lib.output.predictions import NUM_NEAR
    from lib.output.report.sections.new_products import read_predictions
    from lib.pipeline.reading import reading
    from lib.stages.read import catalog_of_part, read_nearest_products

    names = _class_names(experiment)
    with reading(source):
        predictions = read_predictions(pq.read_table(source), names)
    catalog, labelled = (catalog_of_part(experiment, side) for side in ("test", "train"))
    if not catalog.path.exists():
        raise UserError(f"{catalog.path} is gone, and with it the pictures of the products")
    near = read_nearest_products(experiment, "test", NUM_NEAR)
    return make_review_task(catalog, labelled, predictions, near, names)


def _class_names(experiment: Experiment) -> "ClassNames":
    from lib.data.catalog import read_categories
    from lib.output.report.names import ClassNames

    return ClassNames(read_categories(experiment.path("extract/categories")))


def export(experiment: Experiment, source: Path, log: "ReviewLog") -> list[str]:
    """Write the answers that stand to the folder; returns lines to print.

    Answers to products or classes that the catalog no longer has are left out, and counted.
    """
    from lib.labelling.review.log import SKIP, decisions
    from lib.output import reviewed

    names, folder = _class_names(experiment), reviewed_folder(experiment)
    paths = dict(zip(names.keys, names.paths, strict=True))
    given = decisions(log.answers())
    decided = {
        product: reviewed.Decision(answer.class_key, answer.person, answer.time)
        for product, answer in given.items()
        if answer.kind != SKIP
    }
    known = _known(source, decided, paths)
    temporary = folder / NEXT
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    reviewed.write_reviewed_predictions(temporary, source, known, paths)
    reviewed.write_answers(temporary / "answers.csv", known, paths, source)
    if experiment.target is None:
        name = "submission.csv.gz"
        submission = experiment.path("submit") / name
        reviewed.write_reviewed_submission(temporary / name, submission, known, names.keys)
    move_into_place(temporary, folder)
    return _summary(folder, known, len(given) - len(decided), len(decided) - len(known))


def _known(source: Path, decided: dict[str, Any], classes: dict[str, str]) -> dict[str, Any]:
    """The decisions whose product and class the catalog has."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    column = pq.read_table(source, columns=["product"])["product"].cast(pa.string())
    products = set(column.to_pylist())
    return {
        product: decision
        for product, decision in decided.items()
        if product in products and (decision.class_key is None or decision.class_key in classes)
    }


def _summary(folder: Path, known: dict[str, Any], skipped: int, unknown: int) -> list[str]:
    absent = sum(decision.class_key is None for decision in known.values())
    lines = [
        f"{len(known):,} products are decided by people ({absent:,} not in the list),"
        f" {skipped:,} skipped",
        f"predictions: {folder / 'predictions.csv'} and .parquet",
    ]
    if unknown:
        lines.insert(1, f"{unknown:,} answers are to products or classes that are no longer there")
    return lines
