"""`./run_all.sh CONFIG --with-reviewed`: a next round, in which the reviewed answers are labels

work/<name>-reviewed/answers.csv    product and class, as they stood when the round began
work/<name>-reviewed/config.toml    the config of the round, with `pseudo_label.reviewed` set
work/<name>-reviewed/gain.txt       what the round gains, out-of-fold and on the locked part
work/<name>-reviewed/               its artifacts; what it shares with the first round is linked

Every network starts from its own one of the first round (`warm_start`).
"""

import argparse
import csv
import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from lib.config.schema import Config
from lib.config.write import to_toml
from lib.errors import UserError
from lib.pipeline.artifact import Artifact, link, status
from lib.pipeline.experiment import Experiment, load_experiment
from lib.runtime import workers
from lib.runtime.numba_cache import use_writable_cache
from lib.stages.order import declare_all
from lib.stages.report import read_part
from lib.stages.review.labels import NAME, read_answers
from lib.stages.review.page import ANSWERS as LOG
from lib.stages.review.run import export_answers, reviewed_folder
from lib.utils.files import atomic_write

logger = logging.getLogger(__name__)

SUFFIX = "-reviewed"
CONFIG, ANSWERS, GAIN = "config.toml", "answers.csv", "gain.txt"
EXCLUDED = ("new", "dry_run", "status", "verify", "similar", "rehearse", "review")

Work = Callable[[Experiment, argparse.Namespace], int]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the option of a next round."""
    parser.add_argument(
        "--with-reviewed",
        action="store_true",
        help="run again in a folder of its own, work/NAME-reviewed, with the answers of --review as"
        " labels; what they do not touch is kept, and the gain is printed",
    )


def run_next_round(experiment: Experiment, arguments: argparse.Namespace, run: Work) -> int:
    """Run the next round of a finished run, and print what it gains; returns the exit status.

    run: runs all stages of an experiment. Raises UserError for options that exclude this one, for
    a run that is not complete, and where there are no answers.
    """
    for name in EXCLUDED:
        if getattr(arguments, name) not in (None, False):
            option, config = name.replace("_", "-"), f"{experiment.folder}{SUFFIX}/{CONFIG}"
            raise UserError(
                f"--with-reviewed and --{option} exclude each other; the round is a run of its own,"
                f" ./run_all.sh {config} --{option}"
            )
    workers.limit_threads(workers.num_threads(experiment.config.run))
    use_writable_cache()
    path = write_round(experiment, export_answers(experiment))
    second = load_experiment(path)
    _copy_answers(experiment, second)
    logger.info("%d artifacts linked from %s", link_shared(experiment, second), experiment.folder)
    changed = {"config": str(path), "set": [], "rebuild": True, "with_reviewed": False}
    exit_status = run(second, argparse.Namespace(**{**vars(arguments), **changed}))
    if exit_status == 0:
        lines = gain_lines(experiment, second)
        with atomic_write(second.folder / GAIN) as file:
            file.write_text("".join(f"{line}\n" for line in lines))
        print("\n".join(lines))
    return exit_status


def write_round(experiment: Experiment, answers: Path) -> Path:
    """Write the labels and the config of the next round; returns the path of the config.

    answers: of people, whose word goes before that of an earlier round of reviews. Raises UserError
    where no product has a class.
    """
    from lib.data.catalog import read_categories

    config = experiment.config
    class_id = dict[str, int]()
    for table in (config.pseudo_label.reviewed, str(answers)):
        class_id |= read_answers(experiment, Path(table)) if table else {}
    if not class_id:
        raise UserError(f"{answers}: no product has a class yet; nothing can be learned")
    second = round_of(config)
    folder = Path(second.work, second.name)
    folder.mkdir(parents=True, exist_ok=True)
    categories = read_categories(experiment.path("extract/categories"))
    with atomic_write(folder / ANSWERS) as path, path.open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("product", "class"))
        rows.writerows((product, categories.key(c)) for product, c in sorted(class_id.items()))
    with atomic_write(folder / CONFIG) as path:
        path.write_text(to_toml(second))
    return folder / CONFIG


def round_of(config: Config) -> Config:
    """The config of the next round."""
    folder = Path(config.work, config.name)
    answers = Path(f"{folder}{SUFFIX}", ANSWERS)
    # Networks on embeddings train in seconds, and read those of new networks. Texts are no network.
    models = {
        name: model
        if model.input in ("embedding", "text")
        else replace(model, warm_start=str(folder))
        for name, model in config.models.items()
    }
    return replace(
        config,
        name=f"{config.name}{SUFFIX}",
        pseudo_label=replace(config.pseudo_label, reviewed=str(answers)),
        models=models,
    )


def _copy_answers(first: Experiment, second: Experiment) -> None:
    """The review of the second round begins with the answers of the first."""
    source, target = (reviewed_folder(e) / LOG for e in (first, second))
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(target) as path:
            shutil.copyfile(source, path)


def link_shared(first: Experiment, second: Experiment) -> int:
    """Link the artifacts that both rounds build of the same inputs; returns how many."""
    fresh, count = set[Path](), 0
    for artifact in [a for stage in declare_all(second).values() for a in stage]:
        sources = [s.path for s in artifact.inputs.values() if isinstance(s, Artifact)]
        if not fresh.issuperset(sources):
            continue
        if not (is_fresh := status(artifact).fresh) and not artifact.frozen:
            is_fresh = link(artifact, first.folder / artifact.path.relative_to(second.folder))
            count += is_fresh
        if is_fresh:
            fresh.add(artifact.path)
    return count


def gain_lines(first: Experiment, second: Experiment) -> list[str]:
    """What the submitted blend of the second round gains over that of the first, part by part."""
    from lib.evaluation.ladder import gain_line
    from lib.output.report.sections.comparison import compare_parts
    from lib.pipeline.reading import load_array

    count = len(load_array(second.path(NAME) / "product.npy"))
    names = (first.config.name, second.config.name)
    lines = []
    for part in (second.config.stack_part, "locked"):
        comparison = compare_parts(names, *(read_part(e, part) for e in (first, second)))
        baseline = f"{names[0]}, {len(comparison.product):,} products, {comparison.origin}"
        before, after = comparison.accuracies()
        line = gain_line(names[1], baseline, comparison.gain())
        lines.append(f"{line}; {before.value:.4f} -> {after.value:.4f}")
    return [
        f"{count:,} reviewed labels and as many epochs again, from the networks of {first.folder}:",
        *lines,
    ]
