"""Reduce the plan of a run that is late: a small probe, fewer epochs, views, embeddings, boosters

Before each stage of a run with a time limit, the rest of its plan is compared with the time left. A
machine that turned out slower for the finished stages is taken to stay so. Settings of finished
stages stay, so nothing that is built is lost; networks that train less still anneal to their end.
"""

import logging
from collections.abc import Iterator, Set
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from lib.config.load import load
from lib.config.schema import Config
from lib.config.write import to_toml
from lib.pipeline.experiment import Experiment
from lib.planning.catalog import Facts
from lib.planning.costs import Speed, stage_seconds
from lib.planning.presets import (
    BOOSTERS,
    EMBEDDINGS,
    EPOCHS,
    FEWEST_EPOCHS,
    L2_FEW,
    VIEWS,
    full_epochs,
)
from lib.planning.rates import Rates
from lib.planning.request import CONFIG, read_plan
from lib.stages.order import STAGES
from lib.stages.rehearsal.estimate import duration
from lib.utils.files import atomic_write

logger = logging.getLogger(__name__)

NAMES = [stage.NAME for stage in STAGES]
FOLDERS = {"train": "cnn", "predict": "predictions", "stack": "stack"}  # of what stages build
SMALL_PROBE = 0.05  # points: less than anything else that is given up
TRUSTED = 20.0  # seconds of finished stages that tell how slow the machine is


@dataclass(frozen=True)
class Option:
    """A config with less work, the points of `presets` that it loses, and what it does without."""

    config: Config
    lost: float
    without: tuple[str, ...]


def adapt_plan(experiment: Experiment, stage: str, seconds: float, taken: dict[str, float]) -> bool:
    """Reduce the config of a plan where the run would end after its limit; whether it was reduced.

    stage: that begins, `seconds` after the call. taken: seconds of the stages that this call has
    run. A config that its user has edited, or that `--data` did not write, is left alone.
    """
    path, plan = experiment.folder / CONFIG, read_plan(experiment.folder)
    if plan is None or "speed" not in plan:
        return False
    config, text = load(path), path.read_text()
    limit, header = config.run.time_limit, _header(text)
    if not limit or text != header + to_toml(config):
        return False
    facts, speed = Facts(**plan["catalog"]), _speed(plan["speed"])
    slower = slowdown(plan["expected_seconds"], taken)

    def end(option: Option) -> float:
        left = stage_seconds(option.config, facts, speed)
        return seconds + slower * sum(left[name] for name in NAMES[NAMES.index(stage) :])

    begun = {name for name, folder in FOLDERS.items() if experiment.path(folder).exists()}
    choices = sorted(options(config, facts, begun), key=lambda option: option.lost)
    chosen = next((o for o in choices if end(o) <= limit), min(choices, key=end))
    if not chosen.without:
        return False
    line = (
        f"after {duration(seconds)} the run is late: it would end after"
        f" {duration(end(choices[0]))}, and the limit is {duration(limit)}. It goes on with"
        f" {', '.join(chosen.without)}, and ends after about {duration(end(chosen))}"
    )
    with atomic_write(path) as temporary:
        temporary.write_text(f"{header}# {line}\n{to_toml(chosen.config)}")
    logger.warning("caution: %s", line)
    return True


def slowdown(expected: dict[str, float], taken: dict[str, float]) -> float:
    """How many times longer the finished stages took than was expected; at least 1."""
    planned = sum(expected[name] for name in taken)
    return max(1.0, sum(taken.values()) / planned) if planned >= TRUSTED else 1.0


def options(config: Config, facts: Facts, begun: Set[str]) -> Iterator[Option]:
    """The config as it is, and all with less work in stages that have not begun."""
    as_is = [(0.0, "")]
    epochs = {} if "train" in begun else _fewer_epochs(config, facts)
    views = embeddings = boosters = probes = as_is
    if "predict" not in begun and _with_small_probe(config) != config:
        probes = [*as_is, (SMALL_PROBE, "a small probe")]
    if "predict" not in begun and config.predict.tta_views > 1:
        views = [*as_is, (VIEWS[2] - VIEWS[1], "one view")]
    if "predict" not in begun and config.predict.embed_models:
        embeddings = [*as_is, (EMBEDDINGS[True] - EMBEDDINGS[False], "no neighbors of the network")]
    if "stack" not in begun and set(config.stack.l2) > set(L2_FEW):
        boosters = [*as_is, (BOOSTERS["all"] - BOOSTERS["few"], "fewer boosters")]
    for fewer, *others in product([None, *epochs], probes, views, embeddings, boosters):
        probe, view, embedding, booster = others
        changed, lost = config, sum(points for points, _ in others)
        without = [name for _, name in others if name]
        if probe[1]:
            changed = _with_small_probe(changed)
        if fewer is not None:
            changed, lost = _with_epochs(changed, fewer), lost + epochs[fewer]
            without = [f"{fewer} epochs", *without]
        predict, stack = changed.predict, changed.stack
        if view[1]:
            predict = replace(predict, tta_views=1)
        if embedding[1]:
            predict = replace(predict, embed_models=())
        if booster[1]:
            sources = ("multi",) if "multi" in stack.sources else stack.sources
            stack = replace(stack, l2=L2_FEW, l3=(), sources=sources)
        yield Option(replace(changed, predict=predict, stack=stack), lost, tuple(without))


def _fewer_epochs(config: Config, facts: Facts) -> dict[int, float]:
    """Smaller numbers of epochs of the plan's network, and the points that each loses."""
    if "network" not in config.models:
        return {}
    now, full = config.models["network"].epochs, full_epochs(facts.images["train"])
    points = {max(FEWEST_EPOCHS, round(f * full)): p for f, p in sorted(EPOCHS.items())}
    return {e: points[now] - p for e, p in points.items() if e < now} if now in points else {}


def _with_small_probe(config: Config) -> Config:
    """The plan whose probe reads one network, at the size of the one that trains, if one does."""
    models, backbones = config.models, config.backbones
    if not {"network", "probe"} <= models.keys():
        return config
    name, network = models["probe"].fusion.inputs[0], models["network"]
    small = replace(backbones[name], resize=network.resize, crop=network.crop)
    probe = replace(models["probe"], fusion=replace(models["probe"].fusion, inputs=(name,)))
    return replace(config, backbones={name: small}, models={**models, "probe": probe})


def _with_epochs(config: Config, epochs: int) -> Config:
    network = replace(config.models["network"], epochs=epochs)
    return replace(config, models={**config.models, "network": network})


def _speed(values: dict[str, Any]) -> Speed:
    return Speed(Rates(**values["rates"]), values["area"], values["shares"])


def _header(text: str) -> str:
    """The lines of comments at the start of a config."""
    lines = text.splitlines(keepends=True)
    count = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return "".join(lines[:count])
