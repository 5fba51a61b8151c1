"""Stage 05: train the boosters out-of-fold, layer by layer, and score the other parts.

    work/<name>/stack/<source>/<layer>/<booster>   one model for each fold, and oof.npy
    work/<name>/scores/<source>/<layer>/<part>     scores of every booster of the layer

The second layer sees the feature tables; every layer above also sees the scores of the layer below.
"""

import json
import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.config.schema import as_dict
from lib.pipeline.artifact import Artifact
from lib.pipeline.experiment import Experiment
from lib.pipeline.graph import Graph
from lib.runtime.workers import num_threads

if TYPE_CHECKING:
    from lib.features.table import Table

logger = logging.getLogger(__name__)

NAME, SCRIPT, PARALLEL = "stack", "05_stack.py", False


def declare(graph: Graph) -> list[Artifact]:
    """The artifacts of this stage."""
    config, artifacts = graph.experiment.config, []
    for source in () if config.multi_label else config.sources:
        for layer, boosters in config.layers(source).items():
            artifacts += [_declare_booster(graph, source, layer, name) for name in boosters]
            for part in graph.experiment.scored_parts:
                artifacts.append(_declare_scores(graph, source, layer, part))
    return artifacts


def _declare_booster(graph: Graph, source: str, layer: str, booster: str) -> Artifact:
    experiment, config = graph.experiment, graph.experiment.config
    below = _boosters_below(experiment, source, layer)
    return graph.add(
        f"stack/{source}/{layer}/{booster}",
        partial(fit_booster, experiment, source, layer, booster),
        settings={
            "stack": as_dict(config.stack, "sources", "l2", "l3", "l4", "multi_l2"),
            "below": below,
            "seed": config.seed,
        },
        inputs=[
            *_feature_tables(experiment, source, config.stack_part),
            *(f"stack/{name}" for name in below),
        ],
        version=4,
        resumable=True,
    )


def _declare_scores(graph: Graph, source: str, layer: str, part: str) -> Artifact:
    experiment, config = graph.experiment, graph.experiment.config
    boosters = config.layers(source)[layer]
    below = layer_below(layer)
    return graph.add(
        f"scores/{source}/{layer}/{part}",
        partial(score_part, experiment, source, layer, part),
        settings={"boosters": boosters},
        inputs=[
            *_feature_tables(experiment, source, part),
            *([f"scores/{source}/{below}/{part}"] if below else []),
            *(f"stack/{source}/{layer}/{booster}" for booster in boosters),
        ],
    )


def layer_below(layer: str) -> str | None:
    """The layer whose scores a layer sees: "l2" for "l3"; None for "l2", the lowest."""
    return None if layer == "l2" else f"l{int(layer[1:]) - 1}"


def _boosters_below(experiment: Experiment, source: str, layer: str) -> tuple[str, ...]:
    """The boosters whose scores a layer sees, as in "mean/l2/xgboost"."""
    below = layer_below(layer)
    if below is None:
        return ()
    return tuple(f"{source}/{below}/{name}" for name in experiment.config.layers(source)[below])


def _feature_tables(experiment: Experiment, source: str, part: str) -> list[str]:
    """The feature tables that the boosters of a source see."""
    config = experiment.config
    neighbors = ["neighbors"] if config.predict.embed_models else []
    attributes = ["attributes"] if config.data.attribute_columns else []
    return [f"features/{t}/{part}" for t in ("candidates", *neighbors, *attributes, source)]


def fit_booster(
    experiment: Experiment, source: str, layer: str, booster: str, folder: Path
) -> dict[str, Any]:
    """Fit one model for each fold, and score each fold with the model that did not see it."""
    from lib.stacking.oof import fit_oof
    from lib.stages.read import read_candidates

    config = experiment.config
    rows = read_candidates(experiment, config.stack_part)
    return fit_oof(
        folder,
        booster,
        _read_features(experiment, source, layer, config.stack_part),
        rows.target,
        rows.fold,
        rows.product,
        config.stack,
        config.seed + config.stack.seed,
        num_threads(config.run),
        allow_gpu=config.run.device != "cpu",
    )


def score_part(
    experiment: Experiment, source: str, layer: str, part: str, folder: Path
) -> dict[str, Any]:
    """Score the rows of a part with every booster of a layer: `scores.npy`, float32 [R, B].

    One booster and one partition of the rows are in memory at a time.
    """
    import numpy as np

    from lib.features.query import row_partitions
    from lib.pipeline.reading import map_array
    from lib.stacking.fold_mean import FEW_ROWS, FoldMean
    from lib.utils.npy import ArrayWriter

    if layer == "l2" and logger.isEnabledFor(logging.WARNING):
        _warn_of_moved_columns(experiment, source, part)
    boosters = experiment.config.layers(source)[layer]
    path = experiment.path(f"features/candidates/{part}") / "product.npy"
    parts = list(row_partitions(map_array(path)))
    threads = num_threads(experiment.config.run) if parts[-1].stop > FEW_ROWS else 1
    single = [folder / f"{booster}.npy" for booster in boosters]
    for booster, scores in zip(boosters, single, strict=True):
        models = FoldMean.load(
            experiment.path(f"stack/{source}/{layer}/{booster}"), booster, threads
        )
        with ArrayWriter(scores, np.float32) as writer:
            for rows in parts:
                features = _read_features(experiment, source, layer, part, rows)
                writer.append(models.predict(features, np.array(map_array(path)[rows])))
    with ArrayWriter(folder / "scores.npy", np.float32, len(boosters)) as writer:
        for rows in parts:
            writer.append(np.column_stack([map_array(scores)[rows] for scores in single]))
    for scores in single:
        scores.unlink()
    (folder / "names.json").write_text(json.dumps(boosters))
    return {"rows": writer.rows}


def _warn_of_moved_columns(experiment: Experiment, source: str, part: str) -> None:
    """Say which columns have far more or fewer missing values than where boosters are fitted."""
    from lib.features.comparable import moved_columns

    is_first = source == experiment.config.sources[0]  # the other tables are those of all sources
    fitted = _feature_tables(experiment, source, experiment.config.stack_part)
    scored = _feature_tables(experiment, source, part)
    for before, after in list(zip(fitted, scored, strict=True))[0 if is_first else -1 :]:
        for line in moved_columns(experiment.path(before), experiment.path(after)):
            logger.warning("%s: %s", experiment.path(after), line)


def _read_features(
    experiment: Experiment, source: str, layer: str, part: str, rows: slice = slice(None)
) -> list["Table"]:
    """What the boosters of a layer see of the rows of a part, or of some, whole products.

    In the second layer class codes stand as categories. In the layers above each class code is
    replaced by the class's prior, and the scores of the layer below are added.
    """
    import numpy as np

    from lib.features.table import FeatureTable, score_features, target_encode
    from lib.pipeline.reading import map_array
    from lib.stages.read import Member, read_scores

    names = _feature_tables(experiment, source, part)
    tables = [FeatureTable.load(experiment.path(name), rows) for name in names]
    below = layer_below(layer)
    if below is None:
        return list(tables)
    product = np.array(map_array(experiment.path(names[0]) / "product.npy")[rows])
    scores = {
        booster: read_scores(experiment, Member(source, below, booster), part, rows)
        for booster in experiment.config.layers(source)[below]
    }
    return [
        *(target_encode(table, tables[0], product) for table in tables),
        score_features(scores, product),
    ]
