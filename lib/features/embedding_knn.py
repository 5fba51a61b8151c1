"""Which pictures a network answers with, and which it is asked about (T3, B1).

A network is asked about products that it has not seen and answers with those that it was trained
on. So no labelled row can see its own label, its fold's or its group's, and the columns of rows
that train are made just as those of new products: rows of `fit` are asked of the one network that
left their fold out, all others of every network of the model, whose answers are averaged.
"""

from dataclasses import dataclass

import numpy as np

from lib.config.schema import Run
from lib.data.catalog import Catalog, Splits
from lib.features import id_priors
from lib.features.candidates import Query
from lib.features.columns import Table, largest, rank_within
from lib.features.knn import class_scores, nearest_classes, voted
from lib.features.near_alike import COLUMNS, ProductEmbeddings, near_alike
from lib.features.visibility import ids_comparable
from lib.runtime.device import catch_oom, knn_oom_advice, torch_device


@dataclass(frozen=True)
class FoldIndex:
    """One network: embeddings float16 [I, d] of all labelled pictures and of the queried ones.

    answers int64: ascending rows of the labelled products it was trained on. slots int64:
    ascending places in `Query.products` that it is asked about.
    """

    known: np.ndarray
    asked: np.ndarray
    answers: np.ndarray
    slots: np.ndarray


