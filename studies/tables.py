"""Tables that compare variants with the first one, with intervals.

Figures are out-of-fold, on the part that trains the boosters. A part that is looked at in many
comparisons is no longer a clean measure; the one for the final figures is opened by stage 06 alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from lib.evaluation.class_scores import macro_f1, macro_f1_gain, score_classes
from lib.evaluation.markdown import table
from lib.evaluation.metrics import Estimate, accuracy, gain
from lib.pipeline.experiment import Experiment

T = TypeVar("T")


@dataclass(frozen=True)
class Answers:
    """What a variant predicts for n products: label int [n], predicted int [n], class_ids."""

    label: np.ndarray
    predicted: np.ndarray

    @property
    def correct(self) -> np.ndarray:
        """bool [n]: whether the predicted class is the true one."""
        return self.predicted == self.label


@dataclass(frozen=True)
class Row:
    """One row of a table: the score of a variant (accuracy or F1), and its gain over the first row.

    gain_by_seed: one gain for each seed; empty for a single seed.
    """

    name: str
    score: Estimate
    gain: Estimate | None = None
    gain_by_seed: tuple[float, ...] = ()


def compare(correct: dict[str, list[np.ndarray]]) -> list[Row]:
    """A row for each variant, over its seeds; gains are over the first variant.

    correct: for each variant, by name, one bool [products] for each seed: whether the best class is
    the true one. Raises ValueError if variants have different numbers of seeds.
    """
    baseline = _first(correct)
    return [
        _row(name, seeds, baseline if number else None)
        for number, (name, seeds) in enumerate(correct.items())
    ]


def compare_accuracy(answers: dict[str, list[Answers]]) -> list[Row]:
    """`compare` for the answers of each variant and seed."""
    return compare({name: [a.correct for a in seeds] for name, seeds in answers.items()})


def compare_macro_f1(answers: dict[str, list[Answers]]) -> list[Row]:
    """Rows of the mean F1 over the classes, as `compare` has them of the accuracy."""
    baseline = _first(answers)
    label = baseline[0].label
    count = 1 + max(int(max(a.label.max(), a.predicted.max())) for s in answers.values() for a in s)
    before = np.stack([a.predicted for a in baseline])
    rows = []
    for number, (name, seeds) in enumerate(answers.items()):
        predicted = np.stack([a.predicted for a in seeds])
        row = Row(name, macro_f1(label, predicted, count))
        if number:
            gain_ = macro_f1_gain(label, predicted, before, count)
            row = replace(
                row, gain=gain_, gain_by_seed=_f1_by_seed(label, predicted, before, count)
            )
        rows.append(row)
    return rows


def _f1_by_seed(
    label: np.ndarray, predicted: np.ndarray, baseline: np.ndarray, num_classes: int
) -> tuple[float, ...]:
    if len(predicted) == 1:
        return ()
    pairs = zip(predicted, baseline, strict=True)
    f1 = [[score_classes(label, p, num_classes).macro_f1 for p in pair] for pair in pairs]
    return tuple(ours - before for ours, before in f1)


def _first(variants: dict[str, list[T]]) -> list[T]:
    """The seeds of the first variant. Raises ValueError if others have more or fewer."""
    (_, baseline), *_ = variants.items()
    if {len(seeds) for seeds in variants.values()} != {len(baseline)}:
        raise ValueError("variants have different numbers of seeds")
    return baseline


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


def to_markdown(
    title: str, rows: Sequence[Row], metric: str = "out-of-fold", minutes: Sequence[str] = ()
) -> str:
    """A heading and the table of `compare`; gains in percentage points.

    minutes: a cell for each row, of its training; without them there is no such column.
    """
    by_seed = any(row.gain_by_seed for row in rows)
    header = ["", *["minutes"] * bool(minutes), metric, "gain"] + ["seed by seed"] * by_seed
    lines = []
    for number, row in enumerate(rows):
        cells = [row.name, *minutes[number : number + 1], _share(row.score), points(row.gain)]
        seeds = " ".join(f"{100 * value:+.2f}" for value in row.gain_by_seed)
        lines.append(cells + [seeds] * by_seed)
    return f"### {title}\n\n{table(header, lines)}"


def verdict(gain: Estimate) -> str:
    """ ": none" if the interval of a gain contains zero, else ""."""
    return "" if gain.low > 0 or gain.high < 0 else ": none"


def _share(estimate: Estimate) -> str:
    return f"{estimate.value:.4f} ({estimate.low:.4f}..{estimate.high:.4f})"


def points(estimate: Estimate | None) -> str:
    """A gain in percentage points with its interval, and whether it is one; "" for None."""
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
