"""Hash counts against a loop over products, and what they may not see."""

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.catalogue.tables import Catalogue
from lib.ranking import hashes
from lib.ranking.hashes import PictureLabels, look_up, picture_ids
from tests.ranking.toy_catalogue import CLASSES, catalogue, relabelled

untimed = settings(deadline=None)  # the machine may be busy

K = 3


def ask(
    labelled: Catalogue, reference: np.ndarray, fold: np.ndarray, query: Catalogue, same: bool
) -> PictureLabels:
    images = np.arange(len(query.image_product))
    query_fold = np.full(len(images), -1, np.int8)
    if same:
        query_fold = fold[query.image_product]
    return look_up(labelled, reference, fold, query, images, query_fold, same, K, CLASSES)


def by_hand(
    labelled: Catalogue,
    reference: np.ndarray,
    fold: np.ndarray,
    query: Catalogue,
    image: int,
    same: bool,
) -> Counter:
    """Class -> products, by a loop over every image."""
    own = query.image_product[image]
    holders = {
        int(labelled.image_product[other])
        for other in range(len(labelled.md5))
        if tuple(labelled.md5[other]) == tuple(query.md5[image])
        and reference[labelled.image_product[other]]
    }
    crowded = len(holders) > hashes.CROWD
    if same and crowded and fold[own] >= 0:
        holders = {product for product in holders if fold[product] != fold[own]}
    elif same:
        holders.discard(int(own))
    return Counter(int(labelled.label[product]) for product in holders)


@untimed
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(1, 40), st.booleans())
def test_equal_to_a_loop(seed: int, products: int, pictures: int, same: bool) -> None:
    rng = np.random.default_rng(seed)
    labelled = catalogue(rng, products, pictures, placeholder=0.2)
    reference = rng.random(products) < 0.7
    fold = np.where(reference, rng.integers(-1, 3, products), -1).astype(np.int8)
    query = labelled if same else catalogue(rng, 20, pictures, placeholder=0.2)
    found = ask(labelled, reference, fold, query, same)
    for image in range(len(query.image_product)):
        counts = by_hand(labelled, reference, fold, query, image, same)
        best = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:K]
        best += [(-1, 0)] * (K - len(best))
        listed = zip(found.classes[image].tolist(), found.counts[image].tolist(), strict=True)
        assert list(listed) == best
        assert found.total[image] == sum(counts.values())
        assert found.distinct[image] == len(counts)
        every = np.arange(CLASSES)
        looked_up = found.count(np.full(CLASSES, image), every)
        assert looked_up.tolist() == [counts[cls] for cls in range(CLASSES)]


def test_the_toy_reaches_both_sides_of_a_crowd() -> None:
    """Else the comparison above would never see a fold left out."""
    rng = np.random.default_rng(0)
    labelled = catalogue(rng, 60, 5, placeholder=0.2)
    whole = np.ones(60, bool)
    found = ask(labelled, whole, np.full(60, -1, np.int8), labelled, same=True)
    assert (found.total > hashes.CROWD).any()
    assert (found.total < hashes.CROWD).any()


@untimed
@given(st.integers(0, 2**32 - 1), st.sampled_from([3, 200]))
def test_the_own_label_changes_nothing_of_the_own_rows(seed: int, pictures: int) -> None:
    rng = np.random.default_rng(seed)
    labelled = catalogue(rng, 80, pictures)
    fold = rng.integers(0, 3, 80).astype(np.int8)
    changed = int(rng.integers(80))
    label = labelled.label.copy()
    label[changed] = (label[changed] + 1) % CLASSES
    whole = np.ones(80, bool)
    before = ask(labelled, whole, fold, labelled, same=True)
    other = relabelled(labelled, label)
    after = ask(other, whole, fold, other, same=True)
    own = labelled.image_product == changed
    for name in ("classes", "counts", "total", "distinct"):
        np.testing.assert_array_equal(getattr(before, name)[own], getattr(after, name)[own])


def test_products_of_a_fold_see_the_same_counts_of_a_crowded_picture() -> None:
    """The counts of a placeholder may not differ by the row's own label."""
    products = hashes.CROWD * 4
    rng = np.random.default_rng(3)
    labelled = catalogue(rng, products, pictures=1)
    fold = (np.arange(products) % 2).astype(np.int8)
    found = ask(labelled, np.ones(products, bool), fold, labelled, same=True)
    for some in (0, 1):
        rows = fold[labelled.image_product] == some
        assert len(np.unique(found.counts[rows], axis=0)) == 1


def test_a_picture_held_twice_counts_once_and_whole_md5_decides() -> None:
    rng = np.random.default_rng(0)
    labelled = catalogue(rng, 40, pictures=2)
    query = catalogue(rng, 10, pictures=4)  # 2 and 3 share their second words with 0 and 1
    found = ask(labelled, np.ones(40, bool), np.full(40, -1, np.int8), query, same=False)
    picture = (query.md5[:, 0] - np.uint64(10)) * 2 + query.md5[:, 1] - np.uint64(2**63)
    assert (found.total[picture >= 2] == 0).all()
    assert (found.classes[picture >= 2] == -1).all()
    for wanted in (0, 1):
        held = (labelled.md5[:, 1] - np.uint64(2**63)) == wanted
        products = len(np.unique(labelled.image_product[held]))
        assert (found.total[picture == wanted] == products).all()


@untimed
@given(st.integers(0, 2**32 - 1), st.integers(0, 400), st.integers(1, 60), st.integers(1, 9))
def test_picture_ids_are_dense_and_equal_where_the_bytes_are(
    seed: int, rows: int, distinct: int, bucket: int
) -> None:
    rng = np.random.default_rng(seed)
    words = rng.integers(0, 2**64, (distinct, 2), np.uint64)
    words[:, rng.integers(0, 2)] = words[0, 0]  # half of the bytes are the same for all
    shown = words[rng.integers(0, distinct, rows)]
    before, hashes.BUCKET = hashes.BUCKET, bucket
    try:
        ids = np.concatenate(picture_ids(shown[: rows // 3], shown[rows // 3 :]))
    finally:
        hashes.BUCKET = before
    names = [tuple(row) for row in shown.tolist()]
    assert len(set(zip(names, ids.tolist(), strict=True))) == len(set(names)) == len(set(ids))
    assert sorted(set(ids.tolist())) == list(range(len(set(names))))


def test_picture_ids_of_nothing() -> None:
    nothing = np.empty((0, 2), np.uint64)
    assert [len(part) for part in picture_ids(nothing, nothing)] == [0, 0]
