"""Feature tables of a part: one row for each (product, candidate class).

`build_candidates` decides the rows of a part and computes the columns that do not depend on
networks: image hashes, priors, counts. `build_source` adds, for the same rows, the features of one
network, of the networks' mean, or of several networks side by side. `visibility.py` decides
which labels the rows of each part may see.

    product.npy int32, class_id.npy int16, fold.npy int8, target.npy int8 [R] (no target for test)
    columns.npy float32 [R, F], columns.json (see `table.py`)
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lib.config.schema import Features
from lib.data.catalog import Catalog
from lib.features.candidates import most_frequent_classes, recall_by_k, recall_by_source
from lib.features.id_priors import limit_window
from lib.features.network import network_features, raw_network_features
from lib.features.query import check_topks, make_query
from lib.features.table import Columns, write_by_chunks
from lib.features.visibility import LabelVisibility, PartInputs, build_visibility
from lib.inference.topk import TopK
from lib.pipeline.reading import load_array
from lib.utils.groups import group_index, group_sizes, group_starts

CHUNK = 50_000  # products at a time


def build_candidates(folder: Path, inputs: PartInputs, stack_part: str) -> dict[str, Any]:
    """Write the candidate rows of a part and their common columns; returns counts and recall.

    stack_part: the part that trains the boosters; only its rows get a fold.
    Raises UserError if the predictions of a network are of other images.
    """
    query = make_query(inputs.catalog, inputs.products)
    check_topks(query, inputs.topks, _numbered_names(inputs.topks))
    visibility = build_visibility(inputs, query)
    query_row, class_id, recall = _choose_rows(inputs, visibility)
    has_folds = inputs.part == stack_part
    fold = visibility.fold if has_folds else np.full(len(query.products), -1, np.int8)
    np.save(folder / "product.npy", query.products[query_row].astype(np.int32))
    np.save(folder / "class_id.npy", class_id)
    np.save(folder / "fold.npy", fold[query_row])
    write_by_chunks(
        folder,
        query_row,
        class_id,
        lambda rows, classes: _common_features(visibility, inputs.features, rows, classes),
        CHUNK,
    )
    facts = _facts(inputs, visibility, len(query_row))
    if inputs.is_labelled:
        label = inputs.labelled.label[query.products]
        target = (class_id == label[query_row]).astype(np.int8)
        np.save(folder / "target.npy", target)
        facts["recall"] = round(int(target.sum()) / max(int((label >= 0).sum()), 1), 6)
    return facts | recall


def build_source(
    folder: Path,
    features: Features,
    candidates_folder: Path,
    catalog: Catalog,
    topks: Sequence[TopK],
    names: Sequence[str],
    num_classes: int,
) -> dict[str, Any]:
    """Write the features of one source for the rows in `candidates_folder`.

    catalog: of the part's products.
    topks, names: one network, or the mean of networks under the name "mean", or all networks for
    the source "multi".
    Raises UserError if the predictions of a network are of other images.
    """
    product = load_array(candidates_folder / "product.npy")
    class_id = load_array(candidates_folder / "class_id.npy")
    starts = group_starts(product)  # every product of the part has a candidate
    query = make_query(catalog, product[starts])
    check_topks(query, topks, names)
    query_row = group_index(group_sizes(starts, len(product)))

    def source_features(rows: np.ndarray, classes: np.ndarray) -> Columns:
        columns: Columns = {}
        for topk, name in zip(topks, names, strict=True):
            columns |= network_features(query, topk, name, rows, classes, num_classes)
            if features.use_raw_topk:
                columns |= raw_network_features(query, topk, name, rows, features.top_k)
        return columns

    num_columns = write_by_chunks(folder, query_row, class_id, source_features, CHUNK)
    return {"rows": len(query_row), "columns": num_columns}


def recall_table(inputs: PartInputs, max_k: int = 10) -> list[dict[str, Any]]:
    """Recall and rows per product of networks, hashes and nearest ids for k = 1..max_k.

    inputs: of a labelled part. Returns the rows of `recall_by_k`; the other sources are as
    configured.
    """
    features = inputs.features
    query = make_query(inputs.labelled, inputs.products)
    check_topks(query, inputs.topks, _numbered_names(inputs.topks))
    wide = replace(
        features,
        top_k=max(features.top_k, max_k),
        hash_k=max(features.hash_k, max_k),
        id_neighbors=max(features.id_neighbors, max_k),
    )
    visibility = build_visibility(replace(inputs, features=wide), query)
    proposals = visibility.proposals(wide, inputs.topks, ())
    configured_k = {"networks": features.top_k, "ids": features.id_neighbors}
    used = visibility.proposals(
        replace(wide, id_neighbors=0), [], inputs.knn_classes, inputs.attribute_classes
    )
    for name in proposals.names:
        k = configured_k.get(name, features.hash_k)
        used = used.replace_with(proposals.select(name).head(k))
    label = inputs.labelled.label[inputs.products]
    return recall_by_k(proposals, used, query, label, inputs.num_classes, max_k)


def _choose_rows(
    inputs: PartInputs, visibility: LabelVisibility
) -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
    """The candidate rows of a part, query_row int64 [R] and class_id int16 [R], and their recall.

    Recall is that before a cap, of a labelled part; with a cap, also the number of rows before it.
    """
    query, features, num_classes = visibility.query, inputs.features, inputs.num_classes
    proposals = visibility.proposals(
        features, inputs.topks, inputs.knn_classes, inputs.attribute_classes
    )
    fallback = most_frequent_classes(visibility.prior, visibility.fold)
    query_row, class_id = proposals.candidates(query, fallback, num_classes)
    recall: dict[str, float] = {}
    if inputs.is_labelled:
        label = inputs.labelled.label[query.products]
        recall = recall_by_source(proposals, query, label, num_classes)
    if features.max_candidates:
        recall["rows_without_cap"] = len(query_row)
        is_kept = proposals.cap(query, query_row, class_id, features.max_candidates, num_classes)
        query_row, class_id = query_row[is_kept], class_id[is_kept]
    return query_row, class_id, recall


def _facts(inputs: PartInputs, visibility: LabelVisibility, num_rows: int) -> dict[str, Any]:
    """Counts of rows, products and references, and the limited windows, for the manifest."""
    num_products, num_references = len(visibility.query.products), len(visibility.id_index.ids)
    return {
        "rows": num_rows,
        "products": num_products,
        "rows_per_product": round(num_rows / max(num_products, 1), 3),
        "references": num_references,
        "windows": {str(w): limit_window(w, num_references) for w in inputs.features.id_windows},
    }


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
