"""What a config will take, stage by stage: rates measured here, and costs of the rest by a table.

The table was measured on two idle cores (docs/fashion.md). A machine whose networks run slower than
those did is taken to do all other work slower by the same factor.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from lib.config.model import Model
from lib.config.schema import Config
from lib.planning.catalog import Facts
from lib.planning.presets import SLOWER
from lib.planning.rates import Rates
from lib.stages.near_twins import BACKBONE
from lib.stages.rehearsal.estimate import network_seconds

REFERENCE = 3.0e6  # pixels a second of a forward pass, on one core of the machine of the table
START = 6.0  # of a script: imports
NEAREST = 2.5e-4  # for an image: nearest images and twins
PROBE = 2.5e-5  # for a product, an epoch and a network
TEXT = 7.5e-5  # the same of a text model
SHARED = 0.6  # of a forward pass: the frozen units, which run once for all fold models
FEATURES = 9e-4  # for a product and a source
BOOSTER = 7.5e-4, 1.0  # for a product at 200 trees; for a booster
REPORT = 8e-4, 10.0  # for a product: scores, calibration, report; for a run


@dataclass(frozen=True)
class Speed:
    """How fast this machine is. rates: of the network at `area` pixels; shares: of the threads, in
    which networks run side by side."""

    rates: Rates
    area: int
    shares: int

    def forward(self, area: int) -> float:
        """Images a second of all shares together, of inputs of `area` pixels."""
        return self.rates.head * self.shares * self.area / area

    @property
    def slowness(self) -> float:
        """How many times longer work takes here than where the table was measured."""
        return max(0.5, REFERENCE / (self.rates.head * self.area))


def stage_seconds(config: Config, facts: Facts, speed: Speed) -> dict[str, float]:
    """The seconds that each stage is expected to take, by its name, in their order."""
    slow, start = speed.slowness, START * speed.slowness
    images = facts.all_images
    products = sum(facts.products.values())
    embedded = images / speed.forward(_area(BACKBONE.crop))
    return {
        "extract": start + embedded + NEAREST * images * slow,
        "train": start + _training(config, facts, speed) if _trained(config) else 1.0,
        "predict": start + _prediction(config, facts, speed),
        "features": start + FEATURES * products * len(config.sources) * slow,
        "stack": start + _boosting(config, facts) * slow,
        "submit": start + (REPORT[0] * products + REPORT[1]) * slow,
    }


def _area(size: Sequence[int]) -> int:
    return size[0] * size[1]


def _trained(config: Config) -> list[Model]:
    return [m for m in config.models.values() if m.input == "image"]


def _training(config: Config, facts: Facts, speed: Speed) -> float:
    """All networks that see images, in turns of as many as there are shares."""
    total = 0.0
    for model in _trained(config):
        left = (1 - config.split.locked) * (1 - 1 / model.n_folds if model.n_folds > 1 else 1)
        ratio = speed.area / _area(model.crop)
        each = network_seconds(
            model, facts.images["train"] * left, speed.rates.head * ratio, speed.rates.body * ratio
        )
        turns = -(-model.n_folds // speed.shares)
        total += turns * (each + START * speed.slowness)
    return total


def _prediction(config: Config, facts: Facts, speed: Speed) -> float:
    """Predictions and embeddings of the networks, and the probes on frozen ones."""
    seconds, locked = 0.0, config.split.locked
    scored = facts.images["train"] * locked + facts.images.get("test", 0)
    for name, model in config.models.items():
        if model.input == "embedding":
            rows = facts.labelled * model.n_folds * (model.epochs + model.head_only_epochs)
            seconds += (PROBE * rows + 3.0) * speed.slowness
            continue
        if model.input == "text":
            seconds += TEXT * facts.labelled * model.n_folds * model.text.epochs * speed.slowness
            continue
        passes = facts.images["train"] * (1 - locked) + scored * _passes(model)
        passes *= config.predict.tta_views
        if name in config.predict.embed_models:
            passes += facts.all_images * model.n_folds
        seconds += passes / speed.forward(_area(model.crop))
    for backbone in config.backbones.values():
        slower = SLOWER.get(backbone.arch, 1.0)
        seconds += slower * facts.all_images / speed.forward(_area(backbone.crop))
    return seconds


def _passes(model: Model) -> float:
    """Forward passes, of an image that all fold models predict."""
    own = 1 - SHARED if model.lowest_trainable_unit else 1.0
    return 1 + (model.n_folds - 1) * own


def _boosting(config: Config, facts: Facts) -> float:
    stack = config.stack
    boosters = sum(
        len(names) for source in config.sources for names in config.layers(source).values()
    )
    each, start = BOOSTER
    return boosters * (each * facts.labelled * stack.n_estimators / 200 + start)
