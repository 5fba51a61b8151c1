"""Answers of variants against those of the first one, as tables with intervals (B1, B5).

Each figure is given twice: on the locked part, and out-of-fold on the part that trains the
boosters, which has many times the products.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lib.config.schema import Config
from lib.evaluation.markdown import table
from lib.evaluation.metrics import Estimate, accuracy, gain
from lib.pipeline.experiment import Experiment


@dataclass(frozen=True)
class Answers:
    """Whether the right class was first: bool [products] of the locked and of the stack part."""

    locked: np.ndarray
    oof: np.ndarray


@dataclass(frozen=True)
class Line:
    """One row of a table: figures of a variant, and what it differs by from the first row."""

    name: str
    locked: Estimate
    oof: Estimate
    locked_gain: Estimate | None = None
    oof_gain: Estimate | None = None
    by_seed: tuple[float, ...] = ()  # gains out-of-fold, where there are several seeds


def lines_of(found: dict[str, list[Answers]]) -> list[Line]:
    """A row for each variant, by name, of as many seeds each; the first is what they differ from.

    Raises ValueError for other numbers of seeds.
    """
    (_, first), *_ = found.items()
    if {len(seeds) for seeds in found.values()} != {len(first)}:
        raise ValueError("variants of different numbers of seeds are not compared")
    return [
        _line(name, seeds, None if place == 0 else first)
        for place, (name, seeds) in enumerate(found.items())
    ]


def _line(name: str, seeds: list[Answers], first: list[Answers] | None) -> Line:
    locked, oof = [one.locked for one in seeds], [one.oof for one in seeds]
    line = Line(name, _accuracy(locked), _accuracy(oof))
    if first is None:
        return line
    base = [one.oof for one in first]
    gains = [float(a.mean() - b.mean()) for a, b in zip(oof, base, strict=True)]
    return replace(
        line,
        locked_gain=_gain(locked, [one.locked for one in first]),
        oof_gain=_gain(oof, base),
        by_seed=tuple(gains) if len(gains) > 1 else (),
    )


def _accuracy(seeds: Sequence[np.ndarray]) -> Estimate:
    return accuracy(np.concatenate(seeds), group=_same_product(seeds))


def _gain(seeds: Sequence[np.ndarray], first: Sequence[np.ndarray]) -> Estimate:
    return gain(np.concatenate(seeds), np.concatenate(first), group=_same_product(seeds))


def _same_product(seeds: Sequence[np.ndarray]) -> np.ndarray:
    """A product's answers of several seeds are drawn together: they are no several products."""
    return np.tile(np.arange(len(seeds[0])), len(seeds))


def markdown(title: str, lines: Sequence[Line]) -> str:
    several = any(line.by_seed for line in lines)
    header = ["", "locked", "gain", "out-of-fold", "gain"] + ["seed by seed"] * several
    rows = []
    for line in lines:
        locked, oof = _figure(line.locked), _figure(line.oof)
        cells = [line.name, locked, _points(line.locked_gain), oof, _points(line.oof_gain)]
        seeds = " ".join(f"{100 * gained:+.2f}" for gained in line.by_seed)
        rows.append(cells + [seeds] * several)
    return f"### {title}\n\n{table(header, rows)}"


def _figure(estimate: Estimate) -> str:
    return f"{estimate.value:.4f} ({estimate.low:.4f}..{estimate.high:.4f})"


def _points(estimate: Estimate | None) -> str:
    if estimate is None:
        return ""
    value, low, high = (100 * x for x in (estimate.value, estimate.low, estimate.high))
    verdict = "" if low > 0 or high < 0 else ": none"
    return f"{value:+.2f} ({low:+.2f}..{high:+.2f}){verdict}"


def share(config: Config, variant: Config, taken: Sequence[str]) -> None:
    """Put links to the stages that the variant takes from the experiment as they lie."""
    Experiment(variant).folder.mkdir(parents=True, exist_ok=True)
    for name in taken:
        link, source = (
            Experiment(variant).folder / name,
            (Experiment(config).folder / name).resolve(),
        )
        if source.is_dir() and not link.exists():
            link.symlink_to(source)


def slug(name: str) -> str:
    return name.replace(",", "").replace(" ", "-")
