"""Accuracy of people, their agreement, and accuracy of models on the same products.

"I cannot tell" counts as an answer, and as a wrong one: people and models face the same task.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from sklearn.metrics import cohen_kappa_score, confusion_matrix
from statsmodels.stats.proportion import proportion_confint

from lib.evaluation import metrics
from lib.evaluation.metrics import Estimate
from lib.labelling.store import SKIPPED, UNANSWERED


@dataclass(frozen=True)
class Responses:
    """The true classes of N products, and the classes that people and models chose.

    truth: int16 [N], class ids. class_names: [C]. people: by number, int16 [N], a class id, SKIPPED
    or UNANSWERED. models: by name, int16 [N]. group: int32 [N], products of one group are right or
    wrong together; None if products are independent.
    """

    truth: np.ndarray
    class_names: Sequence[str]
    people: Mapping[int, np.ndarray]
    models: Mapping[str, np.ndarray]
    group: np.ndarray | None = None

    def correct(self, chosen: np.ndarray) -> np.ndarray:
        """bool [N]: whether the chosen class (int16 [N]) is the true one."""
        return chosen == self.truth


@dataclass(frozen=True)
class Agreement:
    """Agreement of two people on the `n` products that both answered.

    share: share of products with the same answer. kappa: Cohen's kappa; NaN if both people gave
    one and the same answer to every product.
    """

    first: int
    second: int
    n: int
    share: float
    kappa: float


def accuracy(correct: np.ndarray, group: np.ndarray | None = None) -> Estimate:
    """Accuracy of bool [n], n > 0, with its 95 % interval.

    The interval is Wilson's; for products in groups (`group` int32 [n]) a bootstrap over groups.
    """
    if group is not None:
        return metrics.accuracy(correct, group=group)
    return wilson(float(np.mean(correct)), len(correct))


def wilson(share: float, n: int) -> Estimate:
    """Wilson's 95 % interval of a share of `n` products.

    Unlike a bootstrap it does not collapse to a point if all of a few products are correct.
    """
    low, high = proportion_confint(share * n, n, alpha=0.05, method="wilson")
    low, high = float(low), float(high)
    return Estimate(share, min(low, share), max(high, share), n)  # rounding may cross the share


def accuracy_of(responses: Responses, chosen: np.ndarray) -> Estimate | None:
    """Accuracy of one person or model, int16 [N], over the answered products; None for none."""
    answered = chosen != UNANSWERED
    if not answered.any():
        return None
    group = None if responses.group is None else responses.group[answered]
    return accuracy(responses.correct(chosen)[answered], group)


def accuracy_by_class(responses: Responses, chosen: np.ndarray) -> dict[int, Estimate | None]:
    """The same for each class id that occurs among the products."""
    return {
        class_id: accuracy_of(responses, np.where(responses.truth == class_id, chosen, UNANSWERED))
        for class_id in np.unique(responses.truth).tolist()
    }


def pooled_accuracy(responses: Responses) -> Estimate | None:
    """Accuracy over all answers of all people; None without answers.

    A second answer to the same product adds little information. The interval is therefore that of
    as many answers as there are distinct products, which is rather too wide.
    """
    answers = _answers(responses)
    if answers is None:
        return None
    correct, index = answers
    if responses.group is not None:
        return metrics.accuracy(correct, group=responses.group[index])
    return wilson(float(np.mean(correct)), len(np.unique(index)))


def gain_over_model(responses: Responses, model: str) -> Estimate | None:
    """Accuracy of the people minus that of a model, on the products that people answered."""
    answers = _answers(responses)
    if answers is None:
        return None
    correct, index = answers
    by_model = responses.correct(responses.models[model])[index]
    group = index if responses.group is None else responses.group[index]
    return metrics.gain(correct, by_model, group=group)


def _answers(responses: Responses) -> tuple[np.ndarray, np.ndarray] | None:
    """All answers of all people: correct bool [n], index of the product int64 [n]."""
    index = [np.flatnonzero(chosen != UNANSWERED) for chosen in responses.people.values()]
    if not sum(map(len, index)):
        return None
    correct = [
        responses.correct(chosen)[rows]
        for chosen, rows in zip(responses.people.values(), index, strict=True)
    ]
    return np.concatenate(correct), np.concatenate(index)


def agreements(responses: Responses) -> list[Agreement]:
    """Agreement of every two people with products in common."""
    result = []
    for (first, a), (second, b) in combinations(sorted(responses.people.items()), 2):
        both = (a != UNANSWERED) & (b != UNANSWERED)
        if both.any():
            result.append(_agreement(first, second, a[both], b[both]))
    return result


def _agreement(first: int, second: int, a: np.ndarray, b: np.ndarray) -> Agreement:
    """SKIPPED counts as one more class: two people who both skip a product agree."""
    constant = len(np.unique(np.concatenate([a, b]))) == 1
    kappa = float("nan") if constant else float(cohen_kappa_score(a, b))
    return Agreement(first, second, len(a), float(np.mean(a == b)), kappa)


def confusion(responses: Responses) -> np.ndarray:
    """int64 [C, C + 1] over all people: true class, chosen class; the last column is SKIPPED."""
    num_classes = len(responses.class_names)
    counts = np.zeros((num_classes + 1, num_classes + 1), np.int64)
    for chosen in responses.people.values():
        answered = chosen != UNANSWERED
        column = np.where(chosen[answered] == SKIPPED, num_classes, chosen[answered])
        if answered.any():
            labels = np.arange(num_classes + 1)
            counts += confusion_matrix(responses.truth[answered], column, labels=labels)
    return counts[:num_classes]
