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
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lib.config.schema import Features
from lib.data.catalog import Catalog, Splits
from lib.features import id_priors
from lib.features.candidates import check_rows, make_query, most_frequent
from lib.features.columns import (
    Table,
    TableOf,
    first_rows,
    is_class,
    model_columns,
    raw_model_columns,
    side_by_side,
    write_rows,
)
from lib.features.proposals import recall_by_k, recalls
from lib.features.visibility import LabelVisibility, build_visibility
from lib.inference.topk import TopK

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
    labelled: Catalog,
    splits: Splits,
    query: Catalog,
    part: str,
    stack_part: str,
    topks: Sequence[TopK],
    classes: int,
    neighbours: Sequence[np.ndarray] = (),
    alike: tuple[np.ndarray, np.ndarray] | None = None,
) -> dict[str, Any]:
    """Write the candidate rows of a part and their common columns; returns counts and recall.

    part: "fit", "holdout", "locked" or "test". query: the test catalogue for "test", else the
    labelled one. topks: one dump for each network, over exactly the part's pictures; neighbours:
    of each model int16 [n, k], the classes that similar pictures propose for each of these. Only
    rows of `stack_part` get a fold. Raises UserError where a dump has other pictures.
    """
    same = part != "test"
    query = labelled if same else query
    products = splits.products(part) if same else np.arange(len(query.product_id))
    asked = make_query(query, products)
    check_rows(asked, topks, [f"network {number}" for number in range(len(topks))])
    context = build_visibility(features, labelled, splits, query, asked, part, classes, alike)
    listed = context.listed(features, topks, neighbours)
    slot, cls = listed.rows(asked, most_frequent(context.prior, context.fold), classes)
    whole = recalls(listed, asked, labelled.label[products], classes) if same else {}
    if features.max_candidates:
        whole["rows_without_cap"] = len(slot)
        kept = listed.best(asked, slot, cls, features.max_candidates, classes)
        slot, cls = slot[kept], cls[kept]
    fold = context.fold if part == stack_part else np.full(len(products), -1, np.int8)
    np.save(folder / "product.npy", products[slot].astype(np.int32))
    np.save(folder / "cls.npy", cls)
    np.save(folder / "fold.npy", fold[slot])
    _write(folder, slot, cls, lambda s, c: _common_columns(context, features, s, c))
    facts: dict[str, Any] = {
        "rows": len(slot),
        "products": len(products),
        "rows_per_product": round(len(slot) / max(len(products), 1), 3),
        "references": len(context.order.ids),
        "windows": {
            str(w): id_priors.capped(w, len(context.order.ids)) for w in features.id_windows
        },
    }
    if same:
        target = (cls == labelled.label[products][slot]).astype(np.int8)
        np.save(folder / "target.npy", target)
        known = int((labelled.label[products] >= 0).sum())
        facts["recall"] = round(int(target.sum()) / max(known, 1), 6)
    return facts | whole


def build_source(
    folder: Path,
    features: Features,
    candidates_folder: Path,
    query: Catalog,
    topks: Sequence[TopK],
    names: Sequence[str],
    classes: int,
) -> dict[str, Any]:
    """Write the columns of one source for the rows in `candidates_folder`.

    topks and names: one network, or "mean", or every network for the source "multi".
    """
    product = np.load(candidates_folder / "product.npy")
    cls = np.load(candidates_folder / "cls.npy")
    first = first_rows(product)  # every product of the part has a candidate
    asked = make_query(query, product[first])
    check_rows(asked, topks, names)
    slot = np.repeat(np.arange(len(first)), np.diff(first, append=len(product)))

    def table(some: np.ndarray, of_class: np.ndarray) -> Table:
        columns: Table = {}
        for topk, name in zip(topks, names, strict=True):
            columns |= model_columns(asked, topk, name, some, of_class, classes)
            if features.use_raw_topk:
                columns |= raw_model_columns(asked, topk, name, some, features.top_k)
        return columns

    count = _write(folder, slot, cls, table)
    return {"rows": len(slot), "columns": count}


