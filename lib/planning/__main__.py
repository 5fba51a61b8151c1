"""Plan a run: look at a catalog, measure this machine, choose the settings, write the config.

    python -m lib.planning --data products.csv --test new.csv --time-limit 20m

`run_all.sh --data` calls it in a process of its own, and goes on with the config that it writes.
"""

import argparse
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from lib.config.load import from_tree
from lib.config.model import Model
from lib.config.write import to_toml
from lib.pipeline.experiment import Experiment
from lib.planning import catalog, plan, presets, rates
from lib.planning.costs import Speed
from lib.planning.request import CONFIG, Request, begin_plan, make_request, write_plan
from lib.runtime import signals, workers
from lib.runtime.exits import exit_status
from lib.runtime.log import configure_logging
from lib.runtime.numba_cache import use_writable_cache
from lib.utils.files import atomic_write

logger = logging.getLogger("lib.planning")

HEADER = """\
# Written by ./run_all.sh --data {data}
# Every setting has its value here, and may be changed: the same command goes on from this file, and
# so does ./run_all.sh {path}
"""


def make_plan(request: Request, rebuild: bool = False) -> None:
    """Write the config and the plan of a request, and print what was decided.

    rebuild: index the files again where they have changed. Raises UserError for a catalog that is
    unclear or cannot be read.
    """
    start = time.monotonic()
    request.is_planned()  # refuses the folder of another catalog
    begin_plan(request)
    data = catalog.look(request)
    indexed = replace(request.base, data=data)
    facts = catalog.index(indexed, rebuild)
    for line in catalog.lines(data, facts):
        logger.info("%s", line)
    speeds = measure_speeds(Experiment(indexed), request, facts)
    spent = time.monotonic() - start
    choice = plan.choose(request, data, facts, lambda chosen: speeds[chosen.area], spent)
    for line in plan.lines(choice, facts, request.base.run.time_limit):
        logger.info("%s", line)
    path = request.folder / CONFIG
    with atomic_write(path) as temporary:
        header = HEADER.format(data=request.data, path=path)
        temporary.write_text(header + to_toml(choice.config))
    expected = {stage: round(seconds, 1) for stage, seconds in choice.seconds.items()}
    speed = asdict(speeds[choice.plan.area])
    write_plan(request, facts.to_dict(), speed, {"plan": round(spent, 1), **expected})
    logger.info("config: %s", path)


def measure_speeds(
    experiment: Experiment, request: Request, facts: catalog.Facts
) -> dict[int, Speed]:
    """The speed of the network on this machine by the pixels of its input, said in lines.

    An input of more than `presets.MOST_TIMED` pixels has the speed of the largest that is timed.
    """
    trained = {p.area: p for p in presets.plans(facts) if p.is_trained}
    timed = {area for area in trained if area <= max(presets.MOST_TIMED, min(trained))}
    models = {area: network_of(request, trained[area], facts) for area in sorted(timed)}
    most = max(model.n_folds for model in models.values())
    shares, speeds = rates.shares_of(experiment, most), {}
    measured = rates.measure(experiment, list(models.values()), most)
    for (area, model), rate in zip(models.items(), measured, strict=True):
        height, width = model.crop
        speeds[area] = Speed(rate, height * width, shares)
        logger.info(
            "%s at %dx%d pixels: trains %.0f images/s, predicts %.0f, in each of %d processes",
            *(model.arch, height, width, rate.body, rate.head, shares),
        )
    largest = speeds[max(timed)]
    return {area: speeds.get(area, largest) for area in trained}


def network_of(request: Request, chosen: presets.Plan, facts: catalog.Facts) -> Model:
    """The network of a plan that trains, with the settings of --set that it has."""
    keys = ("models.network.", "train.")
    overrides = [o for o in request.overrides if o.lstrip().startswith(keys)]
    return from_tree(presets.settings(chosen, facts), overrides, "--data").models["network"]


def main(argv: Sequence[str] | None = None) -> int:
    """Plan by a command line; the exit status, as of the scripts."""
    parser = argparse.ArgumentParser(prog="python -m lib.planning", description=__doc__)
    parser.add_argument("--data", required=True)
    for name in ("--test", "--images", "--time-limit"):
        parser.add_argument(name)
    parser.add_argument("--set", action="append", default=[])
    for name in ("--rebuild", "--quiet", "--verbose"):
        parser.add_argument(name, action="store_true")
    options = parser.parse_args(argv)
    levels = {"verbose": logging.DEBUG, "quiet": logging.WARNING}
    level = next((levels[name] for name in levels if getattr(options, name)), logging.INFO)
    configure_logging(level)
    signals.raise_when_terminated()

    def work() -> int:
        paths = (options.data, options.test, options.images)
        request = make_request(*paths, options.time_limit, options.set)
        assert request is not None
        run = request.base.run
        workers.limit_threads(workers.num_threads(run))
        workers.tune_malloc()
        use_writable_cache()
        make_plan(request, options.rebuild)
        return 0

    return exit_status(work, lambda: Path(options.data), logger)


if __name__ == "__main__":
    raise SystemExit(main())
