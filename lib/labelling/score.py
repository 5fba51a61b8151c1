"""How right people are, how far they agree, and how right the models are on the same products (Q2).

"I can not tell" is an answer, and a wrong one: people and models are asked the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from lib.evaluation import metrics
from lib.evaluation.metrics import Estimate
from lib.labelling.store import NONE, SKIPPED

Z = 1.959963984540054  # standard deviations to either end of 95 %


@dataclass(frozen=True)
class Answers:
    """What some products are, and what people and models say that they are.

    truth int16 [N]; names [C] of the classes. people: by number, int16 [N], a class, SKIPPED or
    NONE where not answered yet. models: by name, int16 [N]. group int32 [N]: products of a number
    are right or wrong together.
    """

    truth: np.ndarray
    names: Sequence[str]
    people: Mapping[int, np.ndarray]
    models: Mapping[str, np.ndarray]
    group: np.ndarray | None = None

    def right(self, answers: np.ndarray) -> np.ndarray:
        """bool [N]."""
        return answers == self.truth


@dataclass(frozen=True)
class Agreement:
    """share: of the n products that both answered, those that both put into the same class.
    kappa: Cohen's, NaN where chance alone would agree always."""

    first: int
    second: int
    n: int
    share: float
    kappa: float


def share(right: np.ndarray, group: np.ndarray | None = None) -> Estimate:
    """Share of true entries of bool [n], at least one, with its 95 % interval; of products that
    come in groups, int32 [n], by the bootstrap over these."""
    if group is not None:
        return metrics.accuracy(right, group=group)
    return wilson(float(np.mean(right)), len(right))


def wilson(value: float, n: int) -> Estimate:
    """Wilson's interval: the bootstrap of a few products that are all right would claim to be
    certain."""
    middle = (value + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z / (1 + Z * Z / n) * float(np.sqrt(value * (1 - value) / n + Z * Z / (4 * n * n)))
    low, high = max(0.0, middle - half), min(1.0, middle + half)
    return Estimate(value, min(low, value), max(high, value), n)  # rounding may pass an end


def of_one(found: Answers, answers: np.ndarray) -> Estimate | None:
    """How right a person or a model is, over what it answered; None where that is nothing."""
    done = answers != NONE
    if not done.any():
        return None
    group = None if found.group is None else found.group[done]
    return share(found.right(answers)[done], group)


def of_classes(found: Answers, answers: np.ndarray) -> dict[int, Estimate | None]:
    """The same for each class that was asked about."""
    return {
        cls: of_one(found, np.where(found.truth == cls, answers, NONE))
        for cls in np.unique(found.truth).tolist()
    }


def of_all(found: Answers) -> Estimate | None:
    """All answers of all people. A second answer to a product tells little that the first did not:
    the interval is that of as many answers as there are products, so rather too wide."""
    pairs = _answered(found)
    if pairs is None:
        return None
    right, place = pairs
    if found.group is not None:
        return metrics.accuracy(right, group=found.group[place])
    return wilson(float(np.mean(right)), len(np.unique(place)))


def against(found: Answers, model: str) -> Estimate | None:
    """Accuracy of the people less that of a model, on what the people answered."""
    pairs = _answered(found)
    if pairs is None:
        return None
    right, place = pairs
    of_model = found.right(found.models[model])[place]
    group = place if found.group is None else found.group[place]
    return metrics.gain(right, of_model, group=group)


def _answered(found: Answers) -> tuple[np.ndarray, np.ndarray] | None:
    """Of each answer of each person: whether it is right, bool [n], and its product int64 [n]."""
    places = [np.flatnonzero(answers != NONE) for answers in found.people.values()]
    if not sum(map(len, places)):
        return None
    right = [
        found.right(answers)[place]
        for answers, place in zip(found.people.values(), places, strict=True)
    ]
    return np.concatenate(right), np.concatenate(places)


def agreements(found: Answers) -> list[Agreement]:
    """Of every two people who answered some products both."""
    said = []
    for (first, one), (second, other) in combinations(sorted(found.people.items()), 2):
        both = (one != NONE) & (other != NONE)
        if both.any():
            said.append(_agreement(first, second, one[both], other[both], len(found.names)))
    return said


def _agreement(
    first: int, second: int, one: np.ndarray, other: np.ndarray, classes: int
) -> Agreement:
    """ "I can not tell" counts as a class of its own: to pass on the same product is to agree."""
    n = len(one)
    same = float(np.mean(one == other))
    often = [np.bincount(x - SKIPPED, minlength=classes + 1) / n for x in (one, other)]
    chance = float(often[0] @ often[1])
    kappa = float("nan") if np.isclose(chance, 1) else (same - chance) / (1 - chance)
    return Agreement(first, second, n, same, kappa)


def confusion(found: Answers) -> np.ndarray:
    """int64 [C, C + 1] over all people: true class, answer; the last column is "can not tell"."""
    classes = len(found.names)
    counts = np.zeros((classes, classes + 1), np.int64)
    for answers in found.people.values():
        done = answers != NONE
        column = np.where(answers[done] == SKIPPED, classes, answers[done])
        np.add.at(counts, (found.truth[done], column), 1)
    return counts
