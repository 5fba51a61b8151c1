"""Whether a new product lies where labelled ones do: nothing is known of the others."""

import numpy as np
from scipy.special import stdtrit

from lib.utils.chunks import chunks

MAX_SAMPLE = 20_000  # products of either side that are fitted on or searched: whole groups
MAX_UNSUPPORTED = 0.005  # fraction of new products without support where nothing has changed
QUERIES = 1024  # rows of a block of distances
MIN_VARIANCE = 1e-12  # of a column that has a scale
ROUNDING, TOLERANCE = 1e-5, 1e-3  # of squared distances, and of scales, in float32


def standardised(columns: np.ndarray) -> np.ndarray:
    """Columns of mean 0 and deviation 1, and for each one with NaN another that says where.

    A NaN counts as the mean. The scale is that of both samples together, so that products of both
    are treated alike.
    """
    missing = np.isnan(columns)
    some = missing.any(axis=0)
    count = np.maximum((~missing).sum(axis=0), 1)
    mean = (np.nansum(columns, axis=0, dtype=np.float64) / count).astype(np.float32)
    columns = np.column_stack([np.where(missing, mean, columns), missing[:, some]])
    columns = columns.astype(np.float32, copy=False)
    columns -= columns.mean(axis=0, dtype=np.float64).astype(np.float32)
    deviation = columns.std(axis=0, dtype=np.float64).astype(np.float32)
    columns /= np.where(deviation > 1e-9, deviation, 1)
    return columns


def sample_groups(group: np.ndarray, num_rows: int, rng: np.random.Generator) -> np.ndarray:
    """Whole random groups of at most `num_rows` rows together, and at least one group: bool [n].

    group: int [n]; need not be sorted.
    """
    groups, index, size = np.unique(group, return_inverse=True, return_counts=True)
    if not len(groups):
        return np.zeros(0, bool)
    order = rng.permutation(len(groups))
    chosen = np.zeros(len(groups), bool)
    chosen[order[np.cumsum(size[order]) <= max(num_rows, size[order[0]])]] = True
    return chosen[index]


def is_far(labelled: np.ndarray, new: np.ndarray, group: np.ndarray, seed: int) -> np.ndarray:
    """Whether a new product's nearest labelled one is unusually far away, bool [m].

    labelled: float32 [n, d] and new: float32 [m, d], standardised together. group: int [n].

    The largest distance of each labelled group to the others is one draw. Where there are too few
    groups for a quantile, the limit is a prediction limit of the normal law of log distances.
    """
    reference, own = _sample(labelled, group, seed)
    groups, index = np.unique(own, return_inverse=True)
    if len(groups) < 2:  # no distance is usual
        return np.zeros(len(new), bool)
    found = np.log(_nearest(new, reference) + 1e-9)
    rank = _rank(len(groups))
    # So many groups as far away as the farthest new product show that no product is too far.
    enough = len(groups) - rank + 1
    farthest, squares = np.zeros(len(groups)), (reference**2).sum(axis=1)
    for rows in chunks(len(reference), QUERIES):
        distance = _nearest_of_some(reference[rows], reference, squares, own[rows], own)
        np.maximum.at(farthest, index[rows], distance)
        if enough > 0 and (np.log(farthest + 1e-9) >= found.max(initial=-np.inf)).sum() >= enough:
            return np.zeros(len(new), bool)
    draws = np.log(np.sort(farthest) + 1e-9)
    if rank <= len(draws):
        limit = draws[rank - 1]
    else:
        spread = draws.std(ddof=1) * np.sqrt(1 + 1 / len(draws))
        limit = draws.mean() + stdtrit(len(draws) - 1, 1 - MAX_UNSUPPORTED) * spread
        limit = max(limit, draws[-1])
    return found > limit


