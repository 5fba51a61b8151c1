"""`run_all.sh --data`: its config, planned in a process of its own unless it is there"""

import argparse
import sys
from pathlib import Path

from lib.errors import UserError
from lib.pipeline.experiment import Experiment
from lib.planning.request import CONFIG, make_request
from lib.runtime.scripts import run_script

NEED_A_PLAN = (
    *("dry_run", "show_config", "status", "verify", "new", "similar", "review", "with_reviewed"),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that take the place of a config."""
    add = parser.add_argument
    add(
        "--data",
        metavar="PATH",
        help="instead of a config: a .csv, .bson, .tar or .parquet file, or a folder that has"
        " one for each class;"
        " work/NAME/config.toml is written for it and run",
    )
    add("--test", metavar="PATH", help="with --data: the products to classify")
    add("--images", metavar="PATH", help="with --data: the folder of the images")
    add(
        "--quality",
        choices=("fast", "good", "best"),
        help="with --data: a plan of ten minutes, one nearly as good as the best, or the best in"
        " time (best)",
    )
    add("--time-limit", metavar="TIME", help="with --data: such as 20m or 1h, in which all ends")


def plan_config(arguments: argparse.Namespace) -> int:
    """Set `arguments.config` to the config of `--data`, if it is given; the exit status.

    Raises UserError as `lib.planning.request`, and where there is no plan and none may be made.
    """
    paths = (arguments.data, arguments.test, arguments.images)
    request = make_request(*paths, arguments.time_limit, arguments.set, arguments.quality)
    if request is None:
        return 0
    if not request.is_planned():
        for name in NEED_A_PLAN:
            if getattr(arguments, name, None):
                option = name.replace("_", "-")
                raise UserError(f"{request.folder}: no plan yet; call it without --{option} first")
        given = {"--data": request.data, "--test": request.test, "--images": request.images}
        options = [f"{name}={path}" for name, path in given.items() if path]
        options += [f"--set={override}" for override in request.overrides]
        flags = ("rebuild", "quiet", "verbose")
        options += [f"--{name}" for name in flags if getattr(arguments, name)]
        status = run_script([sys.executable, "-m", "lib.planning", *options])
        if status:
            return status
    arguments.config = str(request.folder / CONFIG)
    return 0


def adapt_config(
    experiment: Experiment, config_path: str, stage: str, seconds: float, taken: dict[str, float]
) -> bool:
    """Reduce the config of `--data` before a stage where the run is late; see `adapt_plan`.

    Other configs, and new products, are left alone.
    """
    is_planned = Path(config_path).resolve() == (experiment.folder / CONFIG).resolve()
    if experiment.target is not None or not is_planned or not experiment.config.run.time_limit:
        return False
    from lib.planning.adapt import adapt_plan

    return adapt_plan(experiment, stage, seconds, taken)
