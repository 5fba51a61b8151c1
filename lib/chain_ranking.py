"""Stages 04 to 06: candidates and their columns, the layers of boosters, the blend."""

from functools import partial
from typing import Any

from lib import fill
from lib.artifacts import Artifact
from lib.chain import Chain, mean_weights
from lib.config.schema import nets, plain


def features(chain: Chain) -> list[Artifact]:
    made = []
    common = plain(chain.config.features, "similar_id_windows")
    looks = chain.config.features.similar_id_windows
    for part in chain.parts:
        of_models = [f"predictions/{name}/{part}" for name in chain.single]
        seen = chain.inputs(
            "extract/train", "extract/splits", chain.query(part), *_seen(chain, part)
        )
        looks_like = [f"extract/alike/{side}" for side in chain.sides(part)]
        made.append(
            chain.add(
                f"features/candidates/{part}",
                partial(fill.candidates, chain.config, part),
                config={"features": common, "stack_part": chain.config.stack_part},
                inputs={
                    **seen,
                    **chain.inputs(
                        *of_models, *(looks_like if chain.config.features.use_phash else [])
                    ),
                },
                version=2,
            )
        )
        rows = chain.inputs(f"features/candidates/{part}")
        if chain.config.predict.embed_models:
            made.append(
                chain.add(
                    f"features/neighbours/{part}",
                    partial(fill.neighbours, chain.config, part),
                    config={"similar_id_windows": looks, "of": chain.config.predict.embed_models},
                    inputs={**rows, **seen},
                )
            )
        for source in chain.config.sources:
            alone = source in chain.single
            weights = mean_weights(chain.config) if source == "mean" else {}
            made.append(
                chain.add(
                    f"features/{source}/{part}",
                    partial(fill.source, chain.config, source, part),
                    config={"features": common, "weights": weights},
                    inputs={
                        **rows,
                        **chain.inputs(*([f"predictions/{source}/{part}"] if alone else of_models)),
                    },
                )
            )
    return made


def _seen(chain: Chain, part: str) -> list[str]:
    """The embeddings that a part's neighbours are found with: its own and those of train."""
    return [
        f"embeddings/{name}/{net}/{side}"
        for name in chain.config.predict.embed_models
        for net in nets(chain.config.models[name])
        for side in chain.sides(part)
    ]


def stack(chain: Chain) -> list[Artifact]:
    made = []
    for source in chain.config.sources:
        below: tuple[str, ...] = ()
        for layer, boosters in chain.config.layers(source).items():
            made += _layer(chain, source, layer, boosters, below)
            below = tuple(f"{source}/{layer}/{booster}" for booster in boosters)
    return made


def _layer(
    chain: Chain, source: str, layer: str, boosters: tuple[str, ...], below: tuple[str, ...]
) -> list[Artifact]:
    """below: the boosters of the layer under it, whose scores it reads."""
    settings = plain(chain.config.stack, "sources", "l2", "l3", "l4", "multi_l2")
    fitted_on = chain.config.stack_part
    made = [
        chain.add(
            f"stack/{source}/{layer}/{booster}",
            partial(fill.booster, chain.config, source, layer, booster),
            config={"stack": settings, "below": below, "seed": chain.config.seed},
            version=2,
            inputs=chain.inputs(
                *_columns(chain, source, fitted_on), *(f"stack/{name}" for name in below)
            ),
            resumable=True,
        )
        for booster in boosters
    ]
    fitted = [f"stack/{source}/{layer}/{booster}" for booster in boosters]
    for part in chain.scored_parts:
        lower = [f"scores/{source}/l{int(layer[1:]) - 1}/{part}"] if below else []
        made.append(
            chain.add(
                f"scores/{source}/{layer}/{part}",
                partial(fill.scores, chain.config, source, layer, part),
                config={"boosters": boosters},
                inputs=chain.inputs(*_columns(chain, source, part), *lower, *fitted),
            )
        )
    return made


def _columns(chain: Chain, source: str, part: str) -> list[str]:
    shared = ["candidates", *(["neighbours"] if chain.config.predict.embed_models else [])]
    return [f"features/{table}/{part}" for table in (*shared, source)]


def submit(chain: Chain) -> list[Artifact]:
    oof = [name for name in chain.made if name.startswith("stack/")]
    scores = [name for name in chain.made if name.startswith("scores/")]
    stack_part = chain.config.stack_part
    blend = chain.add(
        "blend",
        partial(fill.blend, chain.config),
        config={"fit": chain.config.blend.method, "steps": chain.config.blend.greedy_steps},
        inputs=chain.inputs(f"features/candidates/{stack_part}", *oof),
    )
    final: dict[str, Any] = {
        "final": chain.config.blend.submit,
        "weights": mean_weights(chain.config),
    }
    calibration = chain.add(
        "calibration",
        partial(fill.calibration, chain.config),
        config={**final, "precision": chain.config.inference.min_precision},
        inputs=chain.inputs("extract/train", "blend", f"features/candidates/{stack_part}", *oof),
    )
    inputs = chain.inputs(
        "extract/classes",
        *(f"extract/{side}" for side in chain.config.sides),
        "extract/splits",
        *(f"features/candidates/{part}" for part in chain.scored_parts),
        "blend",
        "calibration",
        *scores,
    )
    if chain.config.asked is not None:
        build = fill.answers
        final["top"] = chain.config.inference.top_k
    else:
        build = fill.submission
        inputs |= chain.inputs(*(f"predictions/{name}/locked" for name in chain.single))
    submit = chain.add("submit", partial(build, chain.config), config=final, inputs=inputs)
    return [blend, calibration, submit]
