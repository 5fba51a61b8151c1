"""Results of people and models, as plain data and as Markdown."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from lib.evaluation.markdown import table
from lib.evaluation.metrics import Estimate
from lib.labelling import score
from lib.labelling.score import Responses
from lib.labelling.store import SKIPPED, UNANSWERED

MAX_MATRIX_CLASSES = 20  # a larger confusion matrix does not fit a page
NUM_MISTAKES = 20  # listed in place of a matrix that is too large
CANNOT_TELL = "cannot tell"


def to_dict(responses: Responses, notes: Sequence[str] = ()) -> dict[str, Any]:
    """The report as plain data for JSON; None for a figure that is not defined.

    notes: sentences for the report, for example on models without predictions.
    """
    people = {
        str(person): {
            "answered": int((chosen != UNANSWERED).sum()),
            "skipped": int((chosen == SKIPPED).sum()),
            **_accuracies(responses, chosen),
        }
        for person, chosen in responses.people.items()
    }
    models = {
        name: {
            **_accuracies(responses, chosen),
            "people_minus_model": _estimate(score.gain_over_model(responses, name)),
        }
        for name, chosen in responses.models.items()
    }
    return {
        "num_products": len(responses.truth),
        "classes": list(responses.class_names),
        "people": people,
        "all_people": _estimate(score.pooled_accuracy(responses)),
        "models": models,
        "notes": list(notes),
        "agreement": [_nan_to_none(asdict(pair)) for pair in score.agreements(responses)],
        "confusion": _confusion(responses),
    }


def _accuracies(responses: Responses, chosen: np.ndarray) -> dict[str, Any]:
    by_class = {
        responses.class_names[class_id]: _estimate(estimate)
        for class_id, estimate in score.accuracy_by_class(responses, chosen).items()
    }
    return {"accuracy": _estimate(score.accuracy_of(responses, chosen)), "by_class": by_class}


def _estimate(estimate: Estimate | None) -> dict[str, Any] | None:
    return None if estimate is None else asdict(estimate)


def _nan_to_none(values: dict[str, Any]) -> dict[str, Any]:
    return {
        key: None if isinstance(value, float) and math.isnan(value) else value
        for key, value in values.items()
    }


def _confusion(responses: Responses) -> list[dict[str, Any]]:
    """Every pair of a true class and an answer that occurs, the most frequent first."""
    counts = score.confusion(responses)
    answers = [*responses.class_names, CANNOT_TELL]
    pairs = [
        {"truth": responses.class_names[i], "answer": answers[j], "count": int(counts[i, j])}
        for i, j in np.argwhere(counts).tolist()
    ]
    return sorted(pairs, key=lambda pair: -pair["count"])


def to_markdown(report: dict[str, Any]) -> str:
    """The tables of `to_dict`."""
    if report["all_people"] is None:
        return f"No labels of {report['num_products']} products yet."
    blocks = [
        f"### People and models on the same {report['num_products']} products (95 % intervals)",
        _accuracy_table(report),
        *report["notes"],
        *_agreement_lines(report),
        "#### By class",
        _class_table(report),
        *_confusion_table(report),
    ]
    return "\n\n".join(blocks)


def _accuracy_table(report: dict[str, Any]) -> str:
    rows = []
    for person, result in report["people"].items():
        answered = f"{result['answered']} of {report['num_products']}"
        accuracy = _percent(result["accuracy"])
        rows.append([f"person {person}", accuracy, answered, result["skipped"], ""])
    if len(rows) > 1:
        skipped = sum(result["skipped"] for result in report["people"].values())
        rows.append(["all people", _percent(report["all_people"]), "", skipped, ""])
    for name, result in report["models"].items():
        gain = _points(result["people_minus_model"])
        rows.append([name, _percent(result["accuracy"]), "", "", gain])
    header = ["", "accuracy, %", "answered", f"skipped ({CANNOT_TELL})"]
    return table([*header, "people minus model, points"], rows)


def _agreement_lines(report: dict[str, Any]) -> list[str]:
    lines = []
    for pair in report["agreement"]:
        kappa = "not defined" if pair["kappa"] is None else f"{pair['kappa']:.3f}"
        lines.append(
            f"Persons {pair['first']} and {pair['second']} agree on {100 * pair['share']:.1f} % of"
            f" the {pair['n']} products that both labelled (Cohen's kappa {kappa})."
        )
    return lines


def _class_table(report: dict[str, Any]) -> str:
    people = {f"person {person}": result for person, result in report["people"].items()}
    columns = people | report["models"]
    classes = next(iter(columns.values()))["by_class"]
    rows = [
        [name, *(_percent(column["by_class"][name], True) for column in columns.values())]
        for name in classes
    ]
    return table(["class", *columns], rows)


def _confusion_table(report: dict[str, Any]) -> list[str]:
    """A matrix of the classes that occur, or the most frequent mistakes if it is too large."""
    pairs = report["confusion"]
    occurring = {pair["truth"] for pair in pairs} | {pair["answer"] for pair in pairs}
    names = [name for name in [*report["classes"], CANNOT_TELL] if name in occurring]
    if len(names) > MAX_MATRIX_CLASSES:
        mistakes = [pair for pair in pairs if pair["truth"] != pair["answer"]][:NUM_MISTAKES]
        rows = [[pair["truth"], pair["answer"], pair["count"]] for pair in mistakes]
        header = ["true class", "people's label", "count"]
        return ["#### Most frequent mistakes of people", table(header, rows)]
    count = {(pair["truth"], pair["answer"]): pair["count"] for pair in pairs}
    true = [name for name in names if any(name == truth for truth, _ in count)]
    rows = [[name, *(count.get((name, other), "") for other in names)] for name in true]
    return ["#### True class (rows) and people's label (columns)", table(["", *names], rows)]


def _percent(estimate: dict[str, Any] | None, with_count: bool = False) -> str:
    if estimate is None:
        return ""
    value, low, high = (100 * estimate[key] for key in ("value", "low", "high"))
    count = f", {round(estimate['value'] * estimate['n'])} of {estimate['n']}" if with_count else ""
    return f"{value:.1f} ({low:.1f}..{high:.1f}{count})"


def _points(estimate: dict[str, Any] | None) -> str:
    if estimate is None:
        return ""
    value, low, high = (100 * estimate[key] for key in ("value", "low", "high"))
    verdict = "" if low > 0 or high < 0 else ": none"
    return f"{value:+.1f} ({low:+.1f}..{high:+.1f}){verdict}"
