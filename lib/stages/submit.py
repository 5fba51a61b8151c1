"""Stage 06: blend, score every step on the locked part, write and check the submission.

    work/<name>/blend         weights.json: the weight of every member in the fitted blend
    work/<name>/calibration   the rule that accepts predictions, fitted on out-of-fold rows
    work/<name>/submit        submission.csv.gz, scores.json, ladder.txt, calibration.json,
                              classes.csv, promise.json; report.html, by `lib.stages.report`;
                              with models that draw masks boxes.csv and boxes_coco.json

With `--new PATH`, `new/<slug>/submit` holds predictions.csv, predictions.parquet and report.html. A
catalog whose products have sets of classes is scored by `openimages/label_sets.py`.
"""

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.pipeline.artifact import Artifact
from lib.pipeline.experiment import Experiment, catalog_inputs
from lib.pipeline.graph import Graph
from lib.stages.cascade.files import summary_lines, write_box_files
from lib.stages.cascade.scores import declare_scores, score_lines
from lib.stages.openimages.label_sets import declare_label_sets
from lib.stages.pages import label_sets
from lib.stages.pages.new_products import declare_page, has_page
from lib.stages.report import REPORT, declare_report, has_report

if TYPE_CHECKING:
    from lib.config.schema import Config
    from lib.evaluation.abstention import AbstentionResult, AbstentionRule
    from lib.stages.blends.scores import BlendScores

NAME, SCRIPT, PARALLEL = "submit", "06_submit.py", False

IDS_DIFFER = (
    "caution: the ids of labelled products are numbers, and {count:,} of these {total:,} products"
    " have names for ids, so features of nearby ids do not help them; the figures above are too"
    " optimistic for them"
)


def declare(graph: Graph) -> list[Artifact]:
    """The artifacts of this stage."""
    if graph.experiment.config.multi_label:
        return [
            *declare_scores(graph),
            declare_label_sets(graph),
            *([label_sets.declare_report(graph)] if has_report(graph.experiment) else []),
        ]
    return [
        _declare_blend(graph),
        _declare_calibration(graph),
        *declare_scores(graph),
        _declare_submit(graph),
        *([declare_report(graph)] if has_report(graph.experiment) else []),
        *([declare_page(graph)] if has_page(graph.experiment) else []),
    ]


def _declare_blend(graph: Graph) -> Artifact:
    config = graph.experiment.config
    return graph.add(
        "blend",
        partial(fit_blend, graph.experiment),
        settings={"method": config.blend.method, "greedy_steps": config.blend.greedy_steps},
        inputs=[
            *catalog_inputs("train"),
            "extract/categories",
            f"features/candidates/{config.stack_part}",
            *_predictions(config, config.stack_part),
            *_artifacts_of(graph, "stack"),
        ],
    )


def _declare_calibration(graph: Graph) -> Artifact:
    config = graph.experiment.config
    return graph.add(
        "calibration",
        partial(fit_calibration, graph.experiment),
        settings={
            "submit": config.blend.submit,
            "weights": config.model_weights,
            "min_precision": config.inference.min_precision,
        },
        inputs=[
            *catalog_inputs("train"),
            "extract/categories",
            "extract/splits",
            "blend",
            f"features/candidates/{config.stack_part}",
            *_predictions(config, config.stack_part),
            *_artifacts_of(graph, "stack"),
        ],
    )


def _declare_submit(graph: Graph) -> Artifact:
    experiment, config = graph.experiment, graph.experiment.config
    is_new = experiment.target is not None
    settings: dict[str, Any] = {"submit": config.blend.submit, "weights": config.model_weights}
    inputs = [
        "extract/categories",
        "extract/splits",
        "extract/twins",
        *catalog_inputs(*experiment.sides),
        *(f"extract/nearest/{side}" for side in experiment.sides),
        *(["extract/sets/test"] if experiment.has_test else []),
        *(f"features/candidates/{part}" for part in experiment.scored_parts),
        *_predictions(config, *experiment.scored_parts),
        "blend",
        "calibration",
        *_artifacts_of(graph, "scores"),
        *_artifacts_of(graph, "cascade"),
    ]
    if is_new:
        build = partial(write_new_predictions, experiment)
        settings["top_k"] = config.inference.top_k
    else:
        build = partial(write_submission, experiment)
        inputs += ["features/neighbors/locked"] if config.predict.embed_models else []
    return graph.add("submit", build, settings=settings, inputs=inputs, version=5 if is_new else 4)


def _predictions(config: "Config", *parts: str) -> list[str]:
    return [f"predictions/{name}/{part}" for part in parts for name in config.classifiers]


def _artifacts_of(graph: Graph, folder: str) -> list[str]:
    return [name for name in graph.artifacts if name.startswith(f"{folder}/")]


