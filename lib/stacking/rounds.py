"""When boosting should end (C10): losses on watched rows, and one number of rounds for a layer."""

from collections.abc import Callable, Sequence

import numpy as np

from lib.stacking import softmax
from lib.stacking.boosters.base import FitTask

Loss = Callable[[np.ndarray], float]


def watched_loss(task: FitTask) -> Loss:
    """What a booster's answers float [R] for the watched rows are worth; lower is better.

    Log loss of the rows, or for a ranker that of the true candidates after `softmax`, at the
    temperature that suits the round best: scores only ever count after they are calibrated.
    """
    assert task.watched is not None
    target, product = task.watched.target, task.watched.product
    if not task.ranks:
        return lambda answers: row_loss(answers, target)

    def of_ranker(answers: np.ndarray) -> float:
        temperature = softmax.fit_temperature(answers, product, target)
        return softmax.log_loss(softmax.softmax(answers, product, temperature), product, target)

    return of_ranker


def row_loss(score: np.ndarray, target: np.ndarray) -> float:
    """Mean log loss of probabilities [R]; one of a wrong answer counts as 1e-7, at least."""
    right = np.where(target == 1, score, 1 - score).astype(np.float64)
    return float(-np.log(np.maximum(right, 1e-7)).mean())


def best(curves: Sequence[Sequence[float]]) -> tuple[int, list[float]]:
    """The number of rounds with the least mean loss, and that mean after each round.

    curves: loss after each round of every fold's model, on the fold that it never saw. They are
    cut to the shortest, where all still have a say. The first of equals wins.
    Raises ValueError for an empty curve.
    """
    shortest = min(len(curve) for curve in curves)
    if shortest == 0:
        raise ValueError("a curve has no rounds")
    mean = np.mean([curve[:shortest] for curve in curves], axis=0)
    return int(mean.argmin()) + 1, mean.tolist()
