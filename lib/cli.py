"""The command line of the numbered scripts, and of `run_all.sh`.

python 05_stack.py --config configs/sample.toml     one stage
python -m lib.cli configs/sample.toml               all stages; starts only those not fresh
"""

import argparse
import contextlib
import logging
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType

from lib.config.schema import Run
from lib.config.write import to_toml
from lib.errors import UserError
from lib.pipeline import executor
from lib.pipeline.artifact import Artifact, Status, status_all
from lib.pipeline.experiment import Experiment, load_experiment
from lib.pipeline.integrity import check_all, check_intact
from lib.pipeline.listing import state_lines
from lib.planning.launch import adapt_config, add_options, plan_config
from lib.runtime import signals, workers
from lib.runtime.exits import exit_status
from lib.runtime.log import configure_logging
from lib.runtime.numba_cache import use_writable_cache
from lib.runtime.scripts import run_script
from lib.serving import command
from lib.stages import extract, report, submit
from lib.stages.order import STAGES, build_stage, check_frozen, declare_all
from lib.stages.pages import early_report
from lib.stages.pages.similar import similar
from lib.stages.rehearsal.remaining import stage_line, status_lines
from lib.stages.rehearsal.run import estimate_lines, rehearse
from lib.stages.review import next_round
from lib.stages.review import run as review
from lib.utils.files import atomic_write, file_lock

logger = logging.getLogger("lib.cli")  # `python -m lib.cli` runs as __main__

Work = Callable[[Experiment, argparse.Namespace], int]

DEFAULT_CONFIG = "configs/sample.toml"


def run_stage(stage: ModuleType, argv: Sequence[str] | None = None) -> int:
    """Run one stage as its script does; returns the exit status.

    stage: a module of `lib/stages` that has NAME, SCRIPT, PARALLEL and `declare`.
    0: done; 1: unexpected error, with its traceback; 2: error that the user can fix; 130: Ctrl-C.
    """
    parser = _parser(stage.SCRIPT, _first_line(stage.__doc__))
    parser.add_argument("--config", default=DEFAULT_CONFIG, help="TOML file (default: %(default)s)")
    if stage is submit:
        early_report.add_options(parser)
    arguments = parser.parse_args(argv)
    exit_status = _exit_status(arguments, partial(_run_stage, stage))
    if workers.is_distributed():
        # Threads of gloo may still run, and abort a process that is done when it is torn down.
        logging.shutdown()
        sys.stdout.flush()
        os._exit(exit_status)
    return exit_status


def run_all(argv: Sequence[str] | None = None) -> int:
    """Run all stages in order, as `run_all.sh` does; returns the exit status.

    This process only compares artifacts with the config. A stage that is not fresh is run by its
    script in a process of its own, which gives its memory back; by this process for a few new
    products, whose answers would wait for the imports of each script.
    """
    parser = _parser("run_all.sh", "Run all six stages, from the original files to a submission.")
    parser.add_argument("config", nargs="?", default=DEFAULT_CONFIG, help="TOML file")
    add_options(parser)
    parser.add_argument(
        "--verify",
        action="store_true",
        help="compare all files of finished artifacts with their checksums, and run nothing",
    )
    parser.add_argument(
        "--status",
        action="store_true",
        help="show the size and time of every artifact and the time that is left; run nothing",
    )
    parser.add_argument(
        "--similar",
        metavar="PRODUCT",
        help="find the labelled products whose pictures are nearest to a product's, or to a file's",
    )
    parser.add_argument(
        "--rehearse",
        nargs="?",
        type=int,
        const=0,
        metavar="PRODUCTS",
        help="run all stages on a draw of the labelled products (2000, fewer on a slow machine), in"
        " a folder of its own, and estimate time, memory and disk of the whole",
    )
    for module in (review, next_round, command):
        module.add_options(parser)
    parser.set_defaults(called=time.monotonic())
    return _exit_status(parser.parse_args(argv), _run_all)