def fit_blend(experiment: Experiment, folder: Path) -> dict[str, Any]:
    """Fit the weights of the members on out-of-fold scores."""
    from lib.stacking import blend
    from lib.stages.blends.scores import members_to_fit
    from lib.stages.read import read_candidates, read_scores

    config = experiment.config
    rows = read_candidates(experiment, config.stack_part)
    members = members_to_fit(experiment, rows)
    scores = [read_scores(experiment, member, config.stack_part) for member in members]
    weights = blend.fit_weights(
        scores, rows.product, rows.target, rows.fold, config.blend.method, config.blend.greedy_steps
    )
    fitted = {"/".join(m): float(weight) for m, weight in zip(members, weights, strict=True)}
    (folder / "weights.json").write_text(json.dumps(fitted, indent=1))
    return {"members": len(members), "used": int((weights > 0).sum())}


def fit_calibration(experiment: Experiment, folder: Path) -> dict[str, Any]:
    """Fit the abstention rule of the submitted blend on out-of-fold rows."""
    from lib.evaluation.abstention import fit_abstention_rule
    from lib.stages.blends.scores import submitted_scores
    from lib.stages.read import catalog_of_part, read_candidates

    config = experiment.config
    rows = read_candidates(experiment, config.stack_part)
    rule = fit_abstention_rule(
        submitted_scores(experiment, config.stack_part),
        rows.product,
        rows.target,
        config.inference.min_precision,
        catalog_of_part(experiment, config.stack_part).group,
    )
    rule.save(folder)
    return rule.to_dict()


def write_submission(experiment: Experiment, folder: Path) -> dict[str, Any]:
    """Write the ladder, and the submission if there are products to classify.

    scores.json, ladder.txt: every step on the locked part. promise.json: the submitted row
    out-of-fold, without near twins in training, and whether it holds for test.
    calibration.json: what probabilities and accepted predictions are worth there.
    classes.csv: precision, recall and F1 of every class, out-of-fold.
    submission.csv.gz: one row for each test product.
    """
    from lib.evaluation import abstention, ladder
    from lib.stages.blends.ladder_rows import ladder_rows
    from lib.stages.blends.promise import measure_abstention, measure_promise, read_labelled
    from lib.stages.blends.scores import score_part

    oof, locked = (score_part(experiment, p) for p in (experiment.config.stack_part, "locked"))
    result = measure_abstention(experiment, locked)
    checks, promise_notes = _check_headline(experiment, oof, locked)
    line, checks["mean_f1"] = _write_classes(experiment, oof, folder)
    promise_notes.append(line)
    facts = {}
    if experiment.has_test:
        test = score_part(experiment, "test")
        facts = _write_csv(experiment, test, folder) | write_box_files(experiment, folder)
        promise, _ = measure_promise(experiment, read_labelled(experiment, oof, locked), test)
        checks["test"] = promise.to_dict()
        promise_notes.append(promise.line(result.accuracy.value))
    rows = ladder_rows(experiment)
    notes = [*promise_notes, abstention.summary_line(result)]
    (folder / "promise.json").write_text(json.dumps(checks, indent=1) + "\n")
    submitted = experiment.config.blend.submit
    ladder.write(folder, rows, submitted, submitted=experiment.has_test, notes=notes)
    text = json.dumps(abstention.to_dict(result), indent=1)
    (folder / "calibration.json").write_text(text + "\n")
    return {**facts, "ladder_rows": len(rows)}


def _check_headline(
    experiment: Experiment, oof: "BlendScores", locked: "BlendScores"
) -> tuple[dict[str, Any], list[str]]:
    """Two figures that should agree with the headline: as plain data, and in lines."""
    from dataclasses import asdict

    from lib.stages.blends.promise import (
        by_given_labels,
        locked_without_twin,
        out_of_fold_accuracy,
    )

    name, total = experiment.config.blend.submit, out_of_fold_accuracy(experiment, oof)
    num_twins, without = locked_without_twin(experiment, locked)
    lines = [f"{name} out-of-fold, {total.n:,} products: {total}"]
    if num_twins:
        others = (
            "no locked product is without one"
            if without is None
            else f"the other {without.n:,}: {without}, which is what products"
            " photographed elsewhere can expect"
        )
        lines.append(f"{num_twins:,} locked products have a near twin in training; {others}")
    data = {
        "out_of_fold": asdict(total),
        "locked_with_twin": num_twins,
        "locked_without_twin": None if without is None else asdict(without),
    }
    if experiment.config.data.corrections:
        changed, given = by_given_labels(experiment, locked)
        data |= {"locked_corrected": changed, "locked_by_given_labels": asdict(given)}
        lines.append(
            f"{changed:,} of {given.n:,} locked products have corrected labels, by which all is"
            f" scored here; by the labels of the original, {name}: {given}"
        )
    return data, lines


