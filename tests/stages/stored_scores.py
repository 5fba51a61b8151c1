"""Candidate rows and booster scores of two parts, written as stages 04 and 05 write them."""

import json
from pathlib import Path

import numpy as np

from lib.config.schema import Config
from lib.pipeline.experiment import Experiment
from lib.stages.read import all_members

NUM_PRODUCTS, NUM_CANDIDATES = 30, 3


def write_scores(config: Config) -> Experiment:
    """Random scores of every member; the true class is one of three candidates."""
    experiment, rng = Experiment(config), np.random.default_rng(0)
    for part in ("fit", "locked", "test"):
        _write_candidates(experiment.path(f"features/candidates/{part}"), part, rng)
    for source in config.sources:
        for layer, boosters in config.layers(source).items():
            for booster in boosters:
                path = experiment.path(f"stack/{source}/{layer}/{booster}")
                path.mkdir(parents=True)
                np.save(path / "oof.npy", _random_scores(rng, 1)[:, 0])
            for part in ("locked", "test"):
                path = experiment.path(f"scores/{source}/{layer}/{part}")
                path.mkdir(parents=True)
                np.save(path / "scores.npy", _random_scores(rng, len(boosters)))
                (path / "names.json").write_text(json.dumps(boosters))
    members = all_members(experiment)
    weights = {"/".join(m): 0.0 if i % 3 else 1.0 + i for i, m in enumerate(members)}
    experiment.path("blend").mkdir()
    (experiment.path("blend") / "weights.json").write_text(json.dumps(weights))
    return experiment


def _random_scores(rng: np.random.Generator, columns: int) -> np.ndarray:
    return rng.random((NUM_PRODUCTS * NUM_CANDIDATES, columns), np.float32)


def _write_candidates(path: Path, part: str, rng: np.random.Generator) -> None:
    path.mkdir(parents=True)
    product = np.repeat(np.arange(NUM_PRODUCTS, dtype=np.int32), NUM_CANDIDATES)
    class_id = np.tile(np.arange(NUM_CANDIDATES, dtype=np.int16), NUM_PRODUCTS)
    fold = (product % 2 if part == "fit" else np.full(len(product), -1)).astype(np.int8)
    true = np.repeat(rng.integers(0, NUM_CANDIDATES, NUM_PRODUCTS), NUM_CANDIDATES)
    arrays: dict[str, np.ndarray] = {"product": product, "class_id": class_id, "fold": fold}
    if part != "test":
        arrays["target"] = (class_id == true).astype(np.int8)
    for name, array in arrays.items():
        np.save(path / f"{name}.npy", array)
