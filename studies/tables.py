"""Tables that compare variants with the first one, with intervals.

Each figure is given twice: on the locked part, and out-of-fold on the part that trains the
boosters, which has many times the products.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lib.evaluation.markdown import table
from lib.evaluation.metrics import Estimate, accuracy, gain
from lib.pipeline.experiment import Experiment


@dataclass(frozen=True)
class Outcome:
    """Correct predictions of one variant and seed.

    locked, oof: bool [products], whether the best class is the true one, for the locked part and
    out-of-fold for the part that trains the boosters.
    """

    locked: np.ndarray
    oof: np.ndarray


@dataclass(frozen=True)
class Row:
    """One row of a table: accuracies of a variant and its gains over the first row.

    gain_by_seed: out-of-fold gains, one for each seed; empty for a single seed.
    """

    name: str
    locked: Estimate
    oof: Estimate
    locked_gain: Estimate | None = None
    oof_gain: Estimate | None = None
    gain_by_seed: tuple[float, ...] = ()


def compare(outcomes: dict[str, list[Outcome]]) -> list[Row]:
    """A row for each variant, by name, over its seeds; gains are over the first variant.

    Raises ValueError if variants have different numbers of seeds.
    """
    (_, baseline), *_ = outcomes.items()
    if {len(seeds) for seeds in outcomes.values()} != {len(baseline)}:
        raise ValueError("variants have different numbers of seeds")
    return [
        _row(name, seeds, baseline if number else None)
        for number, (name, seeds) in enumerate(outcomes.items())
    ]


def _row(name: str, seeds: list[Outcome], baseline: list[Outcome] | None) -> Row:
    locked, oof = [seed.locked for seed in seeds], [seed.oof for seed in seeds]
    row = Row(name, over_seeds(accuracy, locked), over_seeds(accuracy, oof))
    if baseline is None:
        return row
    baseline_oof = [seed.oof for seed in baseline]
    gains = [float(a.mean() - b.mean()) for a, b in zip(oof, baseline_oof, strict=True)]
    return replace(
        row,
        locked_gain=over_seeds(gain, locked, [seed.locked for seed in baseline]),
        oof_gain=over_seeds(gain, oof, baseline_oof),
        gain_by_seed=tuple(gains) if len(gains) > 1 else (),
    )


def over_seeds(metric: Callable[..., Estimate], *correct: Sequence[np.ndarray]) -> Estimate:
    """`metrics.accuracy` of one variant, or `metrics.gain` of two, over all seeds.

    correct: for each variant one bool [products] for each seed. The bootstrap draws a product with
    its predictions of all seeds together, since they are not independent products.
    """
    num_seeds, num_products = len(correct[0]), len(correct[0][0])
    product = np.tile(np.arange(num_products), num_seeds)
    return metric(*(np.concatenate(seeds) for seeds in correct), group=product)


def to_markdown(title: str, rows: Sequence[Row]) -> str:
    """A heading and the table of `compare`; gains in percentage points."""
    by_seed = any(row.gain_by_seed for row in rows)
    header = ["", "locked", "gain", "out-of-fold", "gain"] + ["seed by seed"] * by_seed
    lines = []
    for row in rows:
        cells = [_share(row.locked), _points(row.locked_gain)]
        cells += [_share(row.oof), _points(row.oof_gain)]
        seeds = " ".join(f"{100 * value:+.2f}" for value in row.gain_by_seed)
        lines.append([row.name, *cells] + [seeds] * by_seed)
    return f"### {title}\n\n{table(header, lines)}"


def verdict(gain: Estimate) -> str:
    """ ": none" if the interval of a gain contains zero, else ""."""
    return "" if gain.low > 0 or gain.high < 0 else ": none"


def _share(estimate: Estimate) -> str:
    return f"{estimate.value:.4f} ({estimate.low:.4f}..{estimate.high:.4f})"


def _points(estimate: Estimate | None) -> str:
    if estimate is None:
        return ""
    value, low, high = (100 * x for x in (estimate.value, estimate.low, estimate.high))
    return f"{value:+.2f} ({low:+.2f}..{high:+.2f}){verdict(estimate)}"


def link_stages(experiment: Experiment, variant: Experiment, stages: Sequence[str]) -> None:
    """Create symbolic links to the stages that a variant shares with the experiment."""
    variant.folder.mkdir(parents=True, exist_ok=True)
    for name in stages:
        link, source = variant.folder / name, (experiment.folder / name).resolve()
        if source.is_dir() and not link.exists():
            link.symlink_to(source)


def slug(name: str) -> str:
    """A variant's name as a folder name."""
    return name.replace(",", "").replace(" ", "-")