def _parser(program: str, description: str) -> argparse.ArgumentParser:
    call = f"./{program} " if program.endswith(".sh") else f"python {program} --config "
    parser = argparse.ArgumentParser(
        prog=program,
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"examples:\n  {call}configs/fashion.toml\n"
        f"  {call}configs/fashion.toml --set train.lr=0.01 --dry-run\n"
        f"  {call}configs/fashion.toml --new ../other/new.bson",
    )
    add = parser.add_argument
    add(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a setting, as in --set train.lr=0.01; may be repeated",
    )
    add(
        "--new",
        metavar="PATH",
        help="classify these products with the trained models: a .bson, .csv, .npy or .ndjson file,"
        " an image, or a folder of images, of .npy or of .ndjson files",
    )
    add("--rebuild", action="store_true", help="rebuild stale artifacts (fresh ones are kept)")
    add(
        "--strict",
        action="store_true",
        help="stage 01: stop if any record or image cannot be used",
    )
    add(
        "--dry-run",
        action="store_true",
        help="show what is fresh, stale or missing; change nothing",
    )
    add("--show-config", action="store_true", help="print all settings as TOML and exit")
    add("--quiet", action="store_true", help="report warnings and errors only")
    add("--verbose", action="store_true", help="report fresh artifacts and details too")
    return parser


def _exit_status(arguments: argparse.Namespace, work: Work) -> int:
    """Load the experiment, call `work(experiment, arguments)`, and turn errors into one line."""
    configure_logging(_level(arguments))
    signals.raise_when_terminated()
    if arguments.quiet:
        os.environ["TQDM_DISABLE"] = "1"
    place = [Path(arguments.config).parent]

    def run() -> int:
        status = plan_config(arguments) if "data" in arguments else 0
        if status:
            return status
        experiment = load_experiment(arguments.config, arguments.set, arguments.new)
        place.append(experiment.folder)
        if arguments.show_config:
            print(to_toml(experiment.config), end="")
            return 0
        return work(experiment, arguments)

    return exit_status(run, lambda: place[-1], logger)


def _run_stage(stage: ModuleType, experiment: Experiment, arguments: argparse.Namespace) -> int:
    run = experiment.config.run
    _prepare(run)
    if getattr(arguments, "report", False):
        _print_lines(early_report.write_early_report(experiment))
        return 0
    build = partial(_dry_run if arguments.dry_run else _build_stage, stage, experiment, arguments)
    return executor.run_on_ranks(run, build)


def _prepare(run: Run) -> None:
    """Before this process loads libraries that compute."""
    workers.limit_threads(workers.num_threads(run))
    workers.tune_malloc()
    use_writable_cache()
    signals.end_when_stuck()


def _build_stage(stage: ModuleType, experiment: Experiment, arguments: argparse.Namespace) -> int:
    artifacts = declare_all(experiment)
    check_frozen(experiment, artifacts, arguments.config, arguments.set)
    _check_earlier_stages(stage, artifacts)
    if executor.has_work(artifacts[stage.NAME], arguments.rebuild):
        _record_run(experiment, stage.NAME, arguments)
    build_stage(stage, experiment, arguments.rebuild)
    _finish(stage, experiment, arguments)
    return 0


def _finish(stage: ModuleType, experiment: Experiment, arguments: argparse.Namespace) -> None:
    """What follows a stage whose artifacts are fresh: `--strict`, and the summary of the last."""
    if stage is extract and arguments.strict:
        extract.check_strict(experiment)
    if stage is submit:
        check_intact(experiment.path("submit"))
        report.publish(experiment)
        for line in submit.summary(experiment):
            logger.info("%s", line)


