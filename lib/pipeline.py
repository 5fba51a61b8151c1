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
from lib.config import Config, Model, depends_on_test, plain
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
        folder = config.at("submit")
        say((folder / "ladder.txt").read_text())
        if config.asked is not None:
            say(f"answers: {folder / 'predictions.csv'} and .parquet")
        elif config.has_test:
            say(f"submission: {folder / 'submission.csv.gz'}")
        else:
            say("no submission: data.test names no products to classify")


class _Chain:
    def __init__(self, config: Config) -> None:
        self.config = config
        self.scored_parts = config.scored_parts
        self.parts = (config.stack_part, *self.scored_parts)
        self.single = list(config.models)
        self.made: dict[str, Artifact] = {}

    def _add(self, name: str, build: Any, **kind: Any) -> Artifact:
        settled = self.config.asked is not None and not depends_on_test(name)
        self.made[name] = Artifact(self.config.at(name), build, settled=settled, **kind)
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
            if config.asked is not None:
                files["test"] = fill.source_file(config, "test")
        else:
            files = {side: fill.source_file(config, side) for side in (*config.sides, of_classes)}
        made.append(
            self._add(
                "extract/classes",
                partial(fill.classes, config),
                config={
                    **fill.digest_setting(config, of_classes),
                    **fill.source_setting(config, "train", *READ["train"]),
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
                        **fill.source_setting(config, side, *READ[side]),
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
        for side in config.sides if config.features.alike else ():
            made.append(
                self._add(
                    f"extract/alike/{side}",
                    partial(fill.alike, config, side),
                    inputs=self._inputs(f"extract/{side}"),
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
        return [*self._dumps(), *self._embeddings()]

    def _dumps(self) -> list[Artifact]:
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

    def _embeddings(self) -> list[Artifact]:
        """Of every picture, by each network of the models that neighbours are sought with."""
        return [
            self._add(
                f"embeddings/{name}/{net}/{side}",
                partial(fill.embeddings, self.config, name, net, side),
                config={"dims": self.config.predict.dims, "checkpoint": model.checkpoint},
                inputs=self._inputs(
                    f"extract/{side}",
                    f"cnn/{name}/{net}",
                    *([f"embeddings/{name}/{net}/train"] if side == "test" else []),
                ),
                resumable=True,
            )
            for side in self.config.sides
            for name, model in self.config.models.items()
            if name in self.config.predict.embeddings
            for net in nets(model)
        ]

    # 04

    def features(self) -> list[Artifact]:
        made = []
        common = plain(self.config.features, "alike_windows")
        looks = self.config.features.alike_windows
        for part in self.parts:
            of_models = [f"predictions/{name}/{part}" for name in self.single]
            seen = self._inputs(
                "extract/train", "extract/splits", self._query(part), *self._seen(part)
            )
            looks_like = [f"extract/alike/{side}" for side in self._sides(part)]
            made.append(
                self._add(
                    f"features/candidates/{part}",
                    partial(fill.candidates, self.config, part),
                    config={"features": common, "stack_part": self.config.stack_part},
                    inputs={
                        **seen,
                        **self._inputs(
                            *of_models, *(looks_like if self.config.features.alike else [])
                        ),
                    },
                    version=2,
                )
            )
            rows = self._inputs(f"features/candidates/{part}")
            if self.config.predict.embeddings:
                made.append(
                    self._add(
                        f"features/neighbours/{part}",
                        partial(fill.neighbours, self.config, part),
                        config={"alike_windows": looks, "of": self.config.predict.embeddings},
                        inputs={**rows, **seen},
                    )
                )
            for source in self.config.sources:
                alone = source in self.single
                weights = _weights(self.config) if source == "mean" else {}
                made.append(
                    self._add(
                        f"features/{source}/{part}",
                        partial(fill.source, self.config, source, part),
                        config={"features": common, "weights": weights},
                        inputs={
                            **rows,
                            **self._inputs(
                                *([f"predictions/{source}/{part}"] if alone else of_models)
                            ),
                        },
                    )
                )
        return made

    def _seen(self, part: str) -> list[str]:
        """The embeddings that a part's neighbours are found with: its own and those of train."""
        return [
            f"embeddings/{name}/{net}/{side}"
            for name in self.config.predict.embeddings
            for net in nets(self.config.models[name])
            for side in self._sides(part)
        ]

    def _sides(self, part: str) -> tuple[str, ...]:
        """The sides of the catalogue that a part's columns are made of."""
        return ("train", "test") if part == "test" else ("train",)

    # 05

    def stack(self) -> list[Artifact]:
        made = []
        for source in self.config.sources:
            below: tuple[str, ...] = ()
            for layer, boosters in self.config.layers(source).items():
                made += self._layer(source, layer, boosters, below)
                below = tuple(f"{source}/{layer}/{booster}" for booster in boosters)
        return made

    def _layer(
        self, source: str, layer: str, boosters: tuple[str, ...], below: tuple[str, ...]
    ) -> list[Artifact]:
        """below: the boosters of the layer under it, whose scores it reads."""
        settings = plain(self.config.stack, "orders", "layer2", "layer3", "layer4", "multi")
        fitted_on = self.config.stack_part
        made = [
            self._add(
                f"stack/{source}/{layer}/{booster}",
                partial(fill.booster, self.config, source, layer, booster),
                config={"stack": settings, "below": below, "seed": self.config.seed},
                version=2,
                inputs=self._inputs(
                    *self._columns(source, fitted_on), *(f"stack/{name}" for name in below)
                ),
                resumable=True,
            )
            for booster in boosters
        ]
        fitted = [f"stack/{source}/{layer}/{booster}" for booster in boosters]
        for part in self.scored_parts:
            lower = [f"scores/{source}/l{int(layer[1:]) - 1}/{part}"] if below else []
            made.append(
                self._add(
                    f"scores/{source}/{layer}/{part}",
                    partial(fill.scores, self.config, source, layer, part),
                    config={"boosters": boosters},
                    inputs=self._inputs(*self._columns(source, part), *lower, *fitted),
                )
            )
        return made

    def _columns(self, source: str, part: str) -> list[str]:
        shared = ["candidates", *(["neighbours"] if self.config.predict.embeddings else [])]
        return [f"features/{table}/{part}" for table in (*shared, source)]

    # 06

    def submit(self) -> list[Artifact]:
        oof = [name for name in self.made if name.startswith("stack/")]
        scores = [name for name in self.made if name.startswith("scores/")]
        stack_part = self.config.stack_part
        blend = self._add(
            "blend",
            partial(fill.blend, self.config),
            config={"fit": self.config.blend.fit, "steps": self.config.blend.steps},
            inputs=self._inputs(f"features/candidates/{stack_part}", *oof),
        )
        final: dict[str, Any] = {"final": self.config.blend.final, "weights": _weights(self.config)}
        calibration = self._add(
            "calibration",
            partial(fill.calibration, self.config),
            config={**final, "precision": self.config.new.precision},
            inputs=self._inputs(
                "extract/train", "blend", f"features/candidates/{stack_part}", *oof
            ),
        )
        inputs = self._inputs(
            "extract/classes",
            *(f"extract/{side}" for side in self.config.sides),
            "extract/splits",
            *(f"features/candidates/{part}" for part in self.scored_parts),
            "blend",
            "calibration",
            *scores,
        )
        if self.config.asked is not None:
            build = fill.answers
            final["top"] = self.config.new.top
        else:
            build = fill.submission
            inputs |= self._inputs(*(f"predictions/{name}/locked" for name in self.single))
        submit = self._add("submit", partial(build, self.config), config=final, inputs=inputs)
        return [blend, calibration, submit]

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
