"""What the scores of labelled products promise for the products to classify, in plain lines.

Accuracy and precision are measured on labelled products. They hold for products drawn like these.
A `Promise` says whether the products to classify are, and what accuracy to expect on them. Sources:
Lopez-Paz and Oquab 2017 (classifier two-sample tests); Tibshirani et al. 2019 (conformal prediction
under covariate shift).
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lib.evaluation.abstention import MAX_AUC
from lib.evaluation.metrics import Estimate, accuracy
from lib.evaluation.shift import Shift, measure_auc

MAX_WIDTH = 0.5  # of the interval of an AUC that tells something


@dataclass(frozen=True)
class Promise:
    """How the products to classify compare with the labelled ones.

    images: the two-sample test on what their images show; it has the weights.
    losses: AUCs of tests on columns whose low values mean less evidence ("nearest_cos" and
        "probability"), of those whose mean is lower than among labelled products. Labelled ones
        were scored without their twins, so that more evidence than theirs does no harm.
    supported: bool [m], whether each product looks like some labelled one.
    expected: the accuracy to expect on them, of `expected_accuracy`.
    nearest_cos: float32 [m], cosine to the nearest labelled product.
    """

    images: Shift
    losses: dict[str, Estimate]
    supported: np.ndarray
    expected: Estimate
    nearest_cos: np.ndarray

    @property
    def auc(self) -> Estimate:
        """Of the test that tells the samples apart most surely."""
        return max([self.images.auc, *self.losses.values()], key=lambda auc: auc.low)

    @property
    def differs(self) -> bool:
        """Whether the products differ from the labelled ones by more than chance."""
        return self.auc.low > 0.5

    @property
    def too_few(self) -> bool:
        """Whether there are too few products to tell whether they differ."""
        auc = self.images.auc
        return not self.differs and auc.high - auc.low > MAX_WIDTH

    @property
    def withdrawn(self) -> bool:
        """Whether they differ so much that no prediction can be accepted."""
        return self.auc.low > MAX_AUC

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        aucs = {"images": self.images.auc, **self.losses}
        return {
            "auc": {name: asdict(auc) for name, auc in aucs.items()},
            "effective": round(self.images.effective, 1),
            "unlike_any": round(float(np.mean(~self.supported)), 6),
            "differs": self.differs,
            "too_few": self.too_few,
            "withdrawn": self.withdrawn,
            "expected_accuracy": asdict(self.expected),
        }

    def line(self, headline: float) -> str:
        """What to say under a headline accuracy."""
        auc = f"AUC {self.auc.value:.2f} ({self.auc.low:.2f} .. {self.auc.high:.2f})"
        low, high = self.expected.low, self.expected.high
        expect = f"expect an accuracy of {self.expected.value:.4f} ({low:.4f} .. {high:.4f})"
        if self.too_few:
            return (
                f"too few products to tell whether they look like the labelled ones; {expect} there"
            )
        if not self.differs:
            return (
                f"the products to classify look like the labelled ones ({auc}, 0.5 or less if"
                f" alike); {expect} there"
            )
        points = 100 * max(abs(headline - low), abs(high - headline))
        return (
            f"caution: the products to classify are unlike the labelled ones ({auc}); the accuracy"
            f" of {headline:.4f} may be off by {points:.0f} points: {expect} there"
        )


def loss_of_evidence(
    labelled: np.ndarray,
    new: np.ndarray,
    labelled_group: np.ndarray,
    new_group: np.ndarray,
    seed: int,
) -> Estimate | None:
    """AUC of the test on columns [n, d] and [m, d] whose low values mean less evidence.

    None where the mean of the first column is not lower among the new products, or there are no
    products. Groups as for `measure_shift`.
    """
    if not len(labelled) or not len(new) or np.mean(new[:, 0]) >= np.mean(labelled[:, 0]):
        return None
    return measure_auc(labelled, new, labelled_group, new_group, seed)


def without_twin(
    correct: np.ndarray, has_twin: np.ndarray, group: np.ndarray | None
) -> Estimate | None:
    """Accuracy of the locked products without a near twin in training; None without any.

    correct: bool [q]. has_twin: bool [q]. group: int32 [q] or None.
    """
    if has_twin.all():
        return None
    return accuracy(correct[~has_twin], group=None if group is None else group[~has_twin])
