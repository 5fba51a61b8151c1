"""Columns that the boosters see: one row for each (product, candidate class) (C8, C11).

`build_candidates` decides the rows of a part and the columns that no network has a say in:
hashes, priors, counts. `build_source` adds for the same rows what one network, the mean of
networks or several side by side say. The same code makes the rows that train and those that are
scored; what differs is whose labels may count:

    part              labels that count                      left out
    fit or holdout    fit and holdout                        the row's own product; its fold in
                                                             shares, global and local, and in
                                                             pictures that a crowd holds; its
                                                             fold in all if there are groups
    locked            fit and holdout
    test              fit, holdout and, if asked for, locked

    product.npy int32, cls.npy int16, fold.npy int8, target.npy int8 [R] (no target for test)
    columns.npy float32 [R, F], columns.json (names of the F columns, which are categorical)
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lib.catalogue.tables import Catalogue, Splits
from lib.config import Features
from lib.ranking import priors
from lib.ranking.candidates import (
    Queried,
    best_listed,
    candidates,
    check_rows,
    chunks,
    most_frequent,
    queried,
)
from lib.ranking.columns import Table, is_class, model_columns, raw_model_columns
from lib.ranking.hash_columns import HashTable, hash_table
from lib.topk import TopK

CHUNK = 50_000  # products at a time


@dataclass(frozen=True)
class Columns:
    """values float32 [R, F] (NaN: no value; a categorical -1: no class), names [F]."""

    values: np.ndarray
    names: list[str]
    categorical: list[str]

    def save(self, folder: Path) -> None:
        np.save(folder / "columns.npy", self.values.astype(np.float32, copy=False))
        _write_names(folder, self.names, self.categorical)


def read(folder: Path) -> Columns:
    """What `Columns.save` or a build function wrote; the values are memory-mapped."""
    names = json.loads((folder / "columns.json").read_text())
    values = np.load(folder / "columns.npy", mmap_mode="r")
    return Columns(values, names["names"], names["categorical"])


def build_candidates(
    folder: Path,
    features: Features,
    labelled: Catalogue,
    splits: Splits,
    query: Catalogue,
    part: str,
    stack_part: str,
    topks: Sequence[TopK],
    classes: int,
    neighbours: np.ndarray | None = None,
    alike: tuple[np.ndarray, np.ndarray] | None = None,
) -> dict[str, Any]:
    """Write the candidate rows of a part and their common columns; returns counts and recall.

    part: "fit", "holdout", "locked" or "test". query: the test catalogue for "test", else the
    labelled one. topks: one dump for each network, over exactly the part's pictures; neighbours
    int16 [n, k]: classes that similar pictures propose for each of these. Only rows of `stack_part`
    get a fold. Raises UserError where a dump has other pictures.
    """
    same = part != "test"
    query = labelled if same else query
    products = splits.products(part) if same else np.arange(len(query.product_id))
    asked = queried(query, products)
    check_rows(asked, topks, [f"network {number}" for number in range(len(topks))])
    context = _context(features, labelled, splits, query, asked, part, classes, alike)
    lists = _lists(context, features, topks, neighbours)
    slot, cls = _candidate_rows(context, features, lists, classes)
    fold = context.fold if part == stack_part else np.full(len(products), -1, np.int8)
    np.save(folder / "product.npy", products[slot].astype(np.int32))
    np.save(folder / "cls.npy", cls)
    np.save(folder / "fold.npy", fold[slot])
    _write_chunks(folder, slot, cls, lambda s, c: _common_columns(context, features, s, c))
    facts: dict[str, Any] = {
        "rows": len(slot),
        "products": len(products),
        "rows_per_product": round(len(slot) / max(len(products), 1), 3),
        "references": len(context.order.ids),
        "windows": {str(w): priors.capped(w, len(context.order.ids)) for w in features.windows},
    }
    if same:
        target = (cls == labelled.label[products][slot]).astype(np.int8)
        np.save(folder / "target.npy", target)
        truth = labelled.label[products]
        facts["recall"] = round(int(target.sum()) / max(int((truth >= 0).sum()), 1), 6)
        facts |= _recall_by_source(asked, lists, truth)
    return facts


def build_source(
    folder: Path,
    features: Features,
    candidates_folder: Path,
    query: Catalogue,
    topks: Sequence[TopK],
    names: Sequence[str],
    classes: int,
) -> dict[str, Any]:
    """Write the columns of one source for the rows in `candidates_folder`.

    topks and names: one network, or "mean", or every network for the source "multi".
    """
    product = np.load(candidates_folder / "product.npy")
    cls = np.load(candidates_folder / "cls.npy")
    asked = queried(query, np.unique(product))  # every product of the part has a candidate
    check_rows(asked, topks, names)
    slot = np.searchsorted(asked.products, product)

    def table(some: np.ndarray, of_class: np.ndarray) -> Table:
        columns: Table = {}
        for topk, name in zip(topks, names, strict=True):
            columns |= model_columns(asked, topk, name, some, of_class, classes)
            if features.raw:
                columns |= raw_model_columns(asked, topk, name, some, features.top_k)
        return columns

    count = _write_chunks(folder, slot, cls, table)
    return {"rows": len(slot), "columns": count}


@dataclass(frozen=True)
class _Context:
    """What the common columns of a part are read from; ids, own and fold are by slot.

    own int64 [Q]: place among the reference products `order`, -1 for none; None where folds are
    left out instead, for a catalogue with groups.
    order_without: the reference products outside fold f; the last, which -1 reaches, is `order`.
    """

    query: Queried
    ids: np.ndarray
    own: np.ndarray | None
    fold: np.ndarray
    hashes: list[HashTable]
    prior: np.ndarray
    order: priors.IdOrder
    order_without: list[priors.IdOrder]
    comparable: bool  # whether the queried ids can lie near those of the reference products


def _context(
    features: Features,
    labelled: Catalogue,
    splits: Splits,
    query: Catalogue,
    asked: Queried,
    part: str,
    classes: int,
    alike: tuple[np.ndarray, np.ndarray] | None,
) -> _Context:
    """Decide whose labels count for the part, and look everything up that has no class yet."""
    same = part != "test"
    counting = ["fit", "holdout"]
    if part == "test" and features.test_uses_locked:
        counting.append("locked")
    reference = np.zeros(len(labelled.label), bool)
    reference[splits.products(*counting)] = True
    reference &= labelled.label >= 0
    # Only the folds of the queried part: its labels are the targets, those of other parts are not.
    fold_of_product = np.full(len(labelled.label), -1, np.int8)
    fold = np.full(len(asked.products), -1, np.int8)
    if part in ("fit", "holdout"):
        fold_of_product[asked.products] = fold = splits.fold[asked.products]
    rows = np.flatnonzero(reference)
    own: np.ndarray | None = None
    if same and labelled.group is None:
        place = np.full(len(labelled.label), -1, np.int64)
        place[rows] = np.arange(len(rows))
        own = place[asked.products]
    order = priors.in_order(labelled.product_id[rows], labelled.label[rows])
    order_without = []
    for left_out in range(1 + int(fold.max(initial=-1))):
        others = rows[fold_of_product[rows] != left_out]
        order_without.append(priors.in_order(labelled.product_id[others], labelled.label[others]))
    keys: dict[str, tuple[Any, ...]] = {"hash": ()} if features.hashes else {}
    if alike is not None:
        keys["alike"] = alike
    known = (labelled, reference, fold_of_product, query, asked, fold)
    hashes = [
        hash_table(prefix, *known, same, features.hash_k, classes, *key)
        for prefix, key in keys.items()
    ]
    return _Context(
        query=asked,
        ids=query.product_id[asked.products].astype(np.int64),
        own=own,
        fold=fold,
        hashes=hashes,
        prior=priors.global_prior(labelled.label, reference, fold_of_product, classes),
        order=order,
        order_without=[*order_without, order],
        comparable=ids_comparable(labelled, query),
    )


def ids_comparable(labelled: Catalogue, query: Catalogue) -> bool:
    """Whether ids of both mean the same. Names that are asked of a catalogue of numbers lie near
    nothing: their nearest products would be those with the largest ids."""
    return query.keys is None or labelled.keys is not None


@dataclass(frozen=True)
class _Lists:
    """Classes that each source proposes, best first, -1 for none: int16 [n, k] by picture, and
    int16 [Q, k] by product."""

    of_images: dict[str, list[np.ndarray]]
    of_products: dict[str, np.ndarray]


def _lists(
    context: _Context, features: Features, topks: Sequence[TopK], neighbours: np.ndarray | None
) -> _Lists:
    of_images = {"networks": [topk.classes[:, : features.top_k] for topk in topks]}
    for hashes in context.hashes:
        of_images[hashes.prefix] = [hashes.images.classes]
    if neighbours is not None:
        of_images["neighbours"] = [neighbours]
    of_products = {}
    if features.near_k and context.comparable:
        near = np.empty((len(context.ids), features.near_k), np.int16)
        for rows, order, own in _orders(context, np.arange(len(near))):
            near[rows] = order.nearest_classes(context.ids[rows], features.near_k, own)
        of_products["near"] = near
    return _Lists(of_images, of_products)


def _candidate_rows(
    context: _Context, features: Features, lists: _Lists, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    of_images = [one for some in lists.of_images.values() for one in some]
    of_products = list(lists.of_products.values())
    fallback = most_frequent(context.prior, context.fold)
    slot, cls = candidates(context.query, of_images, of_products, fallback, classes)
    if features.cap:
        kept = best_listed(context.query, of_images, of_products, slot, cls, features.cap, classes)
        slot, cls = slot[kept], cls[kept]
    return slot, cls


def _recall_by_source(asked: Queried, lists: _Lists, truth: np.ndarray) -> dict[str, float]:
    """Share of the products whose class the source proposes, alone."""
    facts = {}
    of_image = asked.slot_of_image()
    for name, some in lists.of_images.items():
        hit = np.zeros(len(truth), bool)
        for listed in some:
            hit[of_image[(listed == truth[of_image][:, None]).any(axis=1)]] = True
        facts[f"recall_{name}"] = hit
    for name, listed in lists.of_products.items():
        facts[f"recall_{name}"] = (listed == truth[:, None]).any(axis=1)
    return {name: round(float(hit.mean()), 6) for name, hit in facts.items()}


def _common_columns(
    context: _Context, features: Features, slot: np.ndarray, cls: np.ndarray
) -> Table:
    _, candidate_count = np.unique(slot, return_counts=True)  # slots ascend
    table: Table = {
        "candidate_class": cls,
        "candidates": np.repeat(candidate_count, candidate_count),
        "images": context.query.count[slot],
        "global_prior": context.prior[context.fold[slot], cls],
    }
    for hashes in context.hashes:
        table |= hashes.columns(context.query, slot, cls, features.raw and hashes.prefix == "hash")
    for window in features.windows:
        table[f"near_{window}_share"] = _near_share(context, slot, cls, window)
    if features.windows:
        distance = np.full(len(slot), np.nan, np.float32)
        for rows, order, own in _orders(context, slot) if context.comparable else ():
            distance[rows] = order.nearest_distance(context.ids[slot[rows]], cls[rows], own)
        table["near_distance"] = distance
    return table


def _orders(
    context: _Context, slot: np.ndarray
) -> Iterator[tuple[np.ndarray, priors.IdOrder, np.ndarray | None]]:
    """(rows, the products that they may look among, their own places in it) for all rows."""
    if context.own is not None:
        yield np.arange(len(slot)), context.order, context.own[slot]
        return
    fold = context.fold[slot]
    for left_out in np.unique(fold):
        yield np.flatnonzero(fold == left_out), context.order_without[left_out], None


def _near_share(context: _Context, slot: np.ndarray, cls: np.ndarray, window: int) -> np.ndarray:
    """Share of the class among the nearest products outside the row's fold: float64 [rows].

    Leaving out the own product alone would not do: where a wide window holds all of a class its
    count is the same for all rows but for the row's own label. With random labels a booster then
    reached an AUC of 0.65 out-of-fold and 0.50 on locked rows.
    NaN for an empty window, and where ids cannot be compared.
    """
    share = np.full(len(slot), np.nan)
    if not context.comparable:
        return share
    fold = context.fold[slot]
    for left_out in np.unique(fold):
        rows, order = np.flatnonzero(fold == left_out), context.order_without[left_out]
        size = priors.capped(window, len(order.ids))
        if size:
            ids = context.ids[slot[rows]]
            share[rows] = order.nearest_counts(ids, cls[rows], size) / size
    return share


def _write_chunks(
    folder: Path,
    slot: np.ndarray,
    cls: np.ndarray,
    table: Callable[[np.ndarray, np.ndarray], Table],
) -> int:
    """Fill columns.npy by products, so that memory does not grow with the part; column count."""
    names = list(table(slot[:0], cls[:0]))
    path = folder / "columns.npy"
    values = np.lib.format.open_memmap(
        path, mode="w+", dtype=np.float32, shape=(len(slot), len(names))
    )
    slots = 1 + int(slot.max(initial=-1))
    bounds = np.searchsorted(slot, np.arange(slots + 1))
    for some in chunks(slots, CHUNK):
        rows = slice(bounds[some.start], bounds[some.stop])
        for place, column in enumerate(table(slot[rows], cls[rows]).values()):
            values[rows, place] = column
    values.flush()
    _write_names(folder, names, [name for name in names if is_class(name)])
    return len(names)


def write(folder: Path, table: Table) -> None:
    """Write columns that are whole in memory, in the order of the table."""
    Columns(np.column_stack(list(table.values())), list(table), []).save(folder)


def _write_names(folder: Path, names: list[str], categorical: list[str]) -> None:
    text = json.dumps({"names": names, "categorical": categorical}, indent=1)
    (folder / "columns.json").write_text(text)