def roles(
    splits: Splits, folds: int, part: str, products: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    """(answers, slots) of each of a model's networks, as in `FoldIndex`.

    products int64 [Q]: rows of the queried products, of the labelled catalogue unless part is
    "test".
    """
    fit = splits.products("fit")
    everything = np.arange(len(products))
    if folds == 1:
        return [(fit, everything)]
    left_out_by = splits.fold_of_product(folds)
    own = left_out_by[products] if part == "fit" else None
    return [
        (
            fit[left_out_by[fit] != net],
            everything if own is None else np.flatnonzero(own == net),
        )
        for net in range(folds)
    ]


def candidate_classes(
    galleries: list[FoldIndex], labelled: Catalog, asked: Query, k: int, run: Run
) -> np.ndarray:
    """Classes of the k closest pictures of each queried picture, by one model: int16 [n, k].

    Distinct, by falling likeness added up over the pictures and the networks that are asked; -1
    where there are fewer. So a list is as long, and its places mean as much, whether one network
    is asked or all.
    """
    slot = asked.slot_of_image()
    classes = np.full((len(slot), k * len(galleries)), -1, np.int16)
    votes = np.zeros(classes.shape, np.float32)
    device = torch_device(run)
    for net, gallery in enumerate(galleries):
        mine = np.flatnonzero(np.isin(slot, gallery.slots))
        reference = labelled.images_of(gallery.answers)
        own = slice(net * k, (net + 1) * k)
        with catch_oom("k-NN classes", knn_oom_advice(device)):
            classes[mine, own], votes[mine, own] = nearest_classes(
                gallery.known,
                reference,
                labelled.label[labelled.image_product[reference]],
                gallery.asked[asked.images[mine]],
                k,
                device,
            )
    return voted(classes, votes, k)


def closest_columns(
    galleries: list[FoldIndex],
    labelled: Catalog,
    asked: Query,
    slot: np.ndarray,
    cls: np.ndarray,
    name: str,
    run: Run,
) -> Table:
    """T3's scores of all candidate rows, as one model sees them: means over its networks.

    slot int64 [R] ascending, cls int16 [R]. closest_score: mean over the product's pictures;
    closest_cos: largest over them; closest_share and closest_rank: of the score among the product's
    candidates; closest_gap: cos less the best of the product's other candidates. NaN without a
    picture, cos and gap also where no reference is of the class.
    """
    row, image = asked.pairs(slot)
    score, cos = np.zeros(len(slot)), np.zeros(len(slot))
    answers, seen = np.zeros(len(slot)), np.zeros(len(slot))
    device = torch_device(run)
    for gallery in galleries:
        wanted = np.zeros(len(asked.products), bool)
        wanted[gallery.slots] = True
        mine = np.flatnonzero(wanted[slot[row]])
        reference = labelled.images_of(gallery.answers)
        with catch_oom("k-NN features", knn_oom_advice(device)):
            found, best = class_scores(
                gallery.known,
                reference,
                labelled.label[labelled.image_product[reference]],
                gallery.asked,
                asked.images[image[mine]],
                cls[row[mine]],
                device,
            )
        score += np.bincount(row[mine], found, minlength=len(slot))
        answers += np.bincount(row[mine], minlength=len(slot))
        largest_cos = largest(np.nan_to_num(best, nan=-np.inf), row[mine], len(slot))
        there = np.isfinite(largest_cos)
        cos[there] += largest_cos[there]
        seen += there
    score = np.divide(score, answers, out=np.full(len(slot), np.nan), where=answers > 0)
    cos = np.divide(cos, seen, out=np.full(len(slot), np.nan), where=seen > 0)
    first = np.flatnonzero(np.diff(slot, prepend=-1))
    size = np.diff(first, append=len(slot))
    total = np.repeat(np.add.reduceat(score, first), size) if len(slot) else score
    rank, _ = rank_within(slot, cls, score)
    return {
        f"{name}_closest_score": score,
        f"{name}_closest_cos": cos,
        f"{name}_closest_share": np.divide(
            score, total, out=np.full(len(slot), np.nan), where=total > 0
        ),
        f"{name}_closest_rank": rank,
        f"{name}_closest_gap": cos - _best_other(np.nan_to_num(cos, nan=-1.0), first, size),
    }


def _best_other(values: np.ndarray, first: np.ndarray, size: np.ndarray) -> np.ndarray:
    """The largest value among the other rows of each run, -1 where there is none."""
    if not len(values):
        return values
    best = np.repeat(np.maximum.reduceat(values, first), size)
    is_best = values == best
    ties = np.repeat(np.add.reduceat(is_best.astype(np.int64), first), size)
    second = np.repeat(np.maximum.reduceat(np.where(is_best, -1.0, values), first), size)
    return np.where(is_best & (ties == 1), second, best)


def near_alike_columns(
    galleries: list[FoldIndex],
    labelled: Catalog,
    query: Catalog,
    asked: Query,
    slot: np.ndarray,
    cls: np.ndarray,
    windows: tuple[int, ...],
    name: str,
) -> Table:
    """Likeness of the products near by id, as one model sees it: mean over its networks.

    slot int64 [R] ascending, cls int16 [R]: all candidate rows of the part. NaN everywhere where
    ids of the two catalogues cannot be compared.
    """
    if not ids_comparable(labelled, query):
        galleries = []
    bounds = np.searchsorted(slot, np.arange(len(asked.products) + 1))
    table: Table = {}
    for window in windows:
        total = np.zeros((len(slot), len(COLUMNS)), np.float32)
        answers = np.zeros((len(slot), len(COLUMNS)), np.int8)
        for gallery in galleries:
            rows, found = _asked_of(gallery, labelled, query, asked.products, bounds, cls, window)
            total[rows] += np.nan_to_num(found)
            answers[rows] += ~np.isnan(found)
        mean = np.divide(total, answers, out=np.full_like(total, np.nan), where=answers > 0)
        for place, column in enumerate(COLUMNS):
            table[f"{name}_alike_{window}_{column}"] = mean[:, place]
    return table


def _asked_of(
    gallery: FoldIndex,
    labelled: Catalog,
    query: Catalog,
    products: np.ndarray,
    bounds: np.ndarray,
    cls: np.ndarray,
    window: int,
) -> tuple[np.ndarray, np.ndarray]:
    """One network's columns for the rows int64 [r] of the products that it is asked about."""
    size = np.diff(bounds)[gallery.slots]
    own = np.concatenate([[0], np.cumsum(size)])
    rows = np.arange(own[-1]) + np.repeat(bounds[gallery.slots] - own[:-1], size)
    by_id = gallery.answers[np.argsort(labelled.product_id[gallery.answers], kind="stable")]
    found = near_alike(
        order=id_priors.in_order(labelled.product_id[by_id], labelled.label[by_id]),
        reference=by_id,
        known=_album(gallery.known, labelled),
        ids=query.product_id[products[gallery.slots]].astype(np.int64),
        asked=products[gallery.slots],
        query=_album(gallery.asked, query),
        bounds=own,
        cls=cls[rows],
        window=min(window, len(by_id)),
    )
    return rows, found


def _album(embeddings: np.ndarray, catalogue: Catalog) -> ProductEmbeddings:
    return ProductEmbeddings(embeddings, catalogue.first_image, catalogue.image_count)
