"""The candidate rows against sets."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.errors import UserError
from lib.features import candidates as module
from lib.features.candidates import (
    best_listed,
    candidates,
    check_rows,
    chunks,
    make_query,
    most_frequent,
)
from tests.features.toy_catalog import CLASSES, catalogue, dump

untimed = settings(deadline=None)  # the machine may be busy

seeds = st.integers(0, 2**32 - 1)


@untimed
@given(seeds, st.integers(0, 25), st.booleans(), st.integers(1, 30))
def test_union_equals_sets(seed: int, products: int, near: bool, chunk: int) -> None:
    rng = np.random.default_rng(seed)
    known = catalogue(rng, products, 10, most_images=3)
    query = make_query(known, np.flatnonzero(rng.random(products) < 0.7))
    lists = [rng.integers(-1, CLASSES, (len(query.images), k)).astype(np.int16) for k in (3, 2)]
    of_product = rng.integers(-1, CLASSES, (len(query.products), 2)).astype(np.int16)
    fallback = np.tile(np.array([5, 1], np.int16), (len(query.products), 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "chunks", lambda slots: chunks(slots, chunk))
        slot, cls = candidates(query, lists, [of_product] if near else [], fallback, CLASSES)
    expected = []
    for place, product in enumerate(query.products):
        images = np.flatnonzero(known.image_product[query.images] == product)
        some = {int(c) for part in lists for c in part[images].ravel()}
        some |= set(of_product[place].tolist()) if near else set()
        some -= {-1}
        expected += [(place, c) for c in sorted(some or {5, 1})]
    assert list(zip(slot.tolist(), cls.tolist(), strict=True)) == expected
    assert cls.dtype == np.int16


@untimed
@given(seeds)
def test_positions_and_pairs_lead_to_the_products_own_pictures(seed: int) -> None:
    rng = np.random.default_rng(seed)
    known = catalogue(rng, 15, 10)
    query = make_query(known, np.flatnonzero(rng.random(15) < 0.6))
    slot = np.sort(rng.integers(0, len(query.products), 20)) if len(query.products) else np.empty(0)
    slot = slot.astype(np.int64)
    row, image = query.pairs(slot)
    products = query.products[slot]
    assert (known.image_product[query.images[image]] == products[row]).all()
    np.testing.assert_array_equal(
        np.bincount(row, minlength=len(slot)), known.image_count[products]
    )
    assert len(set(zip(row.tolist(), image.tolist(), strict=True))) == len(row)
    for position in range(6):
        at = query.at(slot, position)
        there = at >= 0
        np.testing.assert_array_equal(there, known.image_count[products] > position)
        assert (known.image_position[query.images[at[there]]] == position).all()
        assert (known.image_product[query.images[at[there]]] == products[there]).all()


def test_fallback_is_chosen_without_the_own_fold() -> None:
    prior = np.array([[0.1, 0.9, 0.0], [0.9, 0.1, 0.0], [0.2, 0.3, 0.5]])
    best = most_frequent(prior, np.array([1, 0, -1]))
    assert best[:, 0].tolist() == [0, 1, 2]


def test_dumps_of_other_pictures_are_refused() -> None:
    known = catalogue(np.random.default_rng(0), 15, 10)
    query = make_query(known, np.arange(5))
    good, _ = dump(np.random.default_rng(0), query.images)
    check_rows(query, [good], ["small"])
    bad, _ = dump(np.random.default_rng(0), query.images + 1)
    with pytest.raises(UserError, match=r"predictions of other.*03_predict_tta"):
        check_rows(query, [good, bad], ["small", "other"])


@untimed
@given(seeds, st.integers(1, 4))
def test_a_cap_keeps_what_most_lists_put_first(seed: int, cap: int) -> None:
    rng = np.random.default_rng(seed)
    known = catalogue(rng, 12, 20)
    query = make_query(known, np.arange(12))
    lists = [distinct_lists(rng, len(query.images)) for _ in range(2)]
    of_product = distinct_lists(rng, 12)
    fallback = np.zeros((12, 1), np.int16)
    slot, cls = candidates(query, lists, [of_product], fallback, CLASSES)
    kept = best_listed(query, lists, [of_product], slot, cls, cap, CLASSES)
    for place in range(12):
        images = np.flatnonzero(known.image_product == place)
        score = dict.fromkeys(cls[slot == place].tolist(), 0.0)
        for listed, rows in ((lists[0], images), (lists[1], images), (of_product, [place])):
            for row in rows:
                for rank, one in enumerate(listed[row].tolist()):
                    if one >= 0:
                        score[one] += 1 / (1 + rank) / len(rows)
        best = sorted(score, key=lambda one: (-round(score[one], 9), one))[:cap]
        assert cls[(slot == place) & kept].tolist() == sorted(best)


def distinct_lists(rng: np.random.Generator, rows: int) -> np.ndarray:
    """int16 [rows, 3]: different classes, some of them none."""
    listed = np.argsort(rng.random((rows, CLASSES)), axis=1)[:, :3].astype(np.int16)
    listed[rng.random(listed.shape) < 0.2] = -1
    return listed
