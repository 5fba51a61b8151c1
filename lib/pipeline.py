"""The whole chain on one page: which artifact is made of which, by which function.

`stages(config)` only describes; nothing is read and no heavy library is imported until an
artifact is built. Folders are `work/<experiment>/<stage>/<name>`; see ARCHITECTURE.md.
"""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from lib import fill
from lib.artifacts import Artifact
from lib.config import Config, Model, plain
from lib.errors import UserError

Stages = dict[str, list[Artifact]]

# The settings of a csv that its classes and its index depend on.
TABLE = ("id_column", "images_column", "images_root")
READ: dict[str, tuple[str, ...]] = {"train": (*TABLE, "label_column", "group_by"), "test": TABLE}


def stages(config: Config) -> Stages:
    """The artifacts of each stage, every one after its inputs."""
    if not config.models:
        raise UserError("the config names no network; add a table [models.NAME]")
    chain = _Chain(config)
    return {
        "extract": chain.extract(),
        "train": chain.train(),
        "predict": chain.predict(),
        "features": chain.features(),
        "stack": chain.stack(),
        "submit": chain.submit(),
    }


def threads(config: Config) -> int:
    return config.run.threads or len(os.sched_getaffinity(0))


def closing_words(config: Config, stage: str, say: Callable[[str], None]) -> None:
    """The ladder and where the submission lies, also when nothing had to be made."""
    if stage == "submit":
        folder = config.folder / "submit"
        say((folder / "ladder.txt").read_text())
        if config.data.test:
            say(f"submission: {folder / 'submission.csv.gz'}")
        else:
            say("no submission: data.test names no products to classify")