def recall_table(
    features: Features,
    labelled: Catalog,
    splits: Splits,
    part: str,
    topks: Sequence[TopK],
    classes: int,
    neighbours: Sequence[np.ndarray] = (),
    alike: tuple[np.ndarray, np.ndarray] | None = None,
    most: int = 10,
) -> list[dict[str, Any]]:
    """Recall and rows a product for k = 1..most of the networks, the hashes and the nearest ids.

    What `recall_by_k` returns for a labelled part; the other sources, of which neighbours cannot
    be cut, are as the settings have them. Arguments as in `build_candidates`.
    """
    products = splits.products(part)
    asked = make_query(labelled, products)
    check_rows(asked, topks, [f"network {number}" for number in range(len(topks))])
    wide = replace(
        features,
        top_k=max(features.top_k, most),
        hash_k=max(features.hash_k, most),
        id_neighbors=max(features.id_neighbors, most),
    )
    context = build_visibility(wide, labelled, splits, labelled, asked, part, classes, alike)
    widest = context.listed(wide, topks, ())
    k_of = {"networks": features.top_k, "near": features.id_neighbors}
    used = context.listed(replace(wide, id_neighbors=0), [], neighbours)
    for name in widest.names:
        used = used.instead(widest.only(name).first(k_of.get(name, features.hash_k)))
    truth = labelled.label[products]
    return recall_by_k(widest, used, asked, truth, classes, most)


def _common_columns(
    context: LabelVisibility, features: Features, slot: np.ndarray, cls: np.ndarray
) -> Table:
    candidate_count = np.diff(first_rows(slot), append=len(slot))
    table: Table = {
        "candidate_class": cls,
        "candidates": np.repeat(candidate_count, candidate_count),
        "images": context.query.count[slot],
        "global_prior": context.prior[context.fold[slot], cls],
    }
    for hashes in context.hashes:
        table |= hashes.columns(
            context.query, slot, cls, features.use_raw_topk and hashes.prefix == "hash"
        )
    for window in features.id_windows:
        table[f"near_{window}_share"] = _near_share(context, slot, cls, window)
    if features.id_windows:
        distance = np.full(len(slot), np.nan, np.float32)
        for rows, order, own in context.orders(slot) if context.comparable else ():
            distance[rows] = order.nearest_distance(context.ids[slot[rows]], cls[rows], own)
        table["near_distance"] = distance
    return table


def _near_share(
    context: LabelVisibility, slot: np.ndarray, cls: np.ndarray, window: int
) -> np.ndarray:
    """Share of the class among the nearest products outside the row's fold: float64 [rows].

    Leaving out the own product alone would not do: where a wide window holds all of a class its
    count is the same for all rows but for the row's own label. With random labels a booster then
    reached an AUC of 0.65 out-of-fold and 0.50 on locked rows.
    NaN for an empty window, and where ids cannot be compared.
    """
    share = np.full(len(slot), np.nan)
    for rows, order in context.without_fold(slot) if context.comparable else ():
        size = id_priors.capped(window, len(order.ids))
        if size:
            ids = context.ids[slot[rows]]
            share[rows] = order.nearest_counts(ids, cls[rows], size) / size
    return share


def _write(folder: Path, slot: np.ndarray, cls: np.ndarray, table: TableOf) -> int:
    """Write what `table` says of the rows; returns how many columns."""
    names = write_rows(folder, slot, cls, table, CHUNK)
    _write_names(folder, names, [name for name in names if is_class(name)])
    return len(names)


def write(folder: Path, table: Table) -> None:
    """Write columns that are whole in memory, in the order of the table."""
    Columns(side_by_side(list(table.values())), list(table), []).save(folder)


def _write_names(folder: Path, names: list[str], categorical: list[str]) -> None:
    text = json.dumps({"names": names, "categorical": categorical}, indent=1)
    (folder / "columns.json").write_text(text)
