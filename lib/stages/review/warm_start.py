"""Networks that start from those of an earlier run (`warm_start`), fold by fold

A network that leaves out fold k starts from the one that left out the same products there, and
from no other: what it predicts out-of-fold, no network before it was trained on.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from lib.config.model import Model
from lib.errors import UserError
from lib.pipeline.artifact import Artifact
from lib.pipeline.experiment import Experiment
from lib.pipeline.manifest import read_manifest

SAME = ("extract/train", "extract/categories")  # artifacts that both runs have alike
SPLITS = "extract/splits"


def warm_start_file(model: Model, name: str, network: str) -> dict[str, Artifact | Path]:
    """The file of weights that a network of model `name` starts from; none without `warm_start`."""
    if not model.warm_start:
        return {}
    return {"warm_start": Path(model.warm_start, "cnn", name, network, f"{model.checkpoint}.pt")}


def with_warm_start(experiment: Experiment, model: Model, name: str, network: str) -> Model:
    """The model, whose `weights` are those of the earlier run's network if `warm_start` names one.

    Raises UserError where that network may have learned from products that this one is scored on:
    the earlier run has other labelled products, parts or folds, or watched others.
    """
    files = warm_start_file(model, name, network)
    if not files:
        return model
    earlier, key = Path(model.warm_start), f"models.{name}.warm_start = {model.warm_start}"
    before = _manifest(earlier / "cnn" / name / network, key)
    for artifact in SAME:
        own, other = (_manifest(f / artifact, key) for f in (experiment.folder, earlier))
        if own["digest"] != other["digest"]:
            raise UserError(f"{key}: {artifact} differs; it is a run of another catalog")
    own, other = (_manifest(folder / SPLITS, key) for folder in (experiment.folder, earlier))
    if own["files"] != other["files"]:
        raise UserError(f"{key}: its parts or folds differ, so that scores would be too high")
    _check_settings(experiment, model, before["config"], key)
    return replace(model, weights=str(files["warm_start"]))


def _check_settings(experiment: Experiment, model: Model, before: dict[str, Any], key: str) -> None:
    """Raise UserError if the earlier network left out, or watched, other products."""
    expected: dict[str, Any] = {"n_folds": model.n_folds}
    if model.is_watched:
        expected |= {"checkpoint": model.checkpoint, "seed": model.seed}
    for name, value in expected.items():
        if before["train"].get(name) != value:
            raise UserError(f"{key}: its {name} is {before['train'].get(name)}, here {value}")
    if model.is_watched and before["seed"] != experiment.config.seed:
        raise UserError(f"{key}: its seed is {before['seed']}, here {experiment.config.seed}")


def _manifest(folder: Path, key: str) -> dict[str, Any]:
    manifest = read_manifest(folder)
    if manifest is None:
        raise UserError(f"{key}: {folder} is missing there; finish that run first")
    return manifest