class _Chain:
    def __init__(self, config: Config) -> None:
        self.config = config
        self.folder = config.folder
        self.scored_parts = config.scored_parts
        self.parts = (config.stack_part, *self.scored_parts)
        self.single = list(config.models)
        self.averaged = ["mean", *self.single]  # sources with both layers
        self.made: dict[str, Artifact] = {}

    def _add(self, name: str, build: Any, **kind: Any) -> Artifact:
        self.made[name] = Artifact(self.folder / name, build, **kind)
        return self.made[name]

    def _inputs(self, *names: str) -> dict[str, Artifact | Path]:
        return {name: self.made[name] for name in names}

    # 01

    def extract(self) -> list[Artifact]:
        config = self.config
        made = []
        of_classes = "categories" if fill.has_categories(config) else "train"
        files: dict[str, Artifact | Path]
        if config.data.source == "sample":
            sample = self._add(
                "extract/sample",
                partial(fill.sample, config),
                config={"sample": plain(config.sample), "seed": config.seed},
            )
            made.append(sample)
            files = dict.fromkeys((*config.sides, of_classes), sample)
        else:
            files = {side: fill.source_file(config, side) for side in (*config.sides, of_classes)}
        made.append(
            self._add(
                "extract/classes",
                partial(fill.classes, config),
                config={
                    **fill.digest_setting(config, of_classes),
                    **fill.source_setting(config, *READ["train"]),
                },
                inputs={of_classes: files[of_classes]},
            )
        )
        for side in config.sides:
            made.append(
                self._add(
                    f"extract/{side}",
                    partial(fill.index, config, side),
                    config={
                        **fill.digest_setting(config, side),
                        **fill.source_setting(config, *READ[side]),
                    },
                    inputs={side: files[side], **self._inputs("extract/classes")},
                    resumable=True,
                )
            )
        made.append(
            self._add(
                "extract/splits",
                partial(fill.splits, config),
                config={"split": plain(config.split), "seed": config.seed},
                inputs=self._inputs("extract/train"),
            )
        )
        return made

    # 02

    def train(self) -> list[Artifact]:
        return [
            self._add(
                f"cnn/{name}/{net}",
                partial(fill.cnn, self.config, name, net),
                config={
                    "train": plain(model, "weight", "checkpoint"),
                    "seed": self.config.seed,
                },
                inputs={
                    **self._inputs("extract/train", "extract/classes", "extract/splits"),
                    **_weights_file(model),
                },
                resumable=True,
            )
            for name, model in self.config.models.items()
            for net in nets(model)
        ]

    # 03

    def predict(self) -> list[Artifact]:
        return [
            self._add(
                f"predictions/{name}/{part}",
                partial(fill.predictions, self.config, name, part),
                config={
                    "predict": plain(self.config.predict, "shard", "embeddings", "dims"),
                    "checkpoint": model.checkpoint,
                },
                inputs=self._inputs(
                    self._query(part),
                    "extract/splits",
                    *(f"cnn/{name}/{net}" for net in nets(model)),
                ),
                resumable=True,
            )
            for name, model in self.config.models.items()
            for part in self.parts
        ]

    # 04

    def features(self) -> list[Artifact]:
        made = []
        settings = {"features": plain(self.config.features), "stack_part": self.config.stack_part}
        for part in self.parts:
            of_models = [f"predictions/{name}/{part}" for name in self.single]
            made.append(
                self._add(
                    f"features/candidates/{part}",
                    partial(fill.candidates, self.config, part),
                    config=settings,
                    inputs=self._inputs(
                        "extract/train",
                        "extract/splits",
                        self._query(part),
                        *of_models,
                    ),
                )
            )
            for source in [*self.averaged, "multi"]:
                alone = source in self.single
                weights = _weights(self.config) if source == "mean" else {}
                made.append(
                    self._add(
                        f"features/{source}/{part}",
                        partial(fill.source, self.config, source, part),
                        config={
                            "features": plain(self.config.features),
                            "weights": weights,
                        },
                        inputs=self._inputs(
                            f"features/candidates/{part}",
                            *([f"predictions/{source}/{part}"] if alone else of_models),
                        ),
                    )
                )
        return made

    # 05

    def stack(self) -> list[Artifact]:
        layers = self.config.stack
        made = []
        for source in self.averaged:
            made += self._layer(source, "l2", layers.layer2)
            if layers.layer3:
                made += self._layer(source, "l3", layers.layer3)
        if layers.multi:
            made += self._layer("multi", "l2", layers.multi)
        return made

    def _layer(self, source: str, layer: str, boosters: tuple[str, ...]) -> list[Artifact]:
        settings = plain(self.config.stack, "layer2", "layer3", "multi")
        stack_part = self.config.stack_part
        below = (
            [f"stack/{source}/l2/{booster}" for booster in self.config.stack.layer2]
            if layer == "l3"
            else []
        )
        made = [
            self._add(
                f"stack/{source}/{layer}/{booster}",
                partial(fill.booster, self.config, source, layer, booster),
                config={"stack": settings, "below": below, "seed": self.config.seed},
                inputs=self._inputs(*self._columns(source, stack_part), *below),
                resumable=True,
            )
            for booster in boosters
        ]
        fitted = [f"stack/{source}/{layer}/{booster}" for booster in boosters]
        for part in self.scored_parts:
            lower = [f"scores/{source}/l2/{part}"] if layer == "l3" else []
            made.append(
                self._add(
                    f"scores/{source}/{layer}/{part}",
                    partial(fill.scores, self.config, source, layer, part),
                    config={"boosters": boosters},
                    inputs=self._inputs(*self._columns(source, part), *lower, *fitted),
                )
            )
        return made

    def _columns(self, source: str, part: str) -> tuple[str, str]:
        return f"features/candidates/{part}", f"features/{source}/{part}"

    # 06

    def submit(self) -> list[Artifact]:
        oof = [name for name in self.made if name.startswith("stack/")]
        scores = [name for name in self.made if name.startswith("scores/")]
        dumps = [f"predictions/{name}/locked" for name in self.single]
        stack_part = self.config.stack_part
        blend = self._add(
            "blend",
            partial(fill.blend, self.config),
            config={"steps": self.config.blend.steps},
            inputs=self._inputs(f"features/candidates/{stack_part}", *oof),
        )
        submit = self._add(
            "submit",
            partial(fill.submission, self.config),
            config={"final": self.config.blend.final, "weights": _weights(self.config)},
            inputs=self._inputs(
                "extract/classes",
                *(f"extract/{side}" for side in self.config.sides),
                "extract/splits",
                *(f"features/candidates/{part}" for part in self.scored_parts),
                "blend",
                *scores,
                *dumps,
            ),
        )
        return [blend, submit]

    def _query(self, part: str) -> str:
        return "extract/test" if part == "test" else "extract/train"


def nets(model: Model) -> list[str]:
    """Folder names of a model's networks: `full`, or one for each fold left out."""
    return ["full"] if model.folds == 1 else [f"fold{i}" for i in range(model.folds)]


def _weights(config: Config) -> dict[str, float]:
    return {name: model.weight for name, model in config.models.items()}


def _weights_file(model: Model) -> dict[str, Artifact | Path]:
    named = model.weights not in ("imagenet", "none")
    return {"weights": Path(model.weights)} if named else {}
