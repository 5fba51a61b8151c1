"""The whole chain on one page: which artifact is made of which, by which function.

`stages(config)` only describes; nothing is read and no heavy library is imported until an
artifact is built. Folders are `work/<experiment>/<stage>/<name>`; see ARCHITECTURE.md.
"""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.artifacts import Artifact
from lib.config import Config, Model, plain
from lib.errors import UserError

if TYPE_CHECKING:
    from lib.catalogue.tables import Catalogue

Stages = dict[str, list[Artifact]]


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
        say(f"submission: {folder / 'submission.csv.gz'}")


class _Chain:
    def __init__(self, config: Config) -> None:
        self.config = config
        self.folder = config.folder
        self.scored_parts = ("locked", "test")
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
        config, data = self.config, self.config.data
        made = []
        files: dict[str, Artifact | Path]
        if data.source == "sample":
            sample = self._add(
                "extract/sample",
                partial(_build_sample, config),
                config={"sample": plain(config.sample), "seed": config.seed},
            )
            made.append(sample)
            files = dict.fromkeys(("train", "test", "categories"), sample)
        else:
            files = {side: source_file(config, side) for side in ("train", "test", "categories")}
        made.append(
            self._add(
                "extract/classes",
                partial(_build_classes, config),
                inputs={"categories": files["categories"]},
            )
        )
        for side in ("train", "test"):
            made.append(
                self._add(
                    f"extract/{side}",
                    partial(_build_index, config, side),
                    inputs={side: files[side], **self._inputs("extract/classes")},
                )
            )
        made.append(
            self._add(
                "extract/splits",
                partial(_build_splits, config),
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
                partial(_build_cnn, self.config, name, net),
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
                partial(_build_predictions, self.config, name, part),
                config={
                    "predict": plain(self.config.predict, "shard"),
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
                    partial(_build_candidates, self.config, part),
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
                        partial(_build_source, self.config, source, part),
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
                partial(_build_booster, self.config, source, layer, booster),
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
                    partial(_build_scores, self.config, source, layer, part),
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
            partial(_build_blend, self.config),
            config={"steps": self.config.blend.steps},
            inputs=self._inputs(f"features/candidates/{stack_part}", *oof),
        )
        submit = self._add(
            "submit",
            partial(_build_submission, self.config),
            config={"final": self.config.blend.final, "weights": _weights(self.config)},
            inputs=self._inputs(
                "extract/classes",
                "extract/train",
                "extract/test",
                "extract/splits",
                "features/candidates/locked",
                "features/candidates/test",
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


def source_file(config: Config, side: str) -> Path:
    """Path of `train`, `test` or `categories` of the catalogue."""
    if config.data.source == "sample":
        names = {"train": "train.bson", "test": "test.bson", "categories": "category_names.csv"}
        return config.folder / "extract" / "sample" / names[side]
    return Path(config.data.root) / getattr(config.data, side)


def _weights(config: Config) -> dict[str, float]:
    return {name: model.weight for name, model in config.models.items()}


def _weights_file(model: Model) -> dict[str, Artifact | Path]:
    named = model.weights not in ("imagenet", "none")
    return {"weights": Path(model.weights)} if named else {}


def _catalogue(config: Config, part: str) -> "Catalogue":
    from lib.catalogue.tables import read_catalogue

    side = "test" if part == "test" else "train"
    return read_catalogue(config.folder / "extract" / side, source_file(config, side))


# What fills the folders. Rooms are imported here, when they are needed: a call that finds
# everything fresh loads no torch and no booster.


def _build_sample(config: Config, folder: Path) -> dict[str, Any]:
    from lib.catalogue.sample import generate

    return generate(folder, config.sample, config.seed)


def _build_classes(config: Config, folder: Path) -> dict[str, Any]:
    from lib.catalogue.index import build_classes

    return build_classes(folder, source_file(config, "categories"))


def _build_index(config: Config, side: str, folder: Path) -> dict[str, Any]:
    from lib.catalogue.index import build_index
    from lib.catalogue.tables import read_classes

    classes = read_classes(config.folder / "extract" / "classes")
    source = source_file(config, side)
    return build_index(folder, source, classes, side == "train", config.data.max_damaged)


def _build_splits(config: Config, folder: Path) -> dict[str, Any]:
    from lib.catalogue.splits import build_splits

    known = _catalogue(config, "train")
    return build_splits(folder, known.product_id, known.label, config.split, config.seed)


def _build_cnn(config: Config, name: str, net: str, folder: Path) -> dict[str, Any]:
    from lib.vision.stage import build_net

    return build_net(config, name, net, _catalogue(config, "train"), folder)


def _build_predictions(config: Config, name: str, part: str, folder: Path) -> dict[str, Any]:
    from lib.vision.stage import build_predictions

    return build_predictions(config, name, part, _catalogue(config, part), folder)


def _build_candidates(config: Config, part: str, folder: Path) -> dict[str, Any]:
    from lib.ranking.stage import build_candidates

    labelled, query = _catalogue(config, "train"), _catalogue(config, part)
    return build_candidates(config, part, labelled, query, folder)


def _build_source(config: Config, source: str, part: str, folder: Path) -> dict[str, Any]:
    from lib.ranking.stage import build_source

    return build_source(config, source, part, _catalogue(config, part), folder)


def _build_booster(
    config: Config, source: str, layer: str, booster: str, folder: Path
) -> dict[str, Any]:
    from lib.ranking.stage import build_booster

    return build_booster(config, source, layer, booster, folder)


def _build_scores(
    config: Config, source: str, layer: str, part: str, folder: Path
) -> dict[str, Any]:
    from lib.ranking.stage import build_scores

    return build_scores(config, source, layer, part, folder)


def _build_blend(config: Config, folder: Path) -> dict[str, Any]:
    from lib.ranking.stage import build_blend

    return build_blend(config, folder)


def _build_submission(config: Config, folder: Path) -> dict[str, Any]:
    from lib.final import build_submission

    labelled, query = _catalogue(config, "train"), _catalogue(config, "test")
    return build_submission(config, labelled, query, folder)
