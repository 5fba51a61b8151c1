"""Feature tables of a part: one row for each (product, candidate class).

`build_candidates` decides the rows of a part and computes the columns that do not depend on
networks: image hashes, priors, counts. `build_source` adds, for the same rows, the features of one
network, of the networks' mean, or of several networks side by side. `visibility.py` decides
which labels the rows of each part may see.

    product.npy int32, class_id.npy int16, fold.npy int8, target.npy int8 [R] (no target for test)
    columns.npy float32 [R, F], columns.json (see `table.py`)

Both take the products of the part in partitions, hold one at a time, and write the same bytes
whatever the partitions are: a row depends on its product and on labels alone.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lib.config.schema import Features
from lib.features.candidates import hits_by_source, most_frequent_classes, recall_by_k
from lib.features.id_priors import limit_window
from lib.features.network import network_features, raw_network_features
from lib.features.query import Query, check_topks, rows_of_products, with_imageless
from lib.features.table import Columns, TableWriter
from lib.features.visibility import (
    LabelVisibility,
    PartInputs,
    VisibleLabels,
    build_visibility,
    visible_labels,
)
from lib.inference.topk import TopK
from lib.pipeline.reading import map_array
from lib.utils.groups import group_sizes, group_starts
from lib.utils.npy import ArrayWriter

ROWS = {"product": np.int32, "class_id": np.int16, "fold": np.int8, "target": np.int8}


def build_candidates(
    folder: Path, partitions: Iterable[PartInputs], stack_part: str
) -> dict[str, Any]:
    """Write the candidate rows of a part and their common columns; returns counts and recall.

    partitions: the products of the part, in order and each once; one at least, if only with none.
    stack_part: the part that trains the boosters; only its rows get a fold.
    Raises UserError if the predictions of a network are of other images.
    """
    labels: VisibleLabels | None = None
    files: dict[str, ArrayWriter] = {}
    counts: Counter[str] = Counter()
    with ExitStack() as stack, TableWriter(folder) as table:
        for inputs in partitions:
            labels = labels or visible_labels(inputs)  # the same for all partitions
            for name, dtype in ROWS.items():
                if name not in files and (name != "target" or inputs.is_labelled):
                    files[name] = stack.enter_context(ArrayWriter(folder / f"{name}.npy", dtype))
            query = inputs.query
            check_topks(query, inputs.topks, _numbered_names(inputs.topks))
            visibility = build_visibility(inputs, labels)
            query_row, class_id, hits = _choose_rows(inputs, visibility)
            has_folds = inputs.part == stack_part
            fold = visibility.fold if has_folds else np.full(len(query.products), -1, np.int8)
            files["product"].append(query.products[query_row])
            files["class_id"].append(class_id)
            files["fold"].append(fold[query_row])
            table.append(_common_features(visibility, inputs.features, query_row, class_id))
            counts.update(hits | {"rows": len(query_row), "products": len(query.products)})
            if inputs.is_labelled:
                label = inputs.labelled.label[query.products]
                target = (class_id == label[query_row]).astype(np.int8)
                files["target"].append(target)
                counts.update(targets=int(target.sum()), labelled=int((label >= 0).sum()))
    assert labels is not None, "no partition"
    return _facts(labels, counts)


def build_source(
    folder: Path,
    features: Features,
    candidates_folder: Path,
    partitions: Iterable[tuple[Query, Sequence[TopK]]],
    names: Sequence[str],
    num_classes: int,
) -> dict[str, Any]:
    """Write the features of one source for the rows in `candidates_folder`.

    partitions: the products of those rows, and the predictions of their images: those of one
        network, or the mean of networks, or those of all networks.
    names: of the network, or "mean", or of all networks for the source "multi".
    Raises UserError if the predictions of a network are of other images.
    """

    def source_features(
        query: Query, topks: Sequence[TopK], rows: np.ndarray, classes: np.ndarray
    ) -> Columns:
        columns: Columns = {}
        for predictions, name in zip(topks, names, strict=True):
            own, topk = with_imageless(query, predictions)
            columns |= network_features(own, topk, name, rows, classes, num_classes)
            if features.use_raw_topk:
                columns |= raw_network_features(own, topk, name, rows, features.top_k)
        return columns

    num_rows = 0
    with TableWriter(folder) as table:
        for query, topks in partitions:
            check_topks(query, topks, names)
            query_row, class_id = read_rows(candidates_folder, query)
            table.append(source_features(query, topks, query_row, class_id))
            num_rows += len(query_row)
    return {"rows": num_rows, "columns": len(table.names)}


def read_rows(candidates_folder: Path, query: Query) -> tuple[np.ndarray, np.ndarray]:
    """The candidate rows of a query: query_row int64 [R] and class_id int16 [R].

    query: neighboring products of the part. Reads their rows alone.
    """
    product, class_id = (map_array(candidates_folder / f"{n}.npy") for n in ("product", "class_id"))
    rows = rows_of_products(product, query.products)
    return np.searchsorted(query.products, product[rows]), np.array(class_id[rows])


def recall_table(inputs: PartInputs, max_k: int = 10) -> list[dict[str, Any]]:
    """Recall and rows per product of networks, hashes and nearest ids for k = 1..max_k.

    inputs: of a labelled part. Returns the rows of `recall_by_k`; the other sources are as
    configured.
    """
    features, query = inputs.features, inputs.query
    check_topks(query, inputs.topks, _numbered_names(inputs.topks))
    wide = replace(
        features,
        top_k=max(features.top_k, max_k),
        hash_k=max(features.hash_k, max_k),
        id_neighbors=max(features.id_neighbors, max_k),
    )
    inputs = replace(inputs, features=wide)
    visibility = build_visibility(inputs, visible_labels(inputs))
    proposals = visibility.proposals(wide, inputs.topks, ())
    configured_k = {
        "networks": features.top_k,
        "texts": features.top_k,
        "ids": features.id_neighbors,
    }
    used = visibility.proposals(
        replace(wide, id_neighbors=0), [], inputs.knn_classes, inputs.attribute_classes
    )
    for name in proposals.names:
        k = configured_k.get(name, features.hash_k)
        used = used.replace_with(proposals.select(name).head(k))
    label = inputs.labelled.label[query.products]
    return recall_by_k(proposals, used, query, label, inputs.num_classes, max_k)


def _choose_rows(
    inputs: PartInputs, visibility: LabelVisibility
) -> tuple[np.ndarray, np.ndarray, dict[str, int]]:
    """The candidate rows of a query, query_row int64 [R] and class_id int16 [R], and counts.

    Counts: of a labelled part, products whose class is found before a cap, by source; with a cap,
    also the number of rows before it.
    """
    query, features, num_classes = visibility.query, inputs.features, inputs.num_classes
    proposals = visibility.proposals(
        features, inputs.topks, inputs.knn_classes, inputs.attribute_classes
    )
    fallback = most_frequent_classes(visibility.prior, visibility.fold)
    query_row, class_id = proposals.candidates(query, fallback, num_classes)
    counts: dict[str, int] = {}
    if inputs.is_labelled:
        label = inputs.labelled.label[query.products]
        hits = hits_by_source(proposals, query, label, num_classes)
        counts = {f"recall_{name}": count for name, count in hits.items()}
    if features.max_candidates:
        counts["rows_without_cap"] = len(query_row)
        is_kept = proposals.cap(query, query_row, class_id, features.max_candidates, num_classes)
        query_row, class_id = query_row[is_kept], class_id[is_kept]
    return query_row, class_id, counts


def _facts(labels: VisibleLabels, counts: Counter[str]) -> dict[str, Any]:
    """Counts of rows, products and references, limited windows and recall, for the manifest.

    counts: of all partitions, by the names of the facts; "recall_*" and "targets" are hits among
        the "labelled" products.
    """
    num_references, num_labelled = len(labels.id_index.ids), max(counts["labelled"], 1)
    facts: dict[str, Any] = {
        "rows": counts["rows"],
        "products": counts["products"],
        "rows_per_product": round(counts["rows"] / max(counts["products"], 1), 3),
        "references": num_references,
        "windows": {str(w): limit_window(w, num_references) for w in labels.id_windows},
    }
    if "targets" in counts:
        facts["recall"] = round(counts["targets"] / num_labelled, 6)
    for name, count in counts.items():
        if name.startswith("recall_"):
            facts[name] = round(count / num_labelled, 6)
    if "rows_without_cap" in counts:
        facts["rows_without_cap"] = counts["rows_without_cap"]
    return facts


def _numbered_names(topks: Sequence[TopK]) -> list[str]:
    return [f"network {number}" for number in range(len(topks))]


def _common_features(
    visibility: LabelVisibility, features: Features, query_row: np.ndarray, class_id: np.ndarray
) -> Columns:
    """Columns of candidate rows that do not depend on networks."""
    query = visibility.query
    num_candidates = group_sizes(group_starts(query_row), len(query_row))
    columns: Columns = {
        "candidate_class": class_id,
        "candidates": np.repeat(num_candidates, num_candidates),
        "images": query.image_count[query_row],
        "global_prior": visibility.prior[visibility.fold[query_row], class_id],
    }
    for hashes in visibility.hashes:
        raw = features.use_raw_topk and hashes.prefix == "hash"
        columns |= hashes.columns(query, query_row, class_id, raw)
    for window in features.id_windows:
        columns[f"id_window_{window}_share"] = _id_window_share(
            visibility, query_row, class_id, window
        )
    if features.id_windows:
        columns["id_distance"] = _id_distance(visibility, query_row, class_id)
    return columns


def _id_window_share(
    visibility: LabelVisibility, query_row: np.ndarray, class_id: np.ndarray, window: int
) -> np.ndarray:
    """Share of the row's class among the nearest products outside its fold: float64 [R].

    NaN for an empty window, and for products whose id is no number.
    """
    share = np.full(len(query_row), np.nan)
    for rows, index in visibility.id_indexes_without_fold(query_row):
        size = limit_window(window, len(index.ids))
        if size:
            ids = visibility.ids[query_row[rows]]
            share[rows] = index.nearest_counts(ids, class_id[rows], size) / size
    share[~visibility.has_id[query_row]] = np.nan
    return share


def _id_distance(
    visibility: LabelVisibility, query_row: np.ndarray, class_id: np.ndarray
) -> np.ndarray:
    """log1p of the id distance to the nearest product of the row's class: float32 [R].

    NaN if there is none, and for products whose id is no number.
    """
    distance = np.full(len(query_row), np.nan, np.float32)
    for rows, index, reference_row in visibility.id_indexes(query_row):
        ids = visibility.ids[query_row[rows]]
        distance[rows] = index.nearest_distance(ids, class_id[rows], reference_row)
    distance[~visibility.has_id[query_row]] = np.nan
    return distance
