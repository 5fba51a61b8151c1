"""Stages 04 to 06: which folders feed which function of the ranking room."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from lib import pipeline, topk
from lib.catalogue.tables import Catalogue, read_classes, read_splits
from lib.config import Config
from lib.ranking import blend, features, stack
from lib.ranking.means import mean
from lib.topk import TopK

Member = tuple[str, str, str]  # source, layer, booster


def build_candidates(
    config: Config, part: str, labelled: Catalogue, query: Catalogue, folder: Path
) -> dict[str, Any]:
    return features.build_candidates(
        folder,
        config.features,
        labelled,
        read_splits(config.folder / "extract" / "splits"),
        query,
        part,
        config.stack_part,
        read_dumps(config, part),
        _class_count(config),
    )


def build_source(
    config: Config, source: str, part: str, query: Catalogue, folder: Path
) -> dict[str, Any]:
    """Columns of one network, of the mean of all (order 1 of C13), or of all side by side."""
    classes = _class_count(config)
    if source == "mean":
        weights = [model.weight for model in config.models.values()]
        dumps, names = [mean(read_dumps(config, part), weights, classes)], ["mean"]
    elif source == "multi":
        dumps, names = read_dumps(config, part), list(config.models)
    else:
        dumps, names = [read_dump(config, source, part)], [source]
    candidates = config.folder / "features" / "candidates" / part
    return features.build_source(folder, config.features, candidates, query, dumps, names, classes)


def build_booster(
    config: Config, source: str, layer: str, booster: str, folder: Path
) -> dict[str, Any]:
    part = config.stack_part
    rows = candidate_rows(config, part)
    return stack.fit_layer(
        folder,
        booster,
        _layer_columns(config, source, layer, part),
        rows["target"],
        rows["fold"],
        rows["product"],
        config.stack,
        config.seed,
        pipeline.threads(config),
    )


def build_scores(
    config: Config, source: str, layer: str, part: str, folder: Path
) -> dict[str, Any]:
    """Score the rows of a part with every booster of a layer: `scores.npy` float32 [R, B]."""
    boosters = layer_boosters(config, source, layer)
    seen = _layer_columns(config, source, layer, part)
    scores = np.column_stack(
        [
            stack.predict_layer(
                config.folder / "stack" / source / layer / booster,
                booster,
                seen,
                pipeline.threads(config),
            )
            for booster in boosters
        ]
    )
    np.save(folder / "scores.npy", scores)
    (folder / "names.json").write_text(json.dumps(boosters))
    return {"rows": len(scores)}


def build_blend(config: Config, folder: Path) -> dict[str, Any]:
    """Fit the weights of the blend on out-of-fold scores of the stack part (C14)."""
    part = config.stack_part
    rows = candidate_rows(config, part)
    names = members(config)
    scores = [member_scores(config, name, part) for name in names]
    normal = np.stack([blend.normalise(score, rows["product"]) for score in scores])
    weights = blend.greedy(normal, rows["product"], rows["target"], config.blend.steps)
    fitted = {"/".join(name): float(weight) for name, weight in zip(names, weights, strict=True)}
    (folder / "weights.json").write_text(json.dumps(fitted, indent=1))
    return {"members": len(names), "used": int((weights > 0).sum())}


def blended(config: Config, part: str) -> dict[str, np.ndarray]:
    """Scores float32 [R] of both blends on a part: the fitted and, where its members exist, the
    published one."""
    rows = candidate_rows(config, part)
    fitted = json.loads((config.folder / "blend" / "weights.json").read_text())
    total = np.zeros(len(rows["product"]), np.float32)
    for name, weight in fitted.items():
        if weight > 0:
            source, layer, booster = name.split("/")
            score = member_scores(config, (source, layer, booster), part)
            total += weight * blend.normalise(score, rows["product"])
    blends = {"fitted": total}
    if blend.published_members(list(config.models)) <= set(members(config)):
        scores = {
            name: member_scores(config, name, part)
            for name in blend.published_members(list(config.models))
        }
        weights = {name: model.weight for name, model in config.models.items()}
        blends["published"] = blend.published(scores, weights)
    return blends


def members(config: Config) -> list[Member]:
    """Every booster of every source and layer, in the order of the chain."""
    sources = ["mean", *config.models]
    found = [
        (source, layer, booster)
        for source in sources
        for layer in ("l2", "l3")
        for booster in layer_boosters(config, source, layer)
    ]
    return found + [("multi", "l2", booster) for booster in config.stack.multi]


def layer_boosters(config: Config, source: str, layer: str) -> tuple[str, ...]:
    if source == "multi":
        return config.stack.multi
    return config.stack.layer2 if layer == "l2" else config.stack.layer3


def member_scores(config: Config, member: Member, part: str) -> np.ndarray:
    """float32 [R]: out-of-fold on the stack part, the mean of the fold models elsewhere."""
    source, layer, booster = member
    if part == config.stack_part:
        return np.load(config.folder / "stack" / source / layer / booster / "oof.npy")
    folder = config.folder / "scores" / source / layer / part
    names = json.loads((folder / "names.json").read_text())
    return np.load(folder / "scores.npy", mmap_mode="r")[:, names.index(booster)]


def candidate_rows(config: Config, part: str) -> dict[str, np.ndarray]:
    """product int32, cls int16, fold int8 and (labelled parts) target int8 of a part [R]."""
    folder = config.folder / "features" / "candidates" / part
    names = ["product", "cls", "fold"] + (["target"] if part != "test" else [])
    return {name: np.load(folder / f"{name}.npy") for name in names}


def read_dumps(config: Config, part: str) -> list[TopK]:
    return [read_dump(config, name, part) for name in config.models]


def read_dump(config: Config, name: str, part: str, prefix: str = "top") -> TopK:
    return topk.read(config.folder / "predictions" / name / part, prefix)


def _layer_columns(config: Config, source: str, layer: str, part: str) -> list[stack.Table]:
    common = features.read(config.folder / "features" / "candidates" / part)
    own = features.read(config.folder / "features" / source / part)
    if layer == "l2":
        return [common, own]
    rows = candidate_rows(config, part)
    below = {
        booster: member_scores(config, (source, "l2", booster), part)
        for booster in config.stack.layer2
    }
    return [
        stack.categories_as_priors(common, common, rows["product"]),
        stack.categories_as_priors(own, common, rows["product"]),
        stack.layer_columns(below, rows["product"]),
    ]


def _class_count(config: Config) -> int:
    return len(read_classes(config.folder / "extract" / "classes"))
