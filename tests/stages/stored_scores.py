"""Candidate rows, top-k predictions and booster scores, written as stages 01 to 05 write them."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa

from lib.config.schema import Config
from lib.data.catalog import write_table
from lib.inference.topk import TopK
from lib.pipeline.experiment import Experiment
from lib.stages.read import all_boosters

NUM_PRODUCTS, NUM_CANDIDATES = 30, 3


def write_scores(config: Config) -> Experiment:
    """Random scores of every member; the true class is one of three candidates.

    Products have one image each, and all of them are in every part.
    """
    experiment, rng = Experiment(config), np.random.default_rng(0)
    _write_categories(experiment.path("extract/categories"))
    for side in ("train", "test"):
        _write_catalog(experiment.path(f"extract/{side}"))
    for part in ("fit", "locked", "test"):
        _write_candidates(experiment.path(f"features/candidates/{part}"), part, rng)
        for model in config.classifiers:
            _write_topk(experiment.path(f"predictions/{model}/{part}"), rng)
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
    weights = {f"{model}/l1/network": 0.5 for model in config.classifiers}
    boosters = map("/".join, all_boosters(experiment))
    weights |= {name: 0.0 if i % 3 else 1.0 + i for i, name in enumerate(boosters)}
    experiment.path("blend").mkdir()
    (experiment.path("blend") / "weights.json").write_text(json.dumps(weights))
    return experiment


def _write_categories(folder: Path) -> None:
    folder.mkdir(parents=True)
    names = {f"level{level}": [str(c) for c in range(NUM_CANDIDATES)] for level in (1, 2, 3)}
    columns = {"category_id": np.arange(NUM_CANDIDATES)} | {
        k: pa.array(v) for k, v in names.items()
    }
    write_table(folder / "categories.arrow", columns)


def _write_catalog(folder: Path) -> None:
    folder.mkdir(parents=True)
    rows, one = np.arange(NUM_PRODUCTS, dtype=np.int32), np.ones(NUM_PRODUCTS, np.int32)
    products = {"product_id": rows, "class_id": rows % NUM_CANDIDATES, "image_count": one}
    write_table(folder / "products.arrow", products | {"first_image": rows})
    images = {"product": rows, "position": 0 * one, "offset": rows, "length": one}
    md5 = pa.array([bytes([row]) * 16 for row in rows], pa.binary(16))
    write_table(folder / "images.arrow", images | {"md5": md5})


def _write_topk(folder: Path, rng: np.random.Generator) -> None:
    folder.mkdir(parents=True)
    probs = -np.sort(-rng.dirichlet(np.ones(NUM_CANDIDATES), NUM_PRODUCTS), axis=1)
    classes = rng.permuted(np.tile(np.arange(NUM_CANDIDATES), (NUM_PRODUCTS, 1)), axis=1)
    rest = np.zeros(NUM_PRODUCTS, np.float32)
    topk = TopK(np.arange(NUM_PRODUCTS), classes.astype(np.int16), probs.astype(np.float32), rest)
    topk.save(folder)


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
