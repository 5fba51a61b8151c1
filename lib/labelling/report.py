"""What people and models got right, as markdown and as plain data."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from lib.evaluation.markdown import table
from lib.evaluation.metrics import Estimate
from lib.labelling import score
from lib.labelling.score import Answers
from lib.labelling.store import NONE, SKIPPED

MOST = 20  # classes of a confusion matrix that fits a page
MISTAKES = 20  # of the most frequent ones, where it does not
CANNOT_TELL = "can not tell"


def data(found: Answers, left_out: Sequence[str] = ()) -> dict[str, Any]:
    """What JSON can hold; None for a figure that cannot be had. left_out: models without figures,
    and why."""
    people = {
        str(person): {
            "answered": int((answers != NONE).sum()),
            "passed": int((answers == SKIPPED).sum()),
            **_figures(found, answers),
        }
        for person, answers in found.people.items()
    }
    models = {
        name: {**_figures(found, answers), "people_less_model": _plain(score.against(found, name))}
        for name, answers in found.models.items()
    }
    return {
        "drawings": len(found.truth),
        "classes": list(found.names),
        "people": people,
        "all_people": _plain(score.of_all(found)),
        "models": models,
        "left_out": list(left_out),
        "agreement": [_without_nan(asdict(one)) for one in score.agreements(found)],
        "confusion": _confusion(found),
    }


def _figures(found: Answers, answers: np.ndarray) -> dict[str, Any]:
    by_class = {found.names[c]: _plain(e) for c, e in score.of_classes(found, answers).items()}
    return {"accuracy": _plain(score.of_one(found, answers)), "by_class": by_class}


def _plain(estimate: Estimate | None) -> dict[str, Any] | None:
    return None if estimate is None else asdict(estimate)


def _without_nan(values: dict[str, Any]) -> dict[str, Any]:
    return {
        key: None if isinstance(value, float) and math.isnan(value) else value
        for key, value in values.items()
    }


def _confusion(found: Answers) -> list[dict[str, Any]]:
    """Every pair of a class and an answer that occurred, the most frequent first."""
    counts = score.confusion(found)
    answers = [*found.names, CANNOT_TELL]
    pairs = [
        {"truth": found.names[i], "answer": answers[j], "count": int(counts[i, j])}
        for i, j in np.argwhere(counts).tolist()
    ]
    return sorted(pairs, key=lambda pair: -pair["count"])


def markdown(said: dict[str, Any]) -> str:
    """The tables of `data`, for people."""
    if said["all_people"] is None:
        return f"No label yet of {said['drawings']} products."
    blocks = [
        f"### People and models on the same {said['drawings']} products (95 % intervals)",
        _accuracies(said),
        *said["left_out"],
        *_agreements(said),
        "#### By class",
        _by_class(said),
        *_confusions(said),
    ]
    return "\n\n".join(blocks)


def _accuracies(said: dict[str, Any]) -> str:
    rows = []
    for person, one in said["people"].items():
        answered = f"{one['answered']} of {said['drawings']}"
        rows.append([f"person {person}", _percent(one["accuracy"]), answered, one["passed"], ""])
    if len(rows) > 1:
        passed = sum(one["passed"] for one in said["people"].values())
        rows.append(["all people", _percent(said["all_people"]), "", passed, ""])
    for name, one in said["models"].items():
        rows.append([name, _percent(one["accuracy"]), "", "", _points(one["people_less_model"])])
    header = ["", "right, %", "answered", f"passed ({CANNOT_TELL})", "people less model, points"]
    return table(header, rows)


def _agreements(said: dict[str, Any]) -> list[str]:
    lines = []
    for one in said["agreement"]:
        kappa = "not defined" if one["kappa"] is None else f"{one['kappa']:.3f}"
        lines.append(
            f"Persons {one['first']} and {one['second']} say the same of {100 * one['share']:.1f} %"
            f" of the {one['n']} products that both answered; Cohen's kappa {kappa}."
        )
    return lines


def _by_class(said: dict[str, Any]) -> str:
    who = {f"person {person}": one for person, one in said["people"].items()} | said["models"]
    asked = next(iter(who.values()))["by_class"]
    rows = [[cls, *(_percent(one["by_class"][cls], True) for one in who.values())] for cls in asked]
    return table(["class", *who], rows)


def _confusions(said: dict[str, Any]) -> list[str]:
    """A matrix of the classes that occur, or the commonest mistakes where that is too wide."""
    pairs = said["confusion"]
    seen = {pair["truth"] for pair in pairs} | {pair["answer"] for pair in pairs}
    shown = [name for name in [*said["classes"], CANNOT_TELL] if name in seen]
    if len(shown) > MOST:
        wrong = [pair for pair in pairs if pair["truth"] != pair["answer"]][:MISTAKES]
        rows = [[pair["truth"], pair["answer"], pair["count"]] for pair in wrong]
        return ["#### The commonest mistakes of people", table(["it is", "they say", ""], rows)]
    count = {(pair["truth"], pair["answer"]): pair["count"] for pair in pairs}
    true = [name for name in shown if any(name == truth for truth, _ in count)]
    rows = [[name, *(count.get((name, other), "") for other in shown)] for name in true]
    return ["#### What it is (rows) and what people say", table(["", *shown], rows)]


def _percent(one: dict[str, Any] | None, counted: bool = False) -> str:
    if one is None:
        return ""
    value, low, high = (100 * one[key] for key in ("value", "low", "high"))
    of = f", {round(one['value'] * one['n'])} of {one['n']}" if counted else ""
    return f"{value:.1f} ({low:.1f}..{high:.1f}{of})"


def _points(one: dict[str, Any] | None) -> str:
    if one is None:
        return ""
    value, low, high = (100 * one[key] for key in ("value", "low", "high"))
    verdict = "" if low > 0 or high < 0 else ": none"
    return f"{value:+.1f} ({low:+.1f}..{high:+.1f}){verdict}"
