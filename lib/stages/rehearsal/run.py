"""`./run_all.sh CONFIG --rehearse`: all stages on a draw, and what the whole would cost

work/rehearsal/<name>.toml            the config of the rehearsal
work/rehearsal/<name>/                its artifacts
work/rehearsal/<name>/measured.json   seconds and memory of each stage
"""

import json
import logging
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path

from lib.config.load import load
from lib.config.write import to_toml
from lib.errors import UserError
from lib.pipeline.experiment import Experiment
from lib.runtime.scripts import PeakMemory, run_script
from lib.stages.order import STAGES
from lib.stages.rehearsal import estimate, size
from lib.stages.rehearsal.derive import config_path, rehearsal_of, write_config
from lib.utils.files import write_json

logger = logging.getLogger(__name__)

MIN_PRODUCTS, MAX_PRODUCTS = size.MIN_PRODUCTS, 1_000_000  # that one can ask for
MEASURED = "measured.json"
KEPT = ("extract",)  # of an earlier rehearsal: the index of all products takes the longest
TEACHES = ("extract", "train", "predict")  # the stages of a first round that the second reads


def rehearse(experiment: Experiment, products: int, flags: list[str]) -> int:
    """Run all stages on about `products` labelled products; returns the exit status.

    products: 0 for as many as this machine's speed allows (`size.products_in`). flags: for the
    scripts. Prints the rates of the networks, then a line for each stage.
    Raises UserError for `--new` and for too few or too many products.
    """
    if experiment.target is not None:
        raise UserError("--rehearse and --new exclude each other: new products need trained models")
    products = products or size.products_in(rehearsal_of(experiment, size.MAX_PRODUCTS))
    if not MIN_PRODUCTS <= products <= MAX_PRODUCTS:
        bounds = f"from {MIN_PRODUCTS} to {MAX_PRODUCTS:,} products"
        raise UserError(f"--rehearse {products}: {bounds}")
    rehearsal = rehearsal_of(experiment, products)
    write_config(rehearsal)
    if rehearsal.teacher is not None:
        exit_status = _run_stages(rehearsal.teacher, flags, TEACHES)
        if exit_status:
            return exit_status
    exit_status = _run_stages(rehearsal, flags, [stage.NAME for stage in STAGES])
    if exit_status == 0:
        print("\n".join(estimate_lines(experiment)))
    return exit_status


def _run_stages(rehearsal: Experiment, flags: list[str], names: list[str] | tuple[str, ...]) -> int:
    """Run these stages of a rehearsal from the start; the exit status of the first that fails."""
    _clear(rehearsal.folder)
    measured = _read(rehearsal)
    for stage in STAGES:
        if stage.NAME not in names:
            continue
        command = [sys.executable, stage.SCRIPT, "--config", str(config_path(rehearsal))]
        memory, start = PeakMemory(), time.monotonic()
        exit_status = run_script([*command, "--rebuild", *flags], memory)
        if exit_status:
            return exit_status
        seconds = time.monotonic() - start
        # An index that an earlier rehearsal left is not built again.
        before = measured.get(stage.NAME, {"peak": 0}) if stage.NAME in KEPT else {"peak": 0}
        measured[stage.NAME] = {"seconds": seconds, "peak": max(memory.peak, before["peak"])}
    write_json(rehearsal.folder / MEASURED, measured)
    return 0


def _clear(folder: Path) -> None:
    """Delete what an earlier rehearsal left, but for stage 01 and the figures of its memory."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.is_dir() and path.name not in KEPT:
            shutil.rmtree(path)


def _read(rehearsal: Experiment) -> dict[str, dict[str, float]]:
    try:
        return json.loads((rehearsal.folder / MEASURED).read_text())
    except (OSError, ValueError):
        return {}


def estimate_lines(experiment: Experiment) -> list[str]:
    """What the whole run would cost by its rehearsal, in lines; why not, if there is none."""
    rehearsal = find_rehearsal(experiment)
    if isinstance(rehearsal, str):
        return [rehearsal]
    return estimate.lines(experiment, rehearsal, _read(rehearsal))


def find_rehearsal(experiment: Experiment) -> Experiment | str:
    """The finished rehearsal of an experiment with its settings, or why there is none."""
    name = f"{experiment.config.work}/rehearsal/{experiment.config.name}.toml"
    if not Path(name).exists():
        return "no estimate of the cost yet: --rehearse measures it in minutes"
    try:
        config = load(name)
    except UserError:
        return f"{name} is of another version; --rehearse measures the cost again"
    rehearsal = rehearsal_of(experiment, config.data.draw)
    if rehearsal.teacher is not None:
        config = replace(config, pseudo_label=rehearsal.config.pseudo_label)
    expected = rehearsal.config
    config = replace(config, run=expected.run, train=expected.train)  # models have their own values
    if to_toml(config) != to_toml(expected):
        return "settings have changed since the rehearsal; --rehearse measures the cost again"
    if not {stage.NAME for stage in STAGES} <= _read(rehearsal).keys():
        return "the rehearsal was interrupted; --rehearse measures the cost again"
    return rehearsal
