"""Stage 06: every rung scored on the locked part, and the submission of the chosen blend."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lib.config.schema import Config, Data
from lib.data.catalog import Catalog, Categories, read_categories, read_splits
from lib.evaluation import abstention, ladder
from lib.evaluation.hash_rules import by_l1, by_majority, by_unanimous
from lib.evaluation.ladder import LadderRow
from lib.features.candidates import Query, make_query
from lib.features.hash_lookup import look_up
from lib.features.network import best_classes
from lib.output import predictions, submission
from lib.stacking import blend
from lib.stages import ranking_stage


def build_submission(
    config: Config, labelled: Catalog, query: Catalog | None, folder: Path
) -> dict[str, Any]:
    """Write `scores.json`, `ladder.txt`, `calibration.json` (what the blend's probabilities are
    worth) and, if there is a `query`, `submission.csv.gz`."""
    classes = read_categories(config.at("extract/classes"))
    measured = ranking_stage.measure_abstention(config, labelled.group)
    facts = {} if query is None else _submit(config, query, classes, folder)
    rungs = _rungs(config, labelled, classes)
    notes, final = [abstention.summary_line(measured)], config.blend.submit
    ladder.write(folder, rungs, final, submitted=query is not None, notes=notes)
    text = json.dumps(abstention.to_dict(measured), indent=1)
    (folder / "calibration.json").write_text(text + "\n")
    return {**facts, "rungs": len(rungs)}


NAMELESS = (
    "caution: the labelled products have numbers as ids and these have names, so what is known of"
    " ids nearby does not help here; the figures above promise too much"
)


def build_answers(
    config: Config, labelled: Catalog, query: Catalog, folder: Path
) -> dict[str, Any]:
    """Write the predictions for every product of `query` and what they are worth; returns counts.

    calibration.json, ladder.txt: the worth of the predictions, measured on the locked part.
    """
    measured = ranking_stage.measure_abstention(config, labelled.group)
    products, accepted = predictions.write_predictions(
        folder,
        query,
        read_categories(config.at("extract/classes")),
        ranking_stage.candidate_rows(config, "test"),
        ranking_stage.blend_scores(config, "test"),
        abstention.AbstentionRule.load(config.at("calibration")),
        config.inference.top_k,
    )
    facts = {**abstention.to_dict(measured), "new": {"products": products, "accepted": accepted}}
    (folder / "calibration.json").write_text(json.dumps(facts, indent=1) + "\n")
    found = measured.accuracy
    lines = [
        f"{config.blend.submit} blend on the locked part, {found.n:,} products:"
        f" {found.value:.4f} ({found.low:.4f} .. {found.high:.4f})",
        f"accepted {accepted:,} of {products:,} ({abstention.describe(measured)})",
    ]
    if labelled.keys is None and query.keys is not None:
        lines.append(NAMELESS)
    (folder / "ladder.txt").write_text("\n".join(lines) + "\n")
    return facts["new"]


def _submit(config: Config, query: Catalog, classes: Categories, folder: Path) -> dict[str, Any]:
    rows = ranking_stage.candidate_rows(config, "test")
    scores = ranking_stage.blend_scores(config, "test")
    product, chosen = blend.best(rows["product"], rows["cls"], scores)
    path, header = folder / "submission.csv.gz", _header(config.data)
    names = [classes.key(cls) for cls in range(len(classes))]
    keys = (query.key(row) for row in product.tolist())
    submission.write(path, header, keys, (names[cls] for cls in chosen.tolist()))
    wanted = map(query.key, range(len(query.product_id)))
    return {"rows": submission.check(path, header, wanted, names)}


def _header(data: Data) -> tuple[str, str]:
    """The names of the submission's columns: those of the labelled data, where it has any."""
    by_source = {
        "csv": (data.id_column, data.label_column),
        "folders": ("path", "category"),
        "npy": ("path", "category"),
        "strokes": ("key_id", "category"),
    }
    return by_source.get(data.source, submission.HEADER)