def _sample(labelled: np.ndarray, group: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The labelled products that are searched, and their groups: the same for all new ones."""
    sampled = sample_groups(group, MAX_SAMPLE, np.random.default_rng(seed))
    return labelled[sampled], group[sampled]


def _rank(num_groups: int) -> int:
    """Which of the distances, counted from 1 and rising, is the limit: there may be fewer."""
    return int(np.ceil((num_groups + 1) * (1 - MAX_UNSUPPORTED)))


def _nearest(queries: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Distance to the nearest reference: float64 [q]."""
    squares = (reference**2).sum(axis=1)
    blocks = chunks(len(queries), QUERIES)
    return np.concatenate(
        [np.zeros(0), *(_nearest_of_some(queries[rows], reference, squares) for rows in blocks)]
    )


def _nearest_of_some(
    queries: np.ndarray,
    reference: np.ndarray,
    squares: np.ndarray,
    query_group: np.ndarray | None = None,
    group: np.ndarray | None = None,
) -> np.ndarray:
    """Distance to the nearest reference, of another group where groups are given: float64 [q].

    squares: float32 [n], the squared lengths of the references.
    """
    distance = squares - 2 * (queries @ reference.T)
    if query_group is not None and group is not None:
        distance[query_group[:, None] == group] = np.inf
    nearest = (distance.min(axis=1) + (queries**2).sum(axis=1)).astype(np.float64)
    return np.sqrt(np.maximum(nearest, 0))


class UsualDistances:
    """How far apart labelled products are, computed once for products that come one by one.

    A new product changes the scale of the columns a little, and with it all distances. How much
    bounds them, so that `is_far_alone` knows without computing them again what `is_far` would say;
    only a product at the limit itself is left to it.
    """

    def __init__(self, labelled: np.ndarray, group: np.ndarray, seed: int) -> None:
        """labelled: float32 [n, d], as they are. group: int [n]."""
        self._labelled, self._group, self._seed = labelled, group, seed
        self._mean = labelled.mean(axis=0, dtype=np.float64)
        self._variance = labelled.var(axis=0, dtype=np.float64)
        self._usable = bool(len(labelled)) and bool((self._variance > MIN_VARIANCE).all())
        if not self._usable:
            return
        self._reference, own = _sample(self._scaled(labelled), group, seed)
        self._squares = (self._reference**2).sum(axis=1)
        groups, index = np.unique(own, return_inverse=True)
        self._usable = _rank(len(groups)) <= len(groups)
        if not self._usable:  # so few products are compared in no time
            return
        farthest = np.zeros(len(groups))
        for rows in chunks(len(own), QUERIES):
            distance = _nearest_of_some(
                self._reference[rows], self._reference, self._squares, own[rows], own
            )
            np.maximum.at(farthest, index[rows], distance)
        self._limit = float(np.sort(farthest)[_rank(len(groups)) - 1])

    def is_far_alone(self, new: np.ndarray) -> np.ndarray:
        """What `is_far` says of each new product if it is the only one: bool [m].

        new: float32 [m, d], as they are, without NaN.
        """
        return np.array([self._is_far(row[None]) for row in new], bool)

    def _is_far(self, new: np.ndarray) -> bool:
        least, most = self._bounds(new) if self._usable else (0.0, np.inf)
        if least > 1 or most <= 1:
            return least > 1
        columns = standardised(np.concatenate([self._labelled, new]))
        return bool(is_far(columns[:-1], columns[-1:], self._group, self._seed)[0])

    def _bounds(self, new: np.ndarray) -> tuple[float, float]:
        """The least and the most that the distance can be, in units of the limit."""
        n, scaled = len(self._labelled), self._scaled(new)
        excess = (new[0].astype(np.float64) - self._mean) ** 2
        deviation = np.sqrt((self._variance + excess / (n + 1)) * n / (n + 1) / self._variance)
        distance = _nearest_of_some(scaled, self._reference, self._squares)[0]
        error = ROUNDING * float((scaled**2).sum())  # of the squared distance
        least, most = np.sqrt([max(distance**2 - error, 0), distance**2 + error]) / self._limit
        spread = deviation.max() / deviation.min() * (1 + TOLERANCE)
        return least / spread, most * spread

    def _scaled(self, columns: np.ndarray) -> np.ndarray:
        return ((columns - self._mean) / np.sqrt(self._variance)).astype(np.float32)
