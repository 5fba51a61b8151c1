"""Stage 06: every rung scored on the locked part, and the submission of the chosen blend."""

from pathlib import Path
from typing import Any

import numpy as np

from lib import ladder, submission
from lib.catalogue.tables import Catalogue, read_classes, read_splits
from lib.config import Config
from lib.errors import UserError
from lib.ladder import Rung
from lib.ranking import blend, stage
from lib.ranking.candidates import Queried, queried
from lib.ranking.means import best_classes


def build_submission(
    config: Config, labelled: Catalogue, query: Catalogue, folder: Path
) -> dict[str, Any]:
    """Write `submission.csv.gz`, `scores.json` and `ladder.txt`."""
    classes = read_classes(config.folder / "extract" / "classes")
    final = config.blend.final
    blends = stage.blended(config, "test")
    if final not in blends:
        raise UserError(
            'blend.final = "published" needs L3 xgboost, lgbm_1 and lgbm_2 of every source and'
            ' xgboost in stack.multi; set them, or blend.final = "fitted"'
        )
    rows = stage.candidate_rows(config, "test")
    product, chosen = blend.best(rows["product"], rows["cls"], blends[final])
    path = folder / "submission.csv.gz"
    submission.write(path, query.product_id[product], classes.category_id[chosen])
    written = submission.check(path, query.product_id, classes.category_id)

    rungs = _rungs(config, labelled, len(classes))
    ladder.write(folder, rungs, final)
    return {"rows": written, "rungs": len(rungs)}


def _rungs(config: Config, labelled: Catalogue, classes: int) -> list[Rung]:
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
    for name, scores in stage.blended(config, "locked").items():
        rungs.append(ranked(name, "blend", scores))
    return rungs


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
