"""What the numbered scripts share: arguments, the order of the stages, one line for an error."""

import argparse
import errno
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from lib import fill, jobs, new, pipeline
from lib.artifacts import Artifact, Status, survey
from lib.config.load import load
from lib.config.schema import Config
from lib.errors import UserError
from lib.runtime import workers

SCRIPTS = {
    "extract": "01_extract.py",
    "train": "02_train_cnn.py",
    "predict": "03_predict_tta.py",
    "features": "04_features.py",
    "stack": "05_stack.py",
    "submit": "06_submit.py",
}
DEFAULT_CONFIG = "configs/sample.toml"
LEAST_FREE = 8 << 20  # bytes; with less than this left, a failed write means a full disk


def run_stage(stage: str, description: str, argv: Sequence[str] | None = None) -> int:
    """Run one stage as a script would; returns the exit status.

    0 done, 1 an unexpected fault (with its traceback), 2 something the user can mend, 130 stopped.
    """
    arguments = _parser(stage, description).parse_args(argv)
    folder = Path(arguments.config).parent
    try:
        config = jobs.of_this_process(load(arguments.config, arguments.set))
        folder = config.folder
        if arguments.new is not None:
            config = new.choose(config, arguments.new)
        _limit_threads(config)
        workers.keep_freed_memory()
        return jobs.together(config, stage, partial(_work, config, stage, arguments))
    except UserError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        return _fail("stopped; the same command goes on from here", 130)
    except Exception as error:
        if _disk_is_full(error, folder):
            return _fail(
                f"{folder}: no space left on the disk; free some and run the same command again:"
                " what is finished is kept"
            )
        raise


def _work(config: Config, stage: str, arguments: argparse.Namespace) -> int:
    if arguments.dry_run:
        return _dry_run(config, stage)
    _stop_if_untrained(config, arguments)
    _run(config, stage, arguments.rebuild, arguments.strict)
    return 0


def _parser(stage: str, description: str) -> argparse.ArgumentParser:
    script = SCRIPTS[stage]
    parser = argparse.ArgumentParser(
        prog=script,
        description=description.strip().splitlines()[0],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"examples:\n  python {script} --config configs/fashion.toml\n"
        f"  python {script} --config configs/fashion.toml --set train.lr=0.01 --dry-run\n"
        f"  python {script} --config configs/fashion.toml --new ../other/new.bson",
    )
    parser.add_argument("--config", default=DEFAULT_CONFIG, help="TOML file (default: %(default)s)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a setting, as in --set train.lr=0.01; may be given many times",
    )
    parser.add_argument(
        "--new",
        metavar="PATH",
        help="classify these products with what is trained: a .bson, .csv, .npy or .ndjson file, or"
        " a folder of pictures, of .npy or of .ndjson files",
    )
    parser.add_argument(
        "--rebuild", action="store_true", help="make stale artifacts anew (fresh ones are kept)"
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="stage 01: stop if any record or picture had to be passed over",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="show what is fresh, stale or missing; change nothing",
    )
    return parser


def _stop_if_untrained(config: Config, arguments: argparse.Namespace) -> None:
    """What is settled is built in no stage, so say in the first if it is not fresh: with `--new`
    the labelled side, and of a second round the round before."""
    stages = pipeline.stages(config)
    settled = [artifact for made in stages.values() for artifact in made if artifact.settled]
    for path, state in survey(settled).items():
        if state.state != "fresh":
            before = config.before is not None and path.is_relative_to(config.before.folder)
            command = ["./run_all.sh", config.pseudo_label.teacher if before else arguments.config]
            command += [word for override in arguments.set for word in ("--set", override)]
            command += ["--rebuild"] if state.state == "stale" else []
            raise UserError(f"{path} is {state}; train first with {shlex.join(command)}")


def _run(config: Config, stage: str, rebuild: bool, strict: bool) -> None:
    stages = pipeline.stages(config)
    states = _states(stages, _before(stage))
    for name in _before(stage):
        for artifact in stages[name]:
            state = states[artifact.path]
            if state.state != "fresh":
                raise UserError(f"{artifact.path} is {state}; run {SCRIPTS[name]} first")
    jobs.ensure_all(config, stage, rebuild, jobs.print_line)
    if strict and stage == "extract":
        fill.stop_if_strict(config)
    pipeline.closing_words(config, stage, jobs.print_line)


def _dry_run(config: Config, stage: str) -> int:
    stages = pipeline.stages(config)
    states = _states(stages, [*_before(stage), stage])
    for artifact in stages[stage]:
        state = states[artifact.path]
        if not artifact.settled:
            print(f"{artifact.path}: {state}")
        elif state.state != "fresh":
            print(f"{artifact.path}: {state}; it is not made here, train first")
    return 0


def _states(stages: pipeline.Stages, names: Sequence[str]) -> dict[Path, Status]:
    """Of the artifacts of these stages, and of all settled ones, which they may be made of."""
    chain: list[Artifact] = []
    for name, made in stages.items():
        chain += [artifact for artifact in made if artifact.settled or name in names]
    return survey(chain)


def _before(stage: str) -> list[str]:
    names = list(SCRIPTS)
    return names[: names.index(stage)]


def _limit_threads(config: Config) -> None:
    """Bound every library's pool before it is imported: two pools on the same cores crawl.

    Passive waiting: threads that spin for each other on a busy machine cost ten times the work.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    threads = str(pipeline.threads(config))
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = threads


def _disk_is_full(error: Exception, folder: Path) -> bool:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    # Several libraries say it in words of their own, so look at the disk itself.
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free < LEAST_FREE


def _fail(text: str, status: int = 2) -> int:
    print(f"error: {' '.join(text.split())}", file=sys.stderr, flush=True)
    return status
