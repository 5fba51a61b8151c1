"""What the scores of labelled products promise for the products to classify, in plain lines.

Accuracy and precision are measured on labelled products. They hold for products drawn like these.
A `Promise` says whether the products to classify are, and if not, by how much the figures may be
off. Sources: Lopez-Paz and Oquab 2017 (classifier two-sample tests); Tibshirani et al. 2019
(conformal prediction under covariate shift).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from lib.evaluation.abstention import MAX_AUC
from lib.evaluation.metrics import Estimate, accuracy
from lib.evaluation.shift import Shift


@dataclass(frozen=True)
class Promise:
    """How the products to classify compare with the labelled ones.

    shift: by images. confidence_shift: by the model's own probabilities on locked products.
    far: bool [m], products further from every labelled one than labelled ones are from others.
    expected: accuracy that is to be expected on them: the least of the accuracy of labelled
        products weighted to be like them, and of the mean probability of their predictions.
        Products that look like no labelled one count as wrong.
    nearest_cos: float32 [m], cosine to the nearest labelled product.
    """

    shift: Shift
    confidence_shift: Shift
    far: np.ndarray
    expected: float
    nearest_cos: np.ndarray

    @property
    def differs(self) -> bool:
        """Whether the products differ from the labelled ones by more than chance."""
        return self.shift.differs or self.confidence_shift.differs

    @property
    def withdrawn(self) -> bool:
        """Whether they differ so much that no prediction can be accepted."""
        return max(self.shift.auc.low, self.confidence_shift.auc.low) > MAX_AUC

    @property
    def supported(self) -> np.ndarray:
        """Whether each product looks like some labelled one: bool [m]."""
        return self.shift.supported & ~self.far

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""

        def auc(shift: Shift) -> dict[str, float]:
            estimate = shift.auc
            return {"value": estimate.value, "low": estimate.low, "high": estimate.high}

        return {
            "auc_images": auc(self.shift),
            "auc_probabilities": auc(self.confidence_shift),
            "effective": round(self.shift.effective, 1),
            "unlike_any": round(float(np.mean(~self.supported)), 6),
            "differs": self.differs,
            "withdrawn": self.withdrawn,
            "expected_accuracy": round(self.expected, 6),
        }

    def lines(self, headline: float) -> list[str]:
        """What to say under a headline accuracy."""
        worst = max(self.shift.auc, self.confidence_shift.auc, key=lambda auc: auc.low)
        interval = f"AUC {worst.value:.2f} ({worst.low:.2f} .. {worst.high:.2f})"
        if not self.differs:
            return [f"the products to classify look like the labelled ones ({interval})"]
        low = min(self.expected, headline)
        return [
            f"caution: the products to classify are unlike the labelled ones ({interval}), so the"
            f" accuracy of {headline:.4f} may be off by {100 * (headline - low):.0f} points: expect"
            f" from {low:.2f}"
        ]


def expected_accuracy(
    correct: np.ndarray,
    weights: np.ndarray,
    effective: float,
    probability: np.ndarray,
    supported: np.ndarray,
) -> float:
    """The accuracy to be expected on products that differ from the labelled ones.

    correct: bool [q], of labelled products out-of-fold. weights: float64 [q], density ratios.
    effective: number of products that the weighted ones are worth.
    probability: float32 [m], of each new product's best class. supported: bool [m].
    The lower end of the weighted accuracy (normal approximation), or the mean probability if it is
    lower, times the fraction of products that are supported.
    """
    total = weights.sum()
    value = float((weights * correct).sum() / total) if total > 0 else 0.0
    margin = 1.96 * np.sqrt(value * (1 - value) / max(effective, 1.0))
    least = min(max(value - margin, 0.0), float(np.mean(probability)))
    return least * float(np.mean(supported))


def without_twin(
    correct: np.ndarray, has_twin: np.ndarray, group: np.ndarray | None
) -> Estimate | None:
    """Accuracy of the locked products without a near twin in training; None without any.

    correct: bool [q]. has_twin: bool [q]. group: int32 [q] or None.
    """
    if has_twin.all():
        return None
    return accuracy(correct[~has_twin], group=None if group is None else group[~has_twin])
