"""Stages 04 to 06: which folders feed which function of the ranking room."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from lib import pipeline
from lib.config.schema import Config, nets
from lib.data.catalog import Catalog, read_categories, read_splits
from lib.errors import UserError
from lib.evaluation.abstention import (
    AbstentionResult,
    AbstentionRule,
    evaluate_abstention,
    fit_abstention_rule,
)
from lib.features import build, embedding_knn
from lib.features.candidates import Query, make_query
from lib.features.columns import Table
from lib.features.network import mean
from lib.inference import topk
from lib.inference.topk import TopK
from lib.stacking import blend, oof

Member = tuple[str, str, str]  # source, layer, booster


def build_candidates(
    config: Config, part: str, labelled: Catalog, query: Catalog, folder: Path
) -> dict[str, Any]:
    return build.build_candidates(
        folder,
        config.features,
        labelled,
        read_splits(config.at("extract/splits")),
        query,
        part,
        config.stack_part,
        read_dumps(config, part),
        _class_count(config),
        _proposed(config, part, labelled, query),
        _looks(config, part),
    )


def _looks(config: Config, part: str) -> tuple[np.ndarray, np.ndarray] | None:
    """What tells pictures apart by their looks, uint64 [I, 2]: of the labelled, of the queried."""
    if not config.features.use_phash:
        return None
    side = "test" if part == "test" else "train"
    known, asked = (np.load(config.at(f"extract/alike/{s}") / "alike.npy") for s in ("train", side))
    return known, asked


def _proposed(config: Config, part: str, labelled: Catalog, query: Catalog) -> list[np.ndarray]:
    """Classes of the closest pictures, int16 [n, k] of each model; none if none are sought."""
    if not config.predict.embed_models or not config.features.knn_k:
        return []
    splits = read_splits(config.at("extract/splits"))
    products = np.arange(len(query.product_id)) if part == "test" else splits.products(part)
    asked = make_query(query, products)
    return [
        embedding_knn.candidate_classes(
            _galleries(config, name, part, asked),
            labelled,
            asked,
            config.features.knn_k,
            config.run,
        )
        for name in config.predict.embed_models
    ]


def build_neighbours(
    config: Config, part: str, labelled: Catalog, query: Catalog, folder: Path
) -> dict[str, Any]:
    """What the closest pictures say of each candidate, for every model that has embeddings."""
    rows = candidate_rows(config, part)
    asked = make_query(query, np.unique(rows["product"]))
    slot = np.searchsorted(asked.products, rows["product"])
    table: Table = {}
    for name in config.predict.embed_models:
        seen = _galleries(config, name, part, asked)
        table |= embedding_knn.closest_columns(
            seen, labelled, asked, slot, rows["cls"], name, config.run
        )
        table |= embedding_knn.near_alike_columns(
            seen,
            labelled,
            query,
            asked,
            slot,
            rows["cls"],
            config.features.similar_id_windows,
            name,
        )
    build.write(folder, table)
    return {"rows": len(slot), "columns": len(table)}


def _galleries(config: Config, name: str, part: str, asked: Query) -> list[embedding_knn.FoldIndex]:
    """The networks of a model, with what each may be asked and may answer."""
    side = "test" if part == "test" else "train"
    splits = read_splits(config.at("extract/splits"))
    model = config.models[name]

    def embeddings(net: str, side: str) -> np.ndarray:
        return np.load(config.at(f"embeddings/{name}/{net}/{side}") / "embeddings.npy", "r")

    return [
        embedding_knn.FoldIndex(embeddings(net, "train"), embeddings(net, side), *role)
        for net, role in zip(
            nets(model),
            embedding_knn.roles(splits, model.n_folds, part, asked.products),
            strict=True,
        )
    ]


def build_source(
    config: Config, source: str, part: str, query: Catalog, folder: Path
) -> dict[str, Any]:
    """Columns of one network, of the mean of all (order 1 of C13), or of all side by side."""
    classes = _class_count(config)
    if source == "mean":
        weights = [model.blend_weight for model in config.models.values()]
        dumps, names = [mean(read_dumps(config, part), weights, classes)], ["mean"]
    elif source == "multi":
        dumps, names = read_dumps(config, part), list(config.models)
    else:
        dumps, names = [read_dump(config, source, part)], [source]
    candidates = config.at(f"features/candidates/{part}")
    return build.build_source(folder, config.features, candidates, query, dumps, names, classes)


def build_booster(
    config: Config, source: str, layer: str, booster: str, folder: Path
) -> dict[str, Any]:
    part = config.stack_part
    rows = candidate_rows(config, part)
    return oof.fit_layer(
        folder,
        booster,
        _layer_columns(config, source, layer, part),
        rows["target"],
        rows["fold"],
        rows["product"],
        config.stack,
        config.seed + config.stack.seed,
        pipeline.threads(config),
    )


def build_scores(
    config: Config, source: str, layer: str, part: str, folder: Path
) -> dict[str, Any]:
    """Score the rows of a part with every booster of a layer: `scores.npy` float32 [R, B]."""
    boosters = config.layers(source)[layer]
    seen = _layer_columns(config, source, layer, part)
    product = candidate_rows(config, part)["product"]
    scores = np.column_stack(
        [
            oof.predict_layer(
                config.at(f"stack/{source}/{layer}/{booster}"),
                booster,
                seen,
                product,
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
    weights = blend.fitted(
        scores,
        rows["product"],
        rows["target"],
        rows["fold"],
        config.blend.method,
        config.blend.greedy_steps,
    )
    fitted = {"/".join(name): float(weight) for name, weight in zip(names, weights, strict=True)}
    (folder / "weights.json").write_text(json.dumps(fitted, indent=1))
    return {"members": len(names), "used": int((weights > 0).sum())}


def blends(config: Config) -> list[str]:
    """The blends there are: "published" needs members of its own."""
    own = blend.published_members(list(config.models)) <= set(members(config))
    return ["simple", "fitted", *(["published"] if own else [])]


def blended(config: Config, name: str, part: str) -> np.ndarray:
    """Scores float32 [R] of one of `blends` on the rows of a part."""
    if name == "published":
        weights = {model: settings.blend_weight for model, settings in config.models.items()}
        wanted = blend.published_members(list(config.models))
        scores = {member: member_scores(config, member, part) for member in wanted}
        return blend.published(scores, weights)
    if name == "simple":
        used = dict.fromkeys(members(config), 1 / len(members(config)))
    else:
        fitted = json.loads((config.at("blend") / "weights.json").read_text())
        used = {_member(key): weight for key, weight in fitted.items() if weight > 0}
    scored = (member_scores(config, member, part) for member in used)
    return blend.mixed(
        scored, np.array(list(used.values())), candidate_rows(config, part)["product"]
    )


def blend_scores(config: Config, part: str) -> np.ndarray:
    """Scores float32 [R] of the submitted blend. Raises UserError where it lacks members."""
    if config.blend.submit not in blends(config):
        raise UserError(
            'blend.final = "published" needs L3 xgboost, lgbm_1 and lgbm_2 of every source and'
            ' xgboost in stack.multi; set them, or blend.final = "fitted"'
        )
    return blended(config, config.blend.submit, part)


def build_calibration(
    config: Config, folder: Path, group: np.ndarray | None = None
) -> dict[str, Any]:
    """Fit the abstention rule on the out-of-fold rows of the stack part.

    group int32 [products] of the labelled catalogue.
    """
    rows = candidate_rows(config, config.stack_part)
    rule = fit_abstention_rule(
        blend_scores(config, config.stack_part),
        rows["product"],
        rows["target"],
        config.inference.min_precision,
        group,
    )
    rule.save(folder)
    return rule.to_dict()


def measure_abstention(config: Config, group: np.ndarray | None = None) -> AbstentionResult:
    """The fitted abstention rule, measured on the locked part."""
    rows = candidate_rows(config, "locked")
    rule = AbstentionRule.load(config.at("calibration"))
    scores = blend_scores(config, "locked")
    return evaluate_abstention(rule, scores, rows["product"], rows["target"], group)


def best_member(config: Config, layer: str) -> Member:
    """The one of a layer with the least out-of-fold log loss of the true candidate."""
    rows = candidate_rows(config, config.stack_part)
    true = rows["target"] == 1

    def loss(member: Member) -> float:
        score = member_scores(config, member, config.stack_part)
        share = blend.normalise(score, rows["product"])[true]
        return float(-np.log(np.maximum(share, blend.LEAST)).mean())

    return min((member for member in members(config) if member[1] == layer), key=loss)


def _member(name: str) -> Member:
    source, layer, booster = name.split("/")
    return source, layer, booster


def members(config: Config) -> list[Member]:
    """Every booster of every source and layer, in the order of the chain."""
    return [
        (source, layer, booster)
        for source in config.sources
        for layer, boosters in config.layers(source).items()
        for booster in boosters
    ]


def member_scores(config: Config, member: Member, part: str) -> np.ndarray:
    """float32 [R]: out-of-fold on the stack part, the mean of the fold models elsewhere."""
    source, layer, booster = member
    if part == config.stack_part:
        return np.load(config.at(f"stack/{source}/{layer}/{booster}") / "oof.npy")
    folder = config.at(f"scores/{source}/{layer}/{part}")
    names = json.loads((folder / "names.json").read_text())
    return np.load(folder / "scores.npy", mmap_mode="r")[:, names.index(booster)]


def candidate_rows(config: Config, part: str) -> dict[str, np.ndarray]:
    """product int32, cls int16, fold int8 and (labelled parts) target int8 of a part [R]."""
    folder = config.at(f"features/candidates/{part}")
    names = ["product", "cls", "fold"] + (["target"] if part != "test" else [])
    return {name: np.load(folder / f"{name}.npy") for name in names}


def read_dumps(config: Config, part: str) -> list[TopK]:
    return [read_dump(config, name, part) for name in config.models]


def read_dump(config: Config, name: str, part: str, prefix: str = "top") -> TopK:
    return topk.read(config.at(f"predictions/{name}/{part}"), prefix)


def _layer_columns(config: Config, source: str, layer: str, part: str) -> list[oof.Table]:
    """What a layer sees: class codes and all in the second, priors and the layer below above it."""
    shared = ["candidates", *(["neighbours"] if config.predict.embed_models else [])]
    tables = [build.read(config.at(f"features/{name}/{part}")) for name in (*shared, source)]
    if layer == "l2":
        return list(tables)
    rows = candidate_rows(config, part)
    lower = f"l{int(layer[1:]) - 1}"
    below = {
        booster: member_scores(config, (source, lower, booster), part)
        for booster in config.layers(source)[lower]
    }
    return [
        *(oof.categories_as_priors(table, tables[0], rows["product"]) for table in tables),
        oof.layer_columns(below, rows["product"]),
    ]


def _class_count(config: Config) -> int:
    return len(read_categories(config.at("extract/classes")))
