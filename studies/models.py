"""Models side by side, of one config or of several on the same catalogue (B1, T2, T4).

    python -m studies.models --config configs/fashion_frozen.toml
    python -m studies.models --config configs/mine.toml configs/mine_round2.toml --first lite0

What stage 03 has left is read, nothing is trained. A product's answer is the mean over its pictures
and views; out-of-fold it is that of the networks that never saw it. Gains are over the first model,
or the one that `--first` names, on the same products.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from lib.config.load import load
from lib.config.schema import Config
from lib.data.catalog import read_catalog, read_categories, read_splits
from lib.errors import UserError
from lib.features.network import best_classes
from lib.features.query import make_query
from lib.pipeline.experiment import Experiment
from lib.stages.read import read_topk
from studies.tables import Answers, lines_of, markdown


def answers(config: Config, model: str) -> Answers:
    """Whether each product's class comes first. Raises UserError where stage 03 has not run."""
    known = read_catalog(Experiment(config).path("extract/train"), Path(config.data.root))
    splits = read_splits(Experiment(config).path("extract/splits"))
    classes = len(read_categories(Experiment(config).path("extract/classes")))
    right = []
    for part in ("locked", config.stack_part):
        folder = Experiment(config).path(f"predictions/{model}/{part}")
        if not folder.is_dir():
            raise UserError(f"{folder} is missing; run 03_predict_tta.py")
        asked = make_query(known, splits.products(part))
        dump = read_topk(Experiment(config), model, part)
        right.append(best_classes(asked, [dump], [1.0], classes) == known.label[asked.products])
    return Answers(*right)


def compare(configs: Sequence[Config], first: str) -> str:
    """A table, in Markdown. Raises UserError for catalogues of other parts, or no such model."""
    found = {
        (model if len(configs) == 1 else f"{config.name}, {model}"): answers(config, model)
        for config in configs
        for model in config.models
    }
    start = next((name for name in found if name == first or name.endswith(f", {first}")), None)
    if first and start is None:
        raise UserError(f"no model {first!a}; there are: {', '.join(found)}")
    ordered = dict(sorted(found.items(), key=lambda item: item[0] != start)) if start else found
    if len({(len(one.locked), len(one.oof)) for one in ordered.values()}) > 1:
        raise UserError("these configs have other locked products; compare those of one catalogue")
    title = ", ".join(config.name for config in configs)
    return markdown(title, lines_of({name: [one] for name, one in ordered.items()}))


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m studies.models",
        description="Models side by side, with what each gains over the first.",
        epilog="example: python -m studies.models --config configs/fashion_frozen.toml",
    )
    parser.add_argument("--config", nargs="+", default=["configs/fashion.toml"])
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--first", default="", help="the model that others are compared with")
    arguments = parser.parse_args()
    try:
        configs = [load(path, arguments.set) for path in arguments.config]
        print(compare(configs, arguments.first))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
