"""An experiment: its settings, the folders of its artifacts, and the experiments it reads from.

    experiment = load_experiment("configs/fashion.toml", ["train.lr=0.01"], new="../new.bson")
    experiment.path("features/mean/test")    # work/fashion/new/new-bson-1a2b3c4d/features/mean/test

Settings are in `config`. What one run is about, and no setting: the products of `--new` (`target`),
and the experiment of the first round that labels products for this one (`teacher`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lib.config.load import load
from lib.config.model import Model
from lib.config.schema import Config
from lib.errors import UserError
from lib.pipeline.predict_target import PredictTarget, predict_target


@dataclass(frozen=True)
class Experiment:
    """config: all settings; target: the products of `--new`, if given; teacher: the experiment
    whose models label test products for this one, if `pseudo_label.teacher` names one."""

    config: Config
    target: PredictTarget | None = None
    teacher: "Experiment | None" = None

    @property
    def folder(self) -> Path:
        """`work/<name>`: all artifacts lie below it."""
        return Path(self.config.work) / self.config.name

    def path(self, name: str) -> Path:
        """The folder of an artifact, as in "features/mean/test".

        With `--new`, artifacts that depend on the new products lie in a folder of their own.
        """
        if self.target is not None and depends_on_test(name):
            return (self.target.folder or self.folder / "new" / self.target.slug) / name
        return self.folder / name

    @property
    def has_test(self) -> bool:
        """Whether there are products to classify."""
        return self.target is not None or self.config.data.test != "" or self.config.composes_test

    @property
    def sides(self) -> tuple[str, ...]:
        """The sides of the catalog: "train" and, if there are products to classify, "test"."""
        return ("train", "test") if self.has_test else ("train",)

    @property
    def needs_sizes(self) -> bool:
        """Whether a network of this experiment, or of its first round, has aspect clusters."""
        models = list(self.config.models.values())
        if self.teacher is not None:
            models += self.teacher.config.models.values()
        return any(model.aspect.num_clusters for model in models)

    @property
    def scored_parts(self) -> tuple[str, ...]:
        """The parts that fitted boosters score: "locked" and, if there is one, "test"."""
        return ("locked", "test") if self.has_test else ("locked",)

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts that have feature rows: the part that trains the boosters, and scored parts."""
        return (self.config.stack_part, *self.scored_parts)


def side_of(part: str) -> str:
    """The side of the catalog that holds the products of a part."""
    return "test" if part == "test" else "train"


def catalog_inputs(*sides: str) -> list[str]:
    """The artifacts that `catalog_of_part` reads: the index, and which images can be decoded."""
    return [f"extract/{kind}{side}" for side in sides for kind in ("", "embeddings/")]


def size_inputs(model: Model, *sides: str) -> list[str]:
    """The artifacts that tell the aspect clusters of images: none if the model has no clusters.

    The clusters are found in the labelled images, whatever images they are for.
    """
    if model.aspect.num_clusters == 0:
        return []
    return [f"extract/sizes/{side}" for side in dict.fromkeys(("train", *sides))]


def depends_on_test(name: str) -> bool:
    """Whether an artifact is built from the products to classify, not from labelled data alone."""
    return name == "submit" or name.endswith("/test")


def load_experiment(
    path: str | Path, overrides: Sequence[str] = (), new: str | None = None
) -> Experiment:
    """Read a config, the config of its teacher, and what `--new` names.

    overrides: "key=value" pairs. Raises UserError for whatever cannot be read or cannot work.
    """
    experiment = experiment_of(load(path, overrides))
    return experiment if new is None else replace(experiment, target=predict_target(new))


def experiment_of(config: Config) -> Experiment:
    """The experiment of a config that is already read. Raises UserError as `load_experiment`."""
    if not config.pseudo_label.teacher:
        return Experiment(config)
    teacher = load(config.pseudo_label.teacher)
    if teacher.pseudo_label.teacher:
        raise UserError(
            f"pseudo_label.teacher = {config.pseudo_label.teacher}: it has a teacher of its own;"
            " a second round follows a first one"
        )
    # The first round ran on the same catalog and lies in the same folder.
    teacher = replace(teacher, data=config.data, work=config.work, run=config.run)
    return Experiment(config, teacher=Experiment(teacher))
