"""Writes what a scorer says of pictures: the first k classes of each, in shards (C6).

Probabilities are dense only within a batch, so the memory that this takes depends on neither the
pictures nor pictures x classes. A shard is one file of a fixed number of pictures, skipped when it
lies there already; at the end the shards become, one after the other, the arrays of
`lib.inference.topk`.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from tqdm import tqdm

from lib.config.schema import Predict
from lib.inference import topk
from lib.runtime.distributed import SINGLE, ProcessGroup
from lib.utils.files import atomic_write

Arrays = dict[str, np.ndarray]


class BatchProbs(NamedTuple):
    """Probabilities float [b, classes] of a batch, on any device, averaged over networks."""

    top: torch.Tensor  # and over all views
    plain: torch.Tensor  # of the centre view alone


class Predictor(Protocol):
    """Networks of one model, and what they look at; a row is a picture, or a product.

    nets: how many there are. whose int [I]: the row that speaks for each picture, None: its own;
    pictures of a row are neighbours. rotten bool [I]: pictures that could not be decoded so far.
    """

    classes: int
    nets: int

    @property
    def whose(self) -> np.ndarray | None: ...

    @property
    def rotten(self) -> np.ndarray: ...

    def said(self, rows: np.ndarray, nets: Sequence[int]) -> Iterator[BatchProbs]:
        """The mean of these networks, by their numbers, of rows int64 [n] in order, by batches."""
        ...


def write(
    folder: Path,
    scorer: Predictor,
    settings: Predict,
    rows: np.ndarray,
    net_of_row: np.ndarray | None,
    plain: bool,
    ranks: ProcessGroup = SINGLE,
) -> int:
    """Write `top_*.npy` (with `plain` also `plain_*.npy`, the centre view alone) into `folder`.

    rows int64 [n], ascending pictures. net_of_row int8 [n]: picture i is scored by the network
    net_of_row[i] alone (out-of-fold), all of a product by the same; None: by the mean of all.
    ranks: processes that share the shards out; all of them call this, and the first puts what all
    have written together. Returns how many of the pictures are rotten, in the first.
    Raises ValueError for a network that is not there.
    """
    if net_of_row is not None and not ((net_of_row >= 0) & (net_of_row < scorer.nets)).all():
        raise ValueError("net_of_row names a network that is not there")
    k = min(settings.top_k, scorer.classes)
    prefixes = ("top", "plain") if plain else ("top",)
    size = max(1, min(settings.shard_size, -(-len(rows) // ranks.world)))
    bounds = list(pairwise(_cuts(rows, scorer.whose, size)))
    # Its rows are in its name: a shard of another `predict.shard_size` is not taken for it.
    shards = [folder / f"shard-{start:09}-{stop:09}.npz" for start, stop in bounds]
    ours = slice(ranks.rank, None, ranks.world)
    total, done = sum(stop - start for start, stop in bounds[ours]), 0
    silent = None if ranks.first else True
    with tqdm(total=total, unit=" images", desc=_title(folder), disable=silent) as bar:
        for shard, (start, stop) in zip(shards[ours], bounds[ours], strict=True):
            if not shard.exists():
                own = None if net_of_row is None else net_of_row[start:stop]
                found = _shard(scorer, rows[start:stop], own, k, prefixes, bar)
                with atomic_write(shard) as temporary, temporary.open("wb") as file:
                    np.savez(file, **found)  # type: ignore[arg-type]
            done += stop - start
            bar.update(done - bar.n)
    ranks.meet()
    return _merge(folder, shards, rows, k, prefixes) if ranks.first else 0


def _cuts(rows: np.ndarray, whose: np.ndarray | None, shard: int) -> list[int]:
    """Places in `rows` between shards of about this size, none within a product; the last: n."""
    cuts = np.arange(0, len(rows), shard)
    if whose is not None:
        first = np.flatnonzero(np.diff(whose[rows], prepend=-1))
        cuts = np.unique(first[np.searchsorted(first, cuts, "right") - 1])
    return [*cuts.tolist(), len(rows)]


def _shard(
    scorer: Predictor,
    rows: np.ndarray,
    net_of_row: np.ndarray | None,
    k: int,
    prefixes: Sequence[str],
    bar: tqdm,
) -> Arrays:
    """Arrays [n, ...] of these pictures, in their order, and those of them that are rotten."""
    speaking = rows if scorer.whose is None else scorer.whose[rows]
    asked, first, place, pictures = np.unique(
        speaking, return_index=True, return_inverse=True, return_counts=True
    )
    own = None if net_of_row is None else net_of_row[first]
    found = {
        f"{prefix}_{name}": np.empty(topk.shape(name, len(asked), k), kind)
        for prefix in prefixes
        for name, kind in topk.TYPES.items()
    }
    for places, nets in _turns(len(asked), own, scorer.nets):
        done = 0
        for said in scorer.said(asked[places], nets):
            here = places[done : done + len(said.top)]
            for prefix in prefixes:
                for name, values in _first(getattr(said, prefix), k).items():
                    found[f"{prefix}_{name}"][here] = values
            done += len(here)
            bar.update(int(pictures[here].sum()))
    of_pictures = {name: values[place] for name, values in found.items()}
    return of_pictures | {"rotten": rows[scorer.rotten[rows]]}


def _turns(
    count: int, net_of_asked: np.ndarray | None, nets: int
) -> Iterator[tuple[np.ndarray, list[int]]]:
    """(places, networks that score them), one network at a time out-of-fold."""
    if net_of_asked is None:
        yield np.arange(count), list(range(nets))
        return
    for number in np.unique(net_of_asked).tolist():
        yield np.flatnonzero(net_of_asked == number), [number]


def _first(probs: torch.Tensor, k: int) -> Arrays:
    """The first k of dense probabilities [n, classes], and what is left."""
    values, classes = probs.topk(k, sorted=True)
    rest = (1 - values.sum(1)).clamp(min=0)
    found = {"class": classes, "prob": values, "rest": rest}
    return {name: tensor.cpu().numpy() for name, tensor in found.items()}


def _merge(
    folder: Path, shards: list[Path], rows: np.ndarray, k: int, prefixes: Sequence[str]
) -> int:
    """Turn the shards into the final arrays and delete them; the number of rotten pictures."""
    for prefix in prefixes:
        names = [f"{prefix}_{name}" for name in topk.TYPES]
        pieces = (dict(zip(topk.TYPES, _read(path, *names), strict=True)) for path in shards)
        topk.write(folder, prefix, rows, k, pieces)
    rotten = sum(len(_read(path, "rotten")[0]) for path in shards)
    for pattern in ("shard-*", ".shard-*"):  # also what a stopped run with another size has left
        for path in folder.glob(pattern):
            path.unlink()
    return rotten


def _read(shard: Path, *names: str) -> list[np.ndarray]:
    with np.load(shard) as arrays:
        return [arrays[name] for name in names]


def _title(folder: Path) -> str:
    return f"{folder.parent.name}/{folder.name.removesuffix('.partial')}"
