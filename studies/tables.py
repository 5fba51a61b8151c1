"""Tables that compare variants with the first one, with intervals.

Figures are out-of-fold, on the part that trains the boosters. A part that is looked at in many
comparisons is no longer a clean measure; the one for the final figures is opened by stage 06 alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lib.evaluation.markdown import table
from lib.evaluation.metrics import Estimate, accuracy, gain
from lib.pipeline.experiment import Experiment


@dataclass(frozen=True)
class Row:
    """One row of a table: the accuracy of a variant and its gain over the first row.

    gain_by_seed: one gain for each seed; empty for a single seed.
    """

    name: str
    accuracy: Estimate
    gain: Estimate | None = None
    gain_by_seed: tuple[float, ...] = ()


def compare(correct: dict[str, list[np.ndarray]]) -> list[Row]:
    """A row for each variant, over its seeds; gains are over the first variant.

    correct: for each variant, by name, one bool [products] for each seed: whether the best class is
    the true one. Raises ValueError if variants have different numbers of seeds.
    """
    (_, baseline), *_ = correct.items()
    if {len(seeds) for seeds in correct.values()} != {len(baseline)}:
        raise ValueError("variants have different numbers of seeds")
    return [
        _row(name, seeds, baseline if number else None)
        for number, (name, seeds) in enumerate(correct.items())
    ]


def _row(name: str, seeds: list[np.ndarray], baseline: list[np.ndarray] | None) -> Row:
    row = Row(name, over_seeds(accuracy, seeds))
    if baseline is None:
        return row
    gains = [float(a.mean() - b.mean()) for a, b in zip(seeds, baseline, strict=True)]
    return replace(
        row,
        gain=over_seeds(gain, seeds, baseline),
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
    header = ["", "out-of-fold", "gain"] + ["seed by seed"] * by_seed
    lines = []
    for row in rows:
        cells = [row.name, _share(row.accuracy), _points(row.gain)]
        seeds = " ".join(f"{100 * value:+.2f}" for value in row.gain_by_seed)
        lines.append(cells + [seeds] * by_seed)
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
