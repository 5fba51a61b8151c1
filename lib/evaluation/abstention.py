"""How sure the final blend is of an answer, and which answers are sure enough (B3, B5).

Calibration and threshold are fitted on the out-of-fold rows of the stack part; the locked part only
measures what they are worth.

    calibration.json of the artifact `calibration`   what `calibrate.fit` found, and
        precision, level   what was asked for: a share of right answers, with this confidence
        threshold          least probability of an accepted answer; null: none is good enough
        products, coverage of the stack part, and the share of them that is accepted
        tested_on          products that the threshold was tested on
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lib.config.schema import Config
from lib.errors import UserError
from lib.evaluation.metrics import Estimate, accuracy
from lib.stacking import blend
from lib.stacking import calibration as calibrate
from lib.stages import ranking_stage

LEVEL = 0.95  # confidence with which the precision is reached


@dataclass(frozen=True)
class AbstentionRule:
    """A fitted calibration and what follows from it; `threshold` None accepts nothing."""

    calibration: calibrate.Calibration
    precision: float
    threshold: float | None

    def probability(self, score: np.ndarray, product: np.ndarray) -> np.ndarray:
        """float32 [R]: of each row's class, from the blend's scores float32 [R]."""
        return calibrate.apply(self.calibration, blend.normalise(score, product), product)

    def accepts(self, probability: np.ndarray) -> np.ndarray:
        """bool [Q], given the probability of each product's best class."""
        if self.threshold is None:
            return np.zeros(len(probability), bool)
        return probability >= self.threshold


@dataclass(frozen=True)
class AbstentionResult:
    """What the answers to a scored part are worth; `precision` of the accepted ones, if any."""

    wanted: float
    threshold: float | None
    accuracy: Estimate
    accepted: int
    precision: Estimate | None
    error: float
    bins: list[dict[str, Any]]


def build_calibration(
    config: Config, folder: Path, group: np.ndarray | None = None
) -> dict[str, Any]:
    """Fit on the out-of-fold rows of the stack part; writes `calibration.json`.

    group int32 [products] of the labelled catalogue: its members are right or wrong together, so
    the threshold is tested on one product of each, as a test of independent answers must be.
    """
    part, wanted = config.stack_part, config.new.precision
    rows, score = ranking_stage.candidate_rows(config, part), final_scores(config, part)
    share = blend.normalise(score, rows["product"])
    fitted = calibrate.fit(share, rows["product"], rows["target"])
    probability = calibrate.apply(fitted, share, rows["product"])
    best = best_rows(rows["product"], score)
    apart = best if group is None else best[_one_of_each(group[rows["product"][best]])]
    threshold = calibrate.threshold(probability[apart], rows["target"][apart] == 1, wanted, LEVEL)
    accepted = AbstentionRule(fitted, wanted, threshold).accepts(probability[best])
    facts = {
        **fitted.to_json(),
        "threshold": threshold,
        "precision": wanted,
        "level": LEVEL,
        "products": len(best),
        "tested_on": len(apart),
        "coverage": round(float(accepted.mean()), 6),
    }
    (folder / "calibration.json").write_text(json.dumps(facts, indent=1) + "\n")
    return facts


def read_confidence(config: Config) -> AbstentionRule:
    """What `build_calibration` wrote."""
    facts = json.loads((config.at("calibration") / "calibration.json").read_text())
    calibration = calibrate.Calibration.from_json(facts)
    return AbstentionRule(calibration, facts["precision"], facts["threshold"])


def final_scores(config: Config, part: str) -> np.ndarray:
    """Scores float32 [R] of the blend that is final. Raises UserError where it lacks members."""
    if config.blend.final not in ranking_stage.blends(config):
        raise UserError(
            'blend.final = "published" needs L3 xgboost, lgbm_1 and lgbm_2 of every source and'
            ' xgboost in stack.multi; set them, or blend.final = "fitted"'
        )
    return ranking_stage.blended(config, config.blend.final, part)


def measure(config: Config, score: np.ndarray, group: np.ndarray | None = None) -> AbstentionResult:
    """What the final blend's probabilities and the threshold are worth on the locked part.

    score float32 [R]: the final blend's on its rows. group int32 [products]: of the labelled
    catalogue, for the intervals.
    """
    sure, rows = read_confidence(config), ranking_stage.candidate_rows(config, "locked")
    product, best = rows["product"], best_rows(rows["product"], score)
    probability = sure.probability(score, product)[best]
    correct, accepted = rows["target"][best] == 1, sure.accepts(probability)
    of = None if group is None else group[product[best]]
    precision = None
    if accepted.any():
        precision = accuracy(correct[accepted], group=None if of is None else of[accepted])
    bins, error = calibrate.reliability(probability, correct)
    right, count = accuracy(correct, group=of), int(accepted.sum())
    return AbstentionResult(sure.precision, sure.threshold, right, count, precision, error, bins)


def _one_of_each(group: np.ndarray) -> np.ndarray:
    """The first place of each number, ascending."""
    return np.sort(np.unique(group, return_index=True)[1])


def best_rows(product: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Row of the highest score of each product, the first of equals: int64 [products].

    product int32 [R] ascending.
    """
    return np.flatnonzero(blend.rank(score, product) == 0)


def as_json(measured: AbstentionResult) -> dict[str, Any]:
    """Plain data: what was asked for, and how the locked part did."""

    def plain(estimate: Estimate) -> dict[str, float | int]:
        ends = {"value": estimate.value, "low": estimate.low, "high": estimate.high}
        return {**{key: round(value, 6) for key, value in ends.items()}, "n": estimate.n}

    return {
        "precision_wanted": measured.wanted,
        "level": LEVEL,
        "threshold": measured.threshold,
        "locked": {
            "accuracy": plain(measured.accuracy),
            "accepted": measured.accepted,
            "coverage": round(measured.accepted / measured.accuracy.n, 6),
            "precision": None if measured.precision is None else plain(measured.precision),
            "expected_calibration_error": round(measured.error, 6),
            "reliability": measured.bins,
        },
    }


def promise(measured: AbstentionResult) -> str:
    """What an accepted answer is worth, in words that fit into brackets."""
    if measured.threshold is None:
        return (
            f"no probability is high enough for a precision of {measured.wanted:g} with"
            f" {LEVEL * 100:g} % confidence"
        )
    asked = f"precision at least {measured.wanted:g} with {LEVEL * 100:g} % confidence"
    if measured.precision is None:
        return f"{asked}; no product of the locked part is accepted, so this is not measured"
    found = measured.precision
    kept = "" if found.high >= measured.wanted else ", which is less than asked for"
    return f"{asked}, measured on locked: {_interval(found)}{kept}"


def line(measured: AbstentionResult) -> str:
    """The locked part's line under the ladder."""
    return (
        f"accepted {measured.accepted:,} of {measured.accuracy.n:,} locked products"
        f" ({promise(measured)}); expected calibration error {measured.error:.3f}"
    )


def _interval(estimate: Estimate) -> str:
    return f"{estimate.value:.3f} ({estimate.low:.3f} .. {estimate.high:.3f})"