def _write_classes(
    experiment: Experiment, oof: "BlendScores", folder: Path
) -> tuple[str, dict[str, Any]]:
    """Write classes.csv; returns the mean F1 of the classes, in a line and as plain data."""
    from dataclasses import asdict

    import numpy as np

    from lib.data.catalog import read_categories
    from lib.evaluation.class_scores import macro_f1, score_classes, write_class_scores
    from lib.stacking.blend import argmax_per_product
    from lib.stages.read import catalog_of_part

    categories = read_categories(experiment.path("extract/categories"))
    catalog, rows = catalog_of_part(experiment, experiment.config.stack_part), oof.rows
    product, predicted = argmax_per_product(rows.product, rows.class_id, oof.score)
    label, count = catalog.label[product], len(categories)
    labelled = np.bincount(catalog.label, minlength=count)
    scores = score_classes(label, predicted, count)
    write_class_scores(folder / "classes.csv", scores, categories, labelled)
    group = None if catalog.group is None else catalog.group[product]
    mean = macro_f1(label, predicted, count, group=group)
    seen = int((scores.products > 0).sum())
    line = f"mean F1 of {seen:,} classes out-of-fold: {mean}"
    return line, {"classes": seen, "estimate": asdict(mean)}


def _write_csv(experiment: Experiment, test: "BlendScores", folder: Path) -> dict[str, Any]:
    from lib.data.catalog import read_categories
    from lib.output import submission
    from lib.stacking.blend import argmax_per_product
    from lib.stages.read import catalog_of_part

    catalog, rows = catalog_of_part(experiment, "test"), test.rows
    categories = read_categories(experiment.path("extract/categories"))
    product, class_id = argmax_per_product(rows.product, rows.class_id, test.score)
    path, header = folder / "submission.csv.gz", submission.csv_header(experiment.config.data)
    names = [categories.key(class_id) for class_id in range(len(categories))]
    products = (catalog.key(row) for row in product.tolist())
    submission.write(path, header, products, (names[c] for c in class_id.tolist()))
    expected = map(catalog.key, range(len(catalog.product_id)))
    return {"rows": submission.check(path, header, expected, names)}


def write_new_predictions(experiment: Experiment, folder: Path) -> dict[str, Any]:
    """Write the predictions for new products, and what they are worth; returns counts.

    calibration.json, ladder.txt: the worth of the predictions, measured on the locked part.
    """
    from lib.evaluation import abstention
    from lib.stages.blends.predictions import predict_products
    from lib.stages.blends.promise import measure_abstention, read_labelled
    from lib.stages.blends.scores import score_part
    from lib.stages.read import catalog_of_part, ids_are_comparable

    config = experiment.config
    oof, locked = (score_part(experiment, part) for part in (config.stack_part, "locked"))
    result = measure_abstention(experiment, locked)
    counts, promise, rule = predict_products(
        experiment, folder, read_labelled(experiment, oof, locked)
    )
    facts = {**abstention.to_dict(result), "new": {**counts, **promise.to_dict()}}
    (folder / "calibration.json").write_text(json.dumps(facts, indent=1) + "\n")
    total = result.accuracy
    lines = [
        f"{config.blend.submit} blend on the locked part, {total.n:,} products: {total}",
        promise.line(total.value),
        _accepted_line(counts, result, rule, promise.differs),
    ]
    without = ~catalog_of_part(experiment, "test").id_is_number()
    if ids_are_comparable(experiment) and without.any():
        lines.append(IDS_DIFFER.format(count=int(without.sum()), total=len(without)))
    (folder / "ladder.txt").write_text("\n".join(lines) + "\n")
    return counts | write_box_files(experiment, folder)


def _accepted_line(
    counts: dict[str, int], result: "AbstentionResult", rule: "AbstentionRule", differs: bool
) -> str:
    """How many predictions are accepted, and what is promised of them."""
    from lib.evaluation import abstention

    start = f"accepted {counts['accepted']:,} of {counts['products']:,}"
    if not differs:
        return f"{start} ({abstention.describe(result)})"
    if rule.threshold is None:
        return f"{start}: no precision can be promised for products that are so unlike"
    return (
        f"{start} (precision at least {rule.min_precision:g}, with the labelled products weighted"
        f" to be like these; probability from {rule.threshold:.3f} on)"
    )


def summary(experiment: Experiment) -> list[str]:
    """What to show when this stage is complete: the ladder, and where the predictions are."""
    folder = experiment.path("submit")
    ladder = "\n".join([(folder / "ladder.txt").read_text(), *score_lines(experiment)])
    more = summary_lines(experiment)
    if has_page(experiment) or has_report(experiment):
        more.append(f"report: {folder / REPORT}")
    if experiment.target is not None or (experiment.config.multi_label and experiment.has_test):
        return [ladder, f"predictions: {folder / 'predictions.csv'} and .parquet", *more]
    if experiment.has_test:
        return [ladder, f"submission: {folder / 'submission.csv.gz'}", *more]
    return [ladder, "no submission: data.test names no products to classify", *more]
