"""Human accuracy: people label products on a local page; models are scored on the same products.

    python -m studies.human_label --config configs/quickdraw.toml --people 2 --items 100
    python -m studies.human_label --config configs/quickdraw.toml --report
    python -m studies.human_label --config configs/sample.toml --items 40 --port 8000

Run stage 01 first. Models are scored beside the people if stage 03 has predicted the part. By
default that is the part that trains the boosters, whose predictions are out-of-fold: from networks
that never saw the product, so the comparison is fair, and the products of the final figures stay
unseen. Where networks have folds, one network scores a product there, not the mean of all.

All people label the same products of a part, each in a different order, and the page never learns
the true classes. Every label is on disk before the next product is shown. Stop the program at any
time (Ctrl-C prints the report); the same command continues. The file of labels stores its settings,
so later calls need not repeat `--items`, `--part` and `--seed`.
"""

import argparse
import json
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lib.config.load import load
from lib.data.catalog import PARTS, Catalog, read_categories, read_splits
from lib.errors import UserError
from lib.inference.topk import TopK
from lib.labelling import app, report
from lib.labelling.baselines import predicted_classes
from lib.labelling.images import ProductImages
from lib.labelling.items import LabellingTask, sample_task
from lib.labelling.score import Responses
from lib.labelling.server import Server, bind
from lib.labelling.store import Store
from lib.pipeline.artifact import status_all
from lib.pipeline.experiment import Experiment
from lib.stages.order import declare_all
from lib.stages.read import catalog_of_part, read_topk
from lib.utils.files import atomic_write

NUM_ITEMS = 100  # by default
MAX_PEOPLE = 100


@dataclass(frozen=True)
class Session:
    """A file of labels with its task and the catalog of the task's products."""

    experiment: Experiment
    catalog: Catalog
    store: Store
    task: LabellingTask
    part: str
    num_people: int

    def report(self) -> dict[str, Any]:
        """Results of persons 1 to `num_people` and of everyone else with labels in the file."""
        products, names = self.task.products, self.task.class_names
        topks, notes = fresh_topks(self.experiment, self.part)
        models = predicted_classes(topks, self.catalog, products, len(names))
        group = None if self.catalog.group is None else self.catalog.group[products]
        people = {*range(1, self.num_people + 1), *self.store.people()}
        by_person = {person: self._labels(person) for person in sorted(people)}
        return report.to_dict(Responses(self.task.truth, names, by_person, models, group), notes)

    def _labels(self, person: int) -> np.ndarray:
        """int16 [N]: the person's labels in the order of the task's products."""
        labels = np.empty(len(self.task), np.int16)
        labels[self.task.order(person)] = self.store.labels(person, len(self.task))
        return labels


def open_session(experiment: Experiment, store: Store, arguments: argparse.Namespace) -> Session:
    """Draw the task of a new file of labels, or the one that the file belongs to.

    Raises UserError if the file belongs to another task.
    """
    stored, config = store.metadata(), experiment.config
    part = _setting(stored, arguments, "part", config.stack_part)
    num_items = _setting(stored, arguments, "items", NUM_ITEMS)
    seed = _setting(stored, arguments, "seed", config.seed)
    products = read_splits(experiment.path("extract/splits")).products(part)
    catalog = catalog_of_part(experiment, "train")
    categories = read_categories(experiment.path("extract/categories"))
    task = sample_task(catalog, categories, products, int(num_items), int(seed))
    if len(task) < int(num_items) and not stored:
        print(f"{part} has only {len(task)} products with images: using all, not {num_items}")
    store.bind({"part": part, "items": num_items, "seed": seed, "task": task.digest[:16]})
    return Session(experiment, catalog, store, task, part, arguments.people)


def fresh_topks(experiment: Experiment, part: str) -> tuple[dict[str, TopK], list[str]]:
    """Predictions of a part by model, and a sentence for each model with none, or stale ones."""
    stages = declare_all(experiment)
    statuses = status_all([*stages["extract"], *stages["train"], *stages["predict"]])
    topks, notes = {}, []
    for name in experiment.config.classifiers:
        status = statuses.get(experiment.path(f"predictions/{name}/{part}"))
        if status is not None and status.fresh:
            topks[name] = read_topk(experiment, name, part)
        else:
            notes.append(f"{name} is left out: its predictions of {part} are {status or 'none'}.")
    return topks, notes


