"""Stage 06: every rung scored on the locked part, and the submission of the chosen blend."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lib import ladder, submission
from lib.catalogue.tables import Catalogue, Classes, read_classes, read_splits
from lib.config import Config, Data
from lib.errors import UserError
from lib.ladder import Rung
from lib.ranking import blend, stage
from lib.ranking.candidates import Queried, queried
from lib.ranking.means import best_classes


def build_submission(
    config: Config, labelled: Catalogue, query: Catalogue | None, folder: Path
) -> dict[str, Any]:
    """Write `scores.json`, `ladder.txt` and, if there is a `query`, `submission.csv.gz`."""
    classes = read_classes(config.folder / "extract" / "classes")
    final = config.blend.final
    blends = stage.blended(config, "locked")
    if final not in blends:
        raise UserError(
            'blend.final = "published" needs L3 xgboost, lgbm_1 and lgbm_2 of every source and'
            ' xgboost in stack.multi; set them, or blend.final = "fitted"'
        )
    facts = {} if query is None else _submit(config, query, classes, folder)
    rungs = _rungs(config, labelled, len(classes), blends)
    ladder.write(folder, rungs, final, submitted=query is not None)
    return {**facts, "rungs": len(rungs)}


def _submit(config: Config, query: Catalogue, classes: Classes, folder: Path) -> dict[str, Any]:
    rows = stage.candidate_rows(config, "test")
    scores = stage.blended(config, "test")[config.blend.final]
    product, chosen = blend.best(rows["product"], rows["cls"], scores)
    path, header = folder / "submission.csv.gz", _header(config.data)
    names = [classes.key(cls) for cls in range(len(classes))]
    keys = (query.key(row) for row in product.tolist())
    submission.write(path, header, keys, (names[cls] for cls in chosen.tolist()))
    wanted = map(query.key, range(len(query.product_id)))
    return {"rows": submission.check(path, header, wanted, names)}


def _header(data: Data) -> tuple[str, str]:
    """The names of the submission's columns: those of the labelled data, where it has any."""
    if data.source == "csv":
        return data.id_column, data.label_column
    return ("path", "category") if data.source in ("folders", "npy") else submission.HEADER


def _rungs(
    config: Config, labelled: Catalogue, classes: int, blends: dict[str, np.ndarray]
) -> list[Rung]:
    splits = read_splits(config.folder / "extract" / "splits")
    locked = splits.products("locked")
    truth = labelled.label[locked]
    asked = queried(labelled, locked)
    rows = stage.candidate_rows(config, "locked")

    def ranked(name: str, layer: str, scores: np.ndarray) -> Rung:
        product, chosen = blend.best(rows["product"], rows["cls"], scores)
        if not np.array_equal(product, locked):
            raise ValueError("candidates of the locked part are not its products")
        return Rung(name, layer, chosen == truth)

    rungs = _network_rungs(config, asked, truth, classes)
    found = np.bincount(np.searchsorted(locked, rows["product"]), rows["target"], len(locked))
    rungs.append(Rung("recall", "candidates", found > 0))
    for layer in ("l2", "l3"):
        for member in stage.members(config):
            if member[1] == layer:
                scores = stage.member_scores(config, member, "locked")
                rungs.append(ranked(f"{member[0]} {member[2]}", layer, scores))
    for name, scores in blends.items():
        rungs.append(ranked(name, "blend", scores))
    group = None if labelled.group is None else labelled.group[locked]
    return [replace(rung, group=group) for rung in rungs]


def _network_rungs(config: Config, asked: Queried, truth: np.ndarray, classes: int) -> list[Rung]:
    rungs = []
    weights = [model.weight for model in config.models.values()]
    for layer, prefix in (("cnn", "plain"), ("cnn tta", "top")):
        for name in config.models:
            dump = stage.read_dump(config, name, "locked", prefix)
            chosen = best_classes(asked, [dump], [1.0], classes)
            rungs.append(Rung(name, layer, chosen == truth))
    dumps = stage.read_dumps(config, "locked")
    for how in ("arithmetic", "geometric"):
        chosen = best_classes(asked, dumps, weights, classes, how)
        rungs.append(Rung(f"weighted {how} mean", "cnn mean", chosen == truth))
    return rungs
