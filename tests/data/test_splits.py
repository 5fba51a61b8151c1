import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.config.schema import Split
from lib.data.catalog import FIT, HOLDOUT, LOCKED, read_splits
from lib.data.splits import assign, build_splits
from lib.errors import UserError


def catalogue(products: int, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    ids = rng.permutation(products * 3)[:products]
    return ids, np.sort(rng.zipf(1.5, products) % classes)[rng.permutation(products)]


@settings(max_examples=40, deadline=None)
@given(
    st.integers(200, 3000),
    st.integers(2, 60),
    st.floats(0.0, 0.3),
    st.floats(0.05, 0.3),
    st.integers(2, 5),
    st.integers(0, 99),
)
def test_every_product_has_one_part_and_its_share_holds(n, classes, holdout, locked, folds, seed):
    ids, label = catalogue(n, classes, seed)
    part, fold = assign(ids, label, Split(holdout, locked, folds), seed)
    assert np.isin(part, [FIT, HOLDOUT, LOCKED]).all()
    assert abs((part == LOCKED).sum() - locked * n) <= 3
    assert abs((part == HOLDOUT).sum() - holdout * n) <= 5
    assert ((fold == -1) == (part == LOCKED)).all()
    for kind in (FIT, HOLDOUT):
        sizes = np.bincount(fold[part == kind], minlength=folds)
        assert len(sizes) == folds
        assert sizes.max() - sizes.min() <= 1


def test_classes_are_spread_over_parts_and_folds():
    ids, label = catalogue(6000, 40, 1)
    split = Split(0.1, 0.2, 4)
    part, fold = assign(ids, label, split, 3)
    for c in np.unique(label):
        mine = label == c
        assert abs((part[mine] == LOCKED).sum() - 0.2 * mine.sum()) <= 3
        inside = np.bincount(fold[mine & (part == FIT)], minlength=4)
        assert inside.max() - inside.min() <= 1


def test_parts_are_random_along_the_ids():
    ids, label = catalogue(8000, 40, 2)
    part, _ = assign(ids, label, Split(0.0, 0.2, 4), 3)
    quarter = np.argsort(np.argsort(ids)) * 4 // len(ids)
    for q in range(4):
        assert (part[quarter == q] == LOCKED).mean() == pytest.approx(0.2, abs=0.03)


def test_same_seed_same_split_and_another_seed_another():
    ids, label = catalogue(500, 9, 5)
    split = Split(0.1, 0.2, 4)
    one, again, other = (assign(ids, label, split, seed)[0] for seed in (1, 1, 2))
    assert (one == again).all()
    assert (one != other).any()


def test_the_order_of_the_file_does_not_matter():
    ids, label = catalogue(500, 9, 5)
    order = np.random.default_rng(0).permutation(500)
    for whole, shuffled in zip(
        assign(ids, label, Split(), 1), assign(ids[order], label[order], Split(), 1), strict=True
    ):
        assert (whole[order] == shuffled).all()


def test_written_and_too_small(tmp_path):
    ids, label = catalogue(300, 5, 1)
    build_splits(tmp_path, ids, label, Split(0.1, 0.1, 4), 1)
    splits = read_splits(tmp_path)
    assert len(splits.products("fit")) + len(splits.products("holdout", "locked")) == 300
    with pytest.raises(UserError, match="too few for part"):
        build_splits(tmp_path, ids[:9], label[:9], Split(0.1, 0.1, 4), 1)


def grouped(products: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ids, labels that mostly agree within a group, and groups of 1 to 6."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(products), rng.integers(1, 7, products))[:products]
    label = rng.integers(0, 6, products)[group]
    odd = rng.random(products) < 0.1
    label[odd] = rng.integers(0, 6, odd.sum())
    return rng.permutation(products * 3)[:products], label, group.astype(np.int32)


@settings(max_examples=30, deadline=None)
@given(st.integers(200, 2000), st.integers(0, 99))
def test_a_group_is_never_parted_and_shares_hold_about(n, seed):
    ids, label, group = grouped(n, seed)
    split = Split(0.1, 0.2, 4)
    part, fold = assign(ids, label, split, seed, group)
    for kind in np.unique(group):
        mine = group == kind
        assert len(set(zip(part[mine].tolist(), fold[mine].tolist(), strict=True))) == 1
    groups = len(np.unique(group))
    for kind, share in ((LOCKED, 0.2), (HOLDOUT, 0.1)):
        assert abs(len(np.unique(group[part == kind])) - share * groups) <= 5
    assert np.isin(fold[part == FIT], range(4)).all()


def test_groups_are_dealt_by_their_most_frequent_class():
    ids, label, group = grouped(6000, 1)
    part, _ = assign(ids, label, Split(0.0, 0.2, 4), 3, group)
    for c in range(6):
        mine = np.array([np.bincount(label[group == g]).argmax() == c for g in np.unique(group)])
        locked = np.array([part[group == g][0] == LOCKED for g in np.unique(group)])
        assert locked[mine].mean() == pytest.approx(0.2, abs=0.02)


def test_neither_order_nor_numbers_of_groups_matter():
    ids, label, group = grouped(500, 5)
    rng = np.random.default_rng(0)
    order, renamed = rng.permutation(500), rng.permutation(10_000)[group]
    whole = assign(ids, label, Split(), 1, group)
    for one, other in zip(
        whole, assign(ids[order], label[order], Split(), 1, renamed[order]), strict=True
    ):
        assert (one[order] == other).all()


def test_groups_of_one_are_dealt_as_products_are():
    ids, label = catalogue(500, 9, 5)
    alone = np.random.default_rng(0).permutation(500)
    for one, other in zip(
        assign(ids, label, Split(0.1), 1), assign(ids, label, Split(0.1), 1, alone), strict=True
    ):
        assert (one == other).all()


def test_too_few_groups_are_named(tmp_path):
    ids, label = catalogue(300, 5, 1)
    with pytest.raises(UserError, match=r"1 groups .* are too few for part locked"):
        build_splits(tmp_path, ids, label, Split(0.0, 0.1, 4), 1, np.arange(300) // 30)
