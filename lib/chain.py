"""The artifacts of an experiment, as they are described one after the other."""

from pathlib import Path
from typing import Any

from lib.artifacts import Artifact
from lib.config.schema import Backbone, Config, Model, depends_on_test

EVERYBODY = "everybody"  # taught by labels that all networks may learn from


class Chain:
    """Artifacts by name, as in "features/mean/test"; every one after its inputs."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.scored_parts = config.scored_parts
        self.parts = (config.stack_part, *self.scored_parts)
        self.single = list(config.models)
        self.made: dict[str, Artifact] = {}

    def add(self, name: str, build: Any, **kind: Any) -> Artifact:
        settled = self.config.asked is not None and not depends_on_test(name)
        self.made[name] = Artifact(self.config.at(name), build, settled=settled, **kind)
        return self.made[name]

    def inputs(self, *names: str) -> dict[str, Artifact | Path]:
        return {name: self.made[name] for name in names}

    def query(self, part: str) -> str:
        """The index that a part's products are in."""
        return "extract/test" if part == "test" else "extract/train"

    def sides(self, part: str) -> tuple[str, ...]:
        """The sides of the catalogue that a part's columns are made of."""
        return ("train", "test") if part == "test" else ("train",)


def mean_weights(config: Config) -> dict[str, float]:
    """Of each model in the weighted means."""
    return {name: model.blend_weight for name, model in config.models.items()}


def weights_file(model: Model | Backbone) -> dict[str, Artifact | Path]:
    """The file that a network's weights come from, if they come from one."""
    named = model.weights not in ("imagenet", "none")
    return {"weights": Path(model.weights)} if named else {}


def taught(config: Config, model: Model, net: str) -> str:
    """The name of the labels that a network of this round learns from.

    Where the boosters learn from `holdout`, no network has seen it, so all teach all; where they
    learn from out-of-fold rows, a network that leaves out a fold is taught by such as do so too.
    """
    return EVERYBODY if config.stack_part == "holdout" else f"{net}-of-{model.n_folds}"