def _run_all(experiment: Experiment, arguments: argparse.Namespace) -> int:
    if arguments.serve:
        return command.serve(experiment, arguments)
    if arguments.with_reviewed:
        return next_round.run_next_round(experiment, arguments, _run_all)
    if arguments.similar is not None:
        _prepare(experiment.config.run)
        _print_lines(similar(experiment, arguments.similar))
        return 0
    review.check_options(arguments)
    if arguments.review:
        _print_lines(review.review(experiment, arguments))
        return 0
    artifacts = declare_all(experiment)
    if arguments.verify:
        check_all(artifact.path for stage in artifacts.values() for artifact in stage)
        return 0
    if arguments.rehearse is not None:
        return rehearse(experiment, arguments.rehearse, _flags(arguments, "quiet", "verbose"))
    states, taken = _states(artifacts, STAGES), dict[str, float]()
    if arguments.dry_run:
        _print_lines(line for s in STAGES for line in state_lines(artifacts[s.NAME], states))
        _print_lines(estimate_lines(experiment))
        return 0
    if arguments.status:
        _print_lines(status_lines(experiment, artifacts, states))
        return 0
    for stage in STAGES:
        if all(states[artifact.path].fresh for artifact in artifacts[stage.NAME]):
            n = sum(not artifact.frozen for artifact in artifacts[stage.NAME])
            logger.info("%s: %s", stage.NAME, f"0 built, {n} fresh" if n else "nothing to do")
            _finish(stage, experiment, arguments)
            continue
        start = time.monotonic()
        if adapt_config(experiment, arguments.config, stage.NAME, start - arguments.called, taken):
            experiment = load_experiment(arguments.config, arguments.set, arguments.new)
            artifacts = declare_all(experiment)
            states = _states(artifacts, STAGES)
        if experiment.target is not None and experiment.target.is_small:
            exit_status = _run_stage(stage, experiment, arguments)
        else:
            logger.info(
                "%s", stage_line(experiment, stage, artifacts, states, start - arguments.called)
            )
            options = ["--config", arguments.config, *_script_options(arguments)]
            exit_status = run_script([sys.executable, stage.SCRIPT, *options])
        if exit_status:
            return exit_status
        states, taken[stage.NAME] = _states(artifacts, STAGES), time.monotonic() - start
    return 0


def _check_earlier_stages(stage: ModuleType, artifacts: dict[str, list[Artifact]]) -> None:
    """Raise UserError, naming the script to run, if an earlier stage is not fresh."""
    states = _states(artifacts, _earlier(stage))
    for earlier in _earlier(stage):
        for artifact in artifacts[earlier.NAME]:
            state = states[artifact.path]
            if not state.fresh:
                raise UserError(f"{artifact.path} is {state}; run {earlier.SCRIPT} first")


def _dry_run(stage: ModuleType, experiment: Experiment, arguments: argparse.Namespace) -> int:
    artifacts = declare_all(experiment)
    states = _states(artifacts, [*_earlier(stage), stage])
    _print_lines(state_lines(artifacts[stage.NAME], states))
    return 0


def _print_lines(lines: Iterable[str]) -> None:
    for line in lines:
        print(line)


def _states(
    artifacts: dict[str, list[Artifact]], stages: Sequence[ModuleType]
) -> dict[Path, Status]:
    """The status of the artifacts of these stages, and of all frozen ones, which they may need."""
    names = [stage.NAME for stage in stages]
    return status_all(
        [a for name, stage in artifacts.items() for a in stage if a.frozen or name in names]
    )


def _earlier(stage: ModuleType) -> tuple[ModuleType, ...]:
    return STAGES[: STAGES.index(stage)]


def _record_run(experiment: Experiment, stage: str, arguments: argparse.Namespace) -> None:
    """Log to a file of this run, and write the resolved config beside the artifacts."""
    folder = experiment.path("submit").parent  # with --new, the folder of the new products
    name = time.strftime(f"%Y%m%d-%H%M%S-{stage}.log")
    configure_logging(_level(arguments), folder / "logs" / name)
    logger.debug("command: %s", shlex.join(sys.argv))
    if Path(arguments.config).resolve() == (folder / "config.toml").resolve():
        return  # a config of --data, which its user may have changed and commented
    # Where another run writes it at this moment, that one's settings stand there.
    with (
        contextlib.suppress(BlockingIOError),
        file_lock(folder / ".config.toml.lock"),
        atomic_write(folder / "config.toml") as path,
    ):
        path.write_text(to_toml(experiment.config))


def _level(arguments: argparse.Namespace) -> int:
    if arguments.verbose:
        return logging.DEBUG
    return logging.WARNING if arguments.quiet else logging.INFO


def _script_options(arguments: argparse.Namespace) -> list[str]:
    """The options of `run_all.sh` as its scripts take them."""
    options = [f"--set={override}" for override in arguments.set]
    if arguments.new is not None:
        options.append(f"--new={arguments.new}")
    return options + _flags(arguments, "rebuild", "strict", "quiet", "verbose")


def _flags(arguments: argparse.Namespace, *names: str) -> list[str]:
    return [f"--{name}" for name in names if getattr(arguments, name)]


def _first_line(text: str | None) -> str:
    return (text or "").strip().splitlines()[0]


def _fail(text: str, exit_status: int = 2) -> int:
    logger.error("%s", text)
    return exit_status


if __name__ == "__main__":
    raise SystemExit(run_all())