def _setting(stored: dict[str, str], arguments: argparse.Namespace, key: str, default: Any) -> str:
    """The command line's value; else the stored one of the file; else the default."""
    given = getattr(arguments, key)
    return str(stored.get(key, default) if given is None else given)


def serve(session: Session, port: int) -> None:
    """Serve the page until Ctrl-C or SIGTERM."""
    store, total = session.store, len(session.task)
    unfinished = {p for p in range(1, session.num_people + 1) if store.position(p) < total}

    def on_finished(person: int) -> None:
        unfinished.discard(person)
        rest = "others continue" if unfinished else "everyone is done; press Ctrl-C for the report"
        print(f"person {person} is done: {rest}", flush=True)

    for kind in (signal.SIGINT, signal.SIGTERM):
        signal.signal(kind, signal.default_int_handler)
    images = ProductImages(session.catalog)
    page = app.create_app(session.task, store, images, session.num_people, on_finished)
    server = Server(page, bind(port))
    try:
        print(f"{total} products, {session.num_people} people: open {server.url}")
        print(f"labels: {store.path}; Ctrl-C stops and prints the report", flush=True)
        server.wait()
    except KeyboardInterrupt:
        print(flush=True)
    finally:
        server.close()
        images.close()


def check_indexed(experiment: Experiment, needs_images: bool) -> None:
    """Raise UserError if stage 01 has not run.

    Where images are shown, its artifacts must also match the current settings and files.
    """
    for artifact in ("categories", "train", "splits"):
        folder = experiment.path(f"extract/{artifact}")
        if not folder.is_dir():
            raise UserError(f"{folder} is missing; run 01_extract.py first")
    if needs_images:
        for path, status in status_all(declare_all(experiment)["extract"]).items():
            if not status.fresh and path.name != "test":
                raise UserError(f"{path} is {status}; run 01_extract.py first")


def argument_parser() -> argparse.ArgumentParser:
    """The command line of this study."""
    parser = argparse.ArgumentParser(
        prog="python -m studies.human_label",
        description="People label products on a local page; models are scored on the same ones.",
    )
    parser.add_argument("--config", default="configs/quickdraw.toml", help="(%(default)s)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--people", type=int, default=2, help="number of people (%(default)s)")
    parser.add_argument("--items", type=int, help=f"number of products ({NUM_ITEMS})")
    parser.add_argument("--part", choices=PARTS, help="of the split (what trains the boosters)")
    parser.add_argument("--seed", type=int, help="of the sample and the orders (the config's)")
    parser.add_argument(
        "--data",
        type=Path,
        metavar="FILE",
        help="file of labels (labels.sqlite in the work folder)",
    )
    parser.add_argument("--port", type=int, default=0, help="of the page; 0: any free port")
    parser.add_argument("--report", action="store_true", help="print the report, open no page")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report as JSON")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write the report as a PNG")
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Serve the page, or print the report. Raises UserError for errors that the user can fix."""
    if not 1 <= arguments.people <= MAX_PEOPLE:
        raise UserError(f"--people {arguments.people}: must be from 1 to {MAX_PEOPLE}")
    if arguments.items is not None and arguments.items < 1:
        raise UserError(f"--items {arguments.items}: must be at least 1")
    experiment = Experiment(load(arguments.config, arguments.set))
    path = arguments.data or experiment.folder / "labels.sqlite"
    if arguments.report and not path.exists():
        raise UserError(f"{path}: no labels yet; leave out --report to start labelling")
    check_indexed(experiment, needs_images=not arguments.report)
    with Store(path) as store:
        session = open_session(experiment, store, arguments)
        if not arguments.report:
            serve(session, arguments.port)
        results = session.report()
    print(report.to_markdown(results))
    _write_files(results, arguments)


def _write_files(results: dict[str, Any], arguments: argparse.Namespace) -> None:
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(arguments.json) as temporary:
            temporary.write_text(json.dumps(results, indent=1) + "\n")
    if arguments.plot and results["all_people"]:
        from lib.labelling import plot  # imports matplotlib, which takes a second

        plot.draw(results, arguments.plot)


def main() -> int:
    """Exit status: 0, 2 after a user error, 130 after Ctrl-C."""
    try:
        run(argument_parser().parse_args())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
