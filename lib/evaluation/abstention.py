"""Accept a prediction or abstain: threshold (`calibration.fit_threshold`), use, measurement.

Calibration and threshold are fitted on out-of-fold rows. The locked part only measures them.

    calibration.json of the artifact `calibration`   an `AbstentionRule`:
        temperature, found   the fields of `Calibration`
        threshold            smallest probability of an accepted prediction; null: accept none
        precision, level     required precision, and the confidence with which it is reached
        products, coverage   products that the rule was fitted on; fraction of them accepted
        tested_on            products that the threshold was tested on: one of each group
        shift                only of a rule for new products (`reweight_rule`): the AUC that tells
                             them from labelled ones, `effective` and `labelled_threshold`
"""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lib.evaluation.metrics import Estimate, accuracy
from lib.evaluation.shift import Shift
from lib.pipeline.reading import reading
from lib.stacking.calibration import Calibration, fit_calibration, fit_threshold, reliability
from lib.utils.groups import group_argmax, group_normalize

CONFIDENCE_LEVEL = 0.95  # probability with which accepted predictions reach the precision
MAX_AUC = 0.55  # a shift whose AUC is surely above this withdraws the rule
FILE_NAME = "calibration.json"


@dataclass(frozen=True)
class AbstentionRule:
    """A fitted calibration and the smallest probability that is accepted.

    threshold: None accepts nothing. num_products, coverage: products of the fit, and the fraction
    of them that the rule accepts. num_tested: products that the threshold was tested on.
    shift: only of `reweight_rule`: what the rule was compared with.
    """

    calibration: Calibration
    min_precision: float
    threshold: float | None
    num_products: int
    num_tested: int
    coverage: float
    shift: "ShiftFacts | None" = None

    def probability(self, score: np.ndarray, product: np.ndarray) -> np.ndarray:
        """Calibrated probability of each row's class, float32 [R].

        score: float32 [R], blended scores of at least 0.
        product: int32 [R], ascending.
        """
        return self.calibration.apply(group_normalize(score, product), product)

    def accepts(self, probability: np.ndarray) -> np.ndarray:
        """Which products are accepted, bool [Q].

        probability: float32 [Q], of each product's most probable class.
        """
        if self.threshold is None:
            return np.zeros(len(probability), bool)
        return probability >= self.threshold

    def withdraw(self) -> "AbstentionRule":
        """The same rule, which accepts nothing."""
        return replace(self, threshold=None, coverage=0.0)

    def to_dict(self) -> dict[str, Any]:
        """The content of `calibration.json`."""
        facts = {
            **self.calibration.to_dict(),
            "threshold": self.threshold,
            "precision": self.min_precision,
            "level": CONFIDENCE_LEVEL,
            "products": self.num_products,
            "tested_on": self.num_tested,
            "coverage": self.coverage,
        }
        return facts if self.shift is None else {**facts, "shift": self.shift.to_dict()}

    def save(self, folder: Path) -> None:
        """Write `calibration.json`."""
        (folder / FILE_NAME).write_text(json.dumps(self.to_dict(), indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path) -> "AbstentionRule":
        """Read the file that `save` wrote."""
        with reading(folder / FILE_NAME):
            facts = json.loads((folder / FILE_NAME).read_text())
            return cls(
                Calibration.from_dict(facts),
                facts["precision"],
                facts["threshold"],
                facts["products"],
                facts["tested_on"],
                facts["coverage"],
                ShiftFacts.from_dict(facts["shift"]) if "shift" in facts else None,
            )


@dataclass(frozen=True)
class ShiftFacts:
    """What a rule remembers of a `Shift`, and its threshold before it.

    auc, effective: as in `Shift`. labelled_threshold: of products like the labelled ones.
    """

    auc: Estimate
    effective: float
    labelled_threshold: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "ShiftFacts":
        """From what `to_dict` returned."""
        return cls(Estimate(**data["auc"]), data["effective"], data["labelled_threshold"])


@dataclass(frozen=True)
class AbstentionResult:
    """A rule measured on a labelled part that it was not fitted on.

    accuracy: of all predictions. num_accepted: how many of them are accepted. precision: of the
    accepted ones, None if there are none. calibration_error, reliability: of
    `calibration.reliability`, for each bin of probabilities.
    """

    min_precision: float
    threshold: float | None
    accuracy: Estimate
    num_accepted: int
    precision: Estimate | None
    calibration_error: float
    reliability: list[dict[str, Any]]


def fit_abstention_rule(
    score: np.ndarray,
    product: np.ndarray,
    target: np.ndarray,
    min_precision: float,
    group: np.ndarray | None = None,
) -> AbstentionRule:
    """Fit the calibration and the threshold of accepted predictions.

    score: float32 [R], out-of-fold scores of the blend, at least 0.
    product: int32 [R], ascending.
    target: int8 [R], 1 for the product's own class.
    min_precision: fraction of the accepted predictions that must be right, above 0, below 1.
    group: int32 [products of the catalog]. Products of a group are right or wrong together, so
        the threshold is tested on one product of each group: the test needs independent draws.

    Raises ValueError where no product has its true class among its candidates.
    """
    share = group_normalize(score, product)
    fitted = fit_calibration(share, product, target)
    probability = fitted.apply(share, product)
    best = group_argmax(score, product)
    tested = best if group is None else best[_first_of_group(group[product[best]])]
    threshold = fit_threshold(
        probability[tested], target[tested] == 1, min_precision, CONFIDENCE_LEVEL
    )
    accepted = probability[best] >= (np.inf if threshold is None else threshold)
    coverage = round(float(accepted.mean()), 6)
    return AbstentionRule(fitted, min_precision, threshold, len(best), len(tested), coverage)


def reweight_rule(
    rule: AbstentionRule,
    shift: Shift,
    weights: np.ndarray,
    score: np.ndarray,
    product: np.ndarray,
    target: np.ndarray,
    group: np.ndarray | None = None,
) -> AbstentionRule:
    """The rule for new products that may differ from the labelled ones: stricter, or withdrawn.

    rule: of `fit_abstention_rule` on the same rows.
    shift: of `measure_shift`. Where the samples do not differ, the rule stays as it is.
    weights: float64 [Q], density ratio of each product of `product`, in its order.
    score, product, target, group: as for `fit_abstention_rule`.

    The threshold is fitted anew with the weights and is never below the rule's own; None accepts
    nothing. Weights are right only where a class looks as before (covariate shift), and no test
    without labels can tell: noisier pictures or unknown classes leave them wrong. So where
    `shift.auc.low` is above MAX_AUC, the rule is withdrawn.

    In a small simulation (Gaussian classes, k-NN, precision 0.95, 3,000 labelled and new products)
    the precision was kept in 16 of 16 draws with other class frequencies (15 without this
    function), 14 of 16 with another mix of scenes (11), 24 of 24 with moved pictures (18), and 23
    of 24 with noisier ones (16). Against unknown classes it does not protect: with 20 or 50 % of
    them it was kept in 8 of 15 draws (2).
    Raises ValueError where there is not one weight for each product.
    """
    best = group_argmax(score, product)
    if len(weights) != len(best):
        raise ValueError(f"{len(weights)} weights of {len(best)} products")
    facts = ShiftFacts(shift.auc, shift.effective, rule.threshold)
    if not shift.differs or rule.threshold is None:
        return replace(rule, shift=facts)
    if shift.auc.low > MAX_AUC:
        return replace(rule, threshold=None, coverage=0.0, shift=facts)
    probability = rule.probability(score, product)[best]
    tested = slice(None) if group is None else _first_of_group(group[product[best]])
    threshold = fit_threshold(
        probability[tested],
        target[best[tested]] == 1,
        rule.min_precision,
        CONFIDENCE_LEVEL,
        weights[tested],
    )
    threshold = None if threshold is None else max(threshold, rule.threshold)
    stricter = replace(rule, threshold=threshold, shift=facts)
    return replace(stricter, coverage=round(float(stricter.accepts(probability).mean()), 6))


def evaluate_abstention(
    rule: AbstentionRule,
    score: np.ndarray,
    product: np.ndarray,
    target: np.ndarray,
    group: np.ndarray | None = None,
) -> AbstentionResult:
    """Measure a rule on a labelled part that it was not fitted on.

    score: float32 [R], scores of the same blend, at least 0.
    product: int32 [R], ascending.
    target: int8 [R], 1 for the product's own class.
    group: int32 [products of the catalog], for the intervals.
    """
    best = group_argmax(score, product)
    probability = rule.probability(score, product)[best]
    correct, accepted = target[best] == 1, rule.accepts(probability)
    groups = None if group is None else group[product[best]]
    precision = None
    if accepted.any():
        accepted_groups = None if groups is None else groups[accepted]
        precision = accuracy(correct[accepted], group=accepted_groups)
    bins, error = reliability(probability, correct)
    return AbstentionResult(
        rule.min_precision,
        rule.threshold,
        accuracy(correct, group=groups),
        int(accepted.sum()),
        precision,
        error,
        bins,
    )


def to_dict(result: AbstentionResult) -> dict[str, Any]:
    """The result as plain data, for JSON."""
    return {
        "precision_wanted": result.min_precision,
        "level": CONFIDENCE_LEVEL,
        "threshold": result.threshold,
        "locked": {
            "accuracy": _estimate_dict(result.accuracy),
            "accepted": result.num_accepted,
            "coverage": round(result.num_accepted / result.accuracy.n, 6),
            "precision": None if result.precision is None else _estimate_dict(result.precision),
            "expected_calibration_error": round(result.calibration_error, 6),
            "reliability": result.reliability,
        },
    }


def describe(result: AbstentionResult) -> str:
    """One-line summary of the accepted predictions' precision."""
    confidence = f"{CONFIDENCE_LEVEL * 100:g} % confidence"
    if result.threshold is None:
        return (
            f"no probability is high enough for a precision of {result.min_precision:g}"
            f" with {confidence}"
        )
    required = f"precision at least {result.min_precision:g} with {confidence}"
    if result.precision is None:
        return f"{required}; not measured, because no product of the locked part is accepted"
    measured = result.precision
    missed = "" if measured.high >= result.min_precision else ", which is less than required"
    return f"{required}, measured on locked: {_interval(measured)}{missed}"


def summary_line(result: AbstentionResult) -> str:
    """The line about the locked part that stands under the ladder."""
    return (
        f"accepted {result.num_accepted:,} of {result.accuracy.n:,} locked products"
        f" ({describe(result)}); expected calibration error {result.calibration_error:.3f}"
    )


def _first_of_group(group: np.ndarray) -> np.ndarray:
    """Index of the first member of each group, ascending."""
    return np.sort(np.unique(group, return_index=True)[1])


def _estimate_dict(estimate: Estimate) -> dict[str, float | int]:
    ends = {"value": estimate.value, "low": estimate.low, "high": estimate.high}
    return {**{key: round(value, 6) for key, value in ends.items()}, "n": estimate.n}


def _interval(estimate: Estimate) -> str:
    return f"{estimate.value:.3f} ({estimate.low:.3f} .. {estimate.high:.3f})"
