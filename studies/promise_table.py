"""The page of `studies.promises`: means and counts over the draws of each scenario."""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lib.evaluation.markdown import table


@dataclass(frozen=True)
class Summary:
    """Means and counts over the draws of a scenario.

    headline_off, stated_off: mean distance to the truth. covered: draws whose truth lies within the
    stated interval. warned: draws with a caution. accepted: mean share of the new products.
    precision: right ones of all accepted, None if there are none. kept: draws whose accepted
    predictions are as precise as promised; accepting none breaks no promise.
    """

    draws: int
    headline: float
    stated: float
    truth: float
    headline_off: float
    stated_off: float
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
        headline_off=mean([abs(row["headline"] - row["truth"]) for row in rows]),
        stated_off=mean([abs(row["stated"] - row["truth"]) for row in rows]),
        covered=sum(row["stated_low"] <= row["truth"] <= row["stated_high"] for row in rows),
        warned=sum(bool(row["warned"]) for row in rows),
        accepted=mean([row["accepted"] / row["new"] for row in rows]),
        precision=right / accepted if accepted else None,
        kept=sum(row["accepted_right"] >= row["promise"] * row["accepted"] for row in rows),
    )


def page(rows: Sequence[Mapping[str, Any]], before: Sequence[Mapping[str, Any]], call: str) -> str:
    """The text of the page: what was done, and the table.

    before: rows of earlier code. call: the command that was run.
    """
    promise = " and ".join(sorted({f"{row['promise']:g}" for row in rows}))
    return (
        "# Headline and promise on new products\n\n"
        "Catalogs are made of real photographs. Twins are pictures of one scene from slightly"
        " different places and in slightly different light, each a product of its own; new products"
        " show other scenes, one picture each, unless the scenario says otherwise.\n\n"
        f"`{call}`, {time.strftime('%Y-%m-%d')}, {os.cpu_count()} CPU cores. Figures are means over"
        " draws of a catalog. Headline: the last row of the ladder. Stated: what the run on new"
        " products says about them. Off: mean distance to the truth, in points. Covered: draws"
        " whose truth lies within the stated 95 % interval. Warned: draws with a caution. Accepted"
        " and precision: of the new products. Promise kept: draws whose accepted predictions have"
        f" a precision of {promise}, or that accept none.\n\n"
        f"{to_markdown(rows, before)}\n\n"
        "The truth is measured on a few hundred products, so that an honest interval covers it"
        " less often than in 95 % of the draws.\n"
    )


def to_markdown(rows: Sequence[Mapping[str, Any]], before: Sequence[Mapping[str, Any]] = ()) -> str:
    """The table of all scenarios; with earlier rows, each scenario has a line before and after.

    The last line is that of all draws.
    """
    now, earlier = (summarize([*group, *_named(group, "all")]) for group in (rows, before))
    header = ["scenario", "draws", "headline", "stated", "truth", "headline off", "stated off"]
    header += ["covered", "warned", "accepted", "precision", "promise kept"]
    if not before:
        return table(header, [[name, *_cells(summary)] for name, summary in now.items()])
    lines = []
    for name, summary in now.items():
        if name in earlier:
            lines.append([name, "before", *_cells(earlier[name])])
        lines.append(["" if name in earlier else name, "after", *_cells(summary)])
    return table([header[0], "code", *header[1:]], lines)


def _named(rows: Sequence[Mapping[str, Any]], name: str) -> list[dict[str, Any]]:
    return [{**row, "scenario": name} for row in rows]


def _cells(summary: Summary) -> list[str]:
    precision = "none" if summary.precision is None else f"{summary.precision:.3f}"
    return [
        str(summary.draws),
        f"{summary.headline:.3f}",
        f"{summary.stated:.3f}",
        f"{summary.truth:.3f}",
        f"{100 * summary.headline_off:.1f}",
        f"{100 * summary.stated_off:.1f}",
        f"{summary.covered} of {summary.draws}",
        f"{summary.warned} of {summary.draws}",
        f"{summary.accepted:.2f}",
        precision,
        f"{summary.kept} of {summary.draws}",
    ]
