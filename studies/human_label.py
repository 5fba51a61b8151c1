"""How well people do: they label products on a page of this machine, beside the models (Q2).

    python -m studies.human_label --config configs/quickdraw.toml --people 2 --drawings 100
    python -m studies.human_label --config configs/quickdraw.toml --report
    python -m studies.human_label --config configs/sample.toml --drawings 40 --port 8000

Stage 01 must have run; predictions of stage 03 are scored beside the people where they exist.
Everybody gets the same products of a part, in an order of their own, and the page never learns what
they are. Every label is on disk before the next drawing comes: stop the program (Ctrl-C, which
prints the report) or kill it, and the same command goes on. A file of labels remembers its sheet,
so later calls need not repeat `--drawings`, `--part` and `--seed`.
"""

import argparse
import json
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lib import fill, pipeline
from lib.artifacts import replacing, survey
from lib.config.load import load
from lib.config.schema import Config
from lib.data.catalog import PARTS, Catalog, read_categories, read_splits
from lib.errors import UserError
from lib.labelling import app, report
from lib.labelling.images import Pictures
from lib.labelling.items import LabellingTask, draw
from lib.labelling.score import Answers
from lib.labelling.store import Store

SETTINGS: dict[str, Any] = {"part": "locked", "drawings": 100}  # and the seed of the config
MOST_PEOPLE = 100


@dataclass(frozen=True)
class Session:
    """The sheet of a file of labels, and what it was drawn from."""

    config: Config
    catalogue: Catalog
    store: Store
    sheet: LabellingTask
    part: str
    people: int

    def report(self) -> dict[str, Any]:
        """Of all who were asked, and of whoever else the file has answers of."""
        from lib.labelling import baselines

        count = len(self.sheet)
        said, group = {}, self.catalogue.group
        for person in sorted({*range(1, self.people + 1), *self.store.people()}):
            said[person] = np.empty(count, np.int16)
            said[person][self.sheet.order(person)] = self.store.answers(person, count)
        products, names = self.sheet.products, self.sheet.names
        of_models, left_out = baselines.answers(
            self.config, self.part, self.catalogue, products, len(names)
        )
        groups = None if group is None else group[products]
        return report.data(Answers(self.sheet.truth, names, said, of_models, groups), left_out)


def begin(config: Config, store: Store, asked: argparse.Namespace) -> Session:
    """Draw the sheet, or draw again the one that the labels are of.

    Raises UserError for labels of another sheet.
    """
    held = store.about()
    part, drawings, seed = (
        _setting(held, asked, key, usual)
        for key, usual in (SETTINGS | {"seed": config.seed}).items()
    )
    splits = read_splits(config.at("extract/splits"))
    catalogue, classes = (
        fill.catalogue(config, "train"),
        read_categories(config.at("extract/classes")),
    )
    sheet = draw(catalogue, classes, splits.products(part), int(drawings), int(seed))
    if len(sheet) < int(drawings) and not held:
        print(f"{part} has {len(sheet)} products with pictures: all are asked, not {drawings}")
    about = {"part": part, "drawings": drawings, "seed": seed, "sheet": sheet.digest[:16]}
    store.settle({key: str(value) for key, value in about.items()})
    return Session(config, catalogue, store, sheet, part, asked.people)


def _setting(held: dict[str, str], asked: argparse.Namespace, key: str, usual: Any) -> str:
    """What was asked for; else what the file of labels was begun with; else the usual."""
    given = getattr(asked, key)
    return str(held.get(key, usual) if given is None else given)


def serve(session: Session, port: int) -> None:
    """The page, until Ctrl-C or a polite kill."""
    left = set(range(1, session.people + 1))

    def ended(person: int) -> None:
        left.discard(person)
        rest = "all are done; Ctrl-C ends and prints the report" if not left else "others go on"
        print(f"person {person} is through: {rest}", flush=True)

    for person in list(left):
        if session.store.stands(person) == len(session.sheet):
            left.discard(person)
    for kind in (signal.SIGINT, signal.SIGTERM):
        signal.signal(kind, signal.default_int_handler)
    pictures = Pictures(session.catalogue)
    page = app.create_app(session.sheet, session.store, pictures, session.people, ended)
    server = app.Server(page, app.bind(port))
    try:
        print(f"{len(session.sheet)} products, {session.people} people: open {server.url}")
        print(f"labels: {session.store.path}; Ctrl-C ends and prints the report", flush=True)
        server.wait()
    except KeyboardInterrupt:
        print(flush=True)
    finally:
        server.close()
        pictures.close()


def stop_unless_indexed(config: Config, to_show: bool) -> None:
    """Raise UserError if stage 01 has not run, or, where pictures are to be shown, if it was not
    of these settings and files."""
    for artifact in ("classes", "train", "splits"):
        folder = config.at(f"extract/{artifact}")
        if not folder.is_dir():
            raise UserError(f"{folder} is missing; run 01_extract.py first")
    if to_show:
        for path, state in survey(pipeline.stages(config)["extract"]).items():
            if state.state != "fresh" and path.name != "test":
                raise UserError(f"{path} is {state}; run 01_extract.py first")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m studies.human_label",
        description="How well people do, beside the models, on the same products.",
    )
    parser.add_argument("--config", default="configs/quickdraw.toml", help="(%(default)s)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--people", type=int, default=2, help="who label (%(default)s)")
    parser.add_argument("--drawings", type=int, help=f"products to ask ({SETTINGS['drawings']})")
    parser.add_argument("--part", choices=PARTS, help=f"where from ({SETTINGS['part']})")
    parser.add_argument("--seed", type=int, help="of the draw and the orders (the config's)")
    parser.add_argument(
        "--data", type=Path, metavar="FILE", help="of the labels (labels.sqlite in the work folder)"
    )
    parser.add_argument("--port", type=int, default=0, help="of the page; 0: any free one")
    parser.add_argument("--report", action="store_true", help="print what was found, ask nobody")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the report for machines")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="the report as a PNG")
    return parser


def run(asked: argparse.Namespace) -> None:
    """Raises UserError for what the user can mend."""
    if not 1 <= asked.people <= MOST_PEOPLE:
        raise UserError(f"--people {asked.people}: from 1 to {MOST_PEOPLE}")
    if asked.drawings is not None and asked.drawings < 1:
        raise UserError(f"--drawings {asked.drawings}: at least one")
    config = load(asked.config, asked.set)
    path = asked.data or config.folder / "labels.sqlite"
    if asked.report and not path.exists():
        raise UserError(f"{path}: no labels yet; leave out --report to begin")
    stop_unless_indexed(config, to_show=not asked.report)
    with Store(path) as store:
        session = begin(config, store, asked)
        if not asked.report:
            serve(session, asked.port)
        found = session.report()
    print(report.markdown(found))
    if asked.json:
        asked.json.parent.mkdir(parents=True, exist_ok=True)
        with replacing(asked.json) as temporary:
            temporary.write_text(json.dumps(found, indent=1) + "\n")
    if asked.plot and found["all_people"]:
        from lib.labelling import plot  # a second of imports that only a picture needs

        plot.draw(found, asked.plot)


def main() -> int:
    try:
        run(_parser().parse_args())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