def _rungs(config: Config, labelled: Catalog, classes: Categories) -> list[LadderRow]:
    splits = read_splits(config.at("extract/splits"))
    locked = splits.products("locked")
    truth = labelled.label[locked]
    asked = make_query(labelled, locked)
    rows = ranking_stage.candidate_rows(config, "locked")

    def ranked(name: str, layer: str, scores: np.ndarray) -> LadderRow:
        product, chosen = blend.best(rows["product"], rows["cls"], scores)
        if not np.array_equal(product, locked):
            raise ValueError("candidates of the locked part are not its products")
        return LadderRow(name, layer, chosen == truth)

    rungs = _network_rungs(config, asked, truth, len(classes))
    if config.features.use_md5:
        rungs += _rule_rungs(config, labelled, asked, len(classes))
    found = np.bincount(np.searchsorted(locked, rows["product"]), rows["target"], len(locked))
    rungs.append(LadderRow("recall", "candidates", found > 0))
    best = ranking_stage.best_member(config, "l2")
    for member in sorted(ranking_stage.members(config), key=lambda member: member[1]):
        rung = ranked(
            f"{member[0]} {member[2]}",
            member[1],
            ranking_stage.member_scores(config, member, "locked"),
        )
        mark = "the layer's best by out-of-fold loss" if member == best else ""
        rungs.append(replace(rung, baseline=mark))
    for name in ranking_stage.blends(config):
        rung = ranked(name, "blend", ranking_stage.blended(config, name, "locked"))
        mark = "the plain average of all members" if name == "simple" else ""
        rungs.append(replace(rung, baseline=mark))
    final = ranking_stage.blended(config, config.blend.submit, "locked")
    rungs += _level_rungs(classes, blend.best(rows["product"], rows["cls"], final)[1], truth)
    group = None if labelled.group is None else labelled.group[locked]
    return [replace(rung, group=group) for rung in rungs]


def _level_rungs(classes: Categories, chosen: np.ndarray, truth: np.ndarray) -> list[LadderRow]:
    """The submitted class against the true one, by the upper levels of the category tree."""
    return [
        LadderRow(f"level {number}", "tree", (level[chosen] == level[truth]) & (truth >= 0))
        for number, level in enumerate(classes.levels(), 1)
    ]


def _network_rungs(
    config: Config, asked: Query, truth: np.ndarray, classes: int
) -> list[LadderRow]:
    rungs = []
    weights = [model.blend_weight for model in config.models.values()]
    for layer, prefix in (("cnn", "plain"), ("cnn tta", "top")):
        for name in config.models:
            dump = ranking_stage.read_dump(config, name, "locked", prefix)
            chosen = best_classes(asked, [dump], [1.0], classes)
            rungs.append(LadderRow(name, layer, chosen == truth))
    dumps = ranking_stage.read_dumps(config, "locked")
    for how in ("arithmetic", "geometric"):
        chosen = best_classes(asked, dumps, weights, classes, how)
        rungs.append(LadderRow(f"weighted {how} mean", "cnn mean", chosen == truth))
    return rungs


def _rule_rungs(config: Config, labelled: Catalog, asked: Query, classes: int) -> list[LadderRow]:
    """The hash alone where it speaks, the networks' geometric mean elsewhere (T6)."""
    weights = [model.blend_weight for model in config.models.values()]
    otherwise = best_classes(asked, ranking_stage.read_dumps(config, "locked"), weights, classes)
    reference = np.ones(len(labelled.label), bool)
    reference[asked.products] = False
    known = look_up(
        labelled,
        reference=reference,
        reference_fold=np.full(len(labelled.label), -1, np.int8),
        query=labelled,
        images=asked.images,
        query_fold=np.full(len(asked.images), -1, np.int8),
        same=True,
        hash_k=1,
        class_count=classes,
    )
    of_rule = {"majority": by_majority, "unanimous": by_unanimous, "largest share": by_l1}
    truth = labelled.label[asked.products]
    return [
        LadderRow(name, "hash rule", rule(asked, known, otherwise) == truth)
        for name, rule in of_rule.items()
    ]
