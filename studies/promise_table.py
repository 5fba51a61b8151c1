"""The table of `studies.promises`: means and counts over the draws of each scenario."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lib.evaluation.markdown import table


@dataclass(frozen=True)
class Summary:
    """Means and counts over the draws of a scenario.

    difference: headline - truth. covered: draws whose truth lies within the headline's interval or
    the stated one. warned: draws with a caution. accepted: mean share of the new products.
    precision: right ones of all accepted, None if there are none. kept: draws whose accepted
    predictions are as precise as promised; accepting none breaks no promise.
    """

    draws: int
    headline: float
    stated: float
    truth: float
    difference: float
    covered: int
    warned: int
    accepted: float
    precision: float | None
    kept: int


def summarize(rows: Sequence[Mapping[str, Any]]) -> dict[str, Summary]:
    """A summary of each scenario, in the order of its first row."""
    by_scenario: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_scenario.setdefault(row["scenario"], []).append(row)
    return {name: _summary(draws) for name, draws in by_scenario.items()}


def _summary(rows: Sequence[Mapping[str, Any]]) -> Summary:
    def mean(values: Sequence[float]) -> float:
        return sum(values) / len(values)

    accepted = sum(row["accepted"] for row in rows)
    right = sum(row["accepted_right"] for row in rows)
    return Summary(
        draws=len(rows),
        headline=mean([row["headline"] for row in rows]),
        stated=mean([row["stated"] for row in rows]),
        truth=mean([row["truth"] for row in rows]),
        difference=mean([row["headline"] - row["truth"] for row in rows]),
        covered=sum(_is_covered(row) for row in rows),
        warned=sum(bool(row["warned"]) for row in rows),
        accepted=mean([row["accepted"] / row["new"] for row in rows]),
        precision=right / accepted if accepted else None,
        kept=sum(row["accepted_right"] >= row["promise"] * row["accepted"] for row in rows),
    )


def _is_covered(row: Mapping[str, Any]) -> bool:
    intervals = (("low", "high"), ("stated_low", "stated_high"))
    return any(row[low] <= row["truth"] <= row[high] for low, high in intervals)


def to_markdown(rows: Sequence[Mapping[str, Any]], before: Sequence[Mapping[str, Any]] = ()) -> str:
    """The table of all scenarios; with earlier rows, each scenario has a line before and after."""
    now, earlier = summarize(rows), summarize(before)
    header = ["scenario", "draws", "headline", "stated", "truth", "headline - truth", "covered"]
    header += ["warned", "accepted", "precision", "promise kept"]
    if not before:
        return table(header, [[name, *_cells(summary)] for name, summary in now.items()])
    lines = []
    for name, summary in now.items():
        if name in earlier:
            lines.append([name, "before", *_cells(earlier[name])])
        lines.append(["" if name in earlier else name, "after", *_cells(summary)])
    return table([header[0], "code", *header[1:]], lines)


def _cells(summary: Summary) -> list[str]:
    precision = "none" if summary.precision is None else f"{summary.precision:.3f}"
    return [
        str(summary.draws),
        f"{summary.headline:.3f}",
        f"{summary.stated:.3f}",
        f"{summary.truth:.3f}",
        f"{summary.difference:+.3f}",
        f"{summary.covered} of {summary.draws}",
        f"{summary.warned} of {summary.draws}",
        f"{summary.accepted:.2f}",
        precision,
        f"{summary.kept} of {summary.draws}",
    ]
