import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.config.schema import Split
from lib.data.catalog import FIT, HOLDOUT, LOCKED, read_splits
from lib.data.splits import (
    assign_given,
    assign_splits,
    build_splits,
    num_folds,
    read_given,
    split_watched,
)
from lib.errors import UserError


def random_products(count: int, num_classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    ids = rng.permutation(count * 3)[:count]
    return ids, np.sort(rng.zipf(1.5, count) % num_classes)[rng.permutation(count)]


def random_groups(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ids, labels that mostly agree within a group, and groups of 1 to 6."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(count), rng.integers(1, 7, count))[:count]
    label = rng.integers(0, 6, count)[group]
    changed = rng.random(count) < 0.1
    label[changed] = rng.integers(0, 6, changed.sum())
    return rng.permutation(count * 3)[:count], label, group.astype(np.int32)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(200, 3000),
    st.integers(2, 60),
    st.floats(0.0, 0.3),
    st.floats(0.05, 0.3),
    st.integers(2, 5),
    st.integers(0, 99),
)
def test_each_product_has_one_part_and_parts_have_their_fraction(
    n, classes, holdout, locked, folds, seed
):
    ids, label = random_products(n, classes, seed)
    part, fold = assign_splits(ids, label, Split(holdout, locked, folds), seed)
    assert np.isin(part, [FIT, HOLDOUT, LOCKED]).all()
    assert abs((part == LOCKED).sum() - locked * n) <= 3
    assert abs((part == HOLDOUT).sum() - holdout * n) <= 5
    assert ((fold == -1) == (part == LOCKED)).all()
    for number in (FIT, HOLDOUT):
        sizes = np.bincount(fold[part == number], minlength=folds)
        assert len(sizes) == folds
        assert sizes.max() - sizes.min() <= 1


def test_classes_are_distributed_over_parts_and_folds():
    ids, label = random_products(6000, 40, 1)
    part, fold = assign_splits(ids, label, Split(0.1, 0.2, 4), 3)
    for class_id in np.unique(label):
        of_class = label == class_id
        assert abs((part[of_class] == LOCKED).sum() - 0.2 * of_class.sum()) <= 3
        sizes = np.bincount(fold[of_class & (part == FIT)], minlength=4)
        assert sizes.max() - sizes.min() <= 1


def test_parts_are_random_along_the_ids():
    ids, label = random_products(8000, 40, 2)
    part, _ = assign_splits(ids, label, Split(0.0, 0.2, 4), 3)
    quarter = np.argsort(np.argsort(ids)) * 4 // len(ids)
    for q in range(4):
        assert (part[quarter == q] == LOCKED).mean() == pytest.approx(0.2, abs=0.03)


def test_the_seed_determines_the_split():
    ids, label = random_products(500, 9, 5)
    split = Split(0.1, 0.2, 4)
    first, same, other = (assign_splits(ids, label, split, seed)[0] for seed in (1, 1, 2))
    assert (first == same).all()
    assert (first != other).any()


def test_the_order_of_the_file_does_not_matter():
    ids, label = random_products(500, 9, 5)
    order = np.random.default_rng(0).permutation(500)
    expected = assign_splits(ids, label, Split(), 1)
    shuffled = assign_splits(ids[order], label[order], Split(), 1)
    for a, b in zip(expected, shuffled, strict=True):
        assert (a[order] == b).all()


def test_written_splits_cover_all_products(tmp_path):
    ids, label = random_products(300, 5, 1)
    facts = build_splits(tmp_path, ids, label, Split(0.1, 0.1, 4), 1)
    splits = read_splits(tmp_path)
    assert sum(facts.values()) == 300
    assert {name: len(splits.products(name)) for name in facts} == facts
    assert len(splits.products("fit")) + len(splits.products("holdout", "locked")) == 300


def test_a_part_with_fewer_products_than_folds_is_an_error(tmp_path):
    ids, label = random_products(300, 5, 1)
    with pytest.raises(UserError, match="too few for part"):
        build_splits(tmp_path, ids[:9], label[:9], Split(0.1, 0.1, 4), 1)


@settings(max_examples=30, deadline=None)
@given(st.integers(200, 2000), st.integers(0, 99))
def test_a_group_is_never_split_and_fractions_hold_roughly(n, seed):
    ids, label, group = random_groups(n, seed)
    part, fold = assign_splits(ids, label, Split(0.1, 0.2, 4), seed, group)
    for number in np.unique(group):
        members = group == number
        assert len(set(zip(part[members].tolist(), fold[members].tolist(), strict=True))) == 1
    num_groups = len(np.unique(group))
    for number, fraction in ((LOCKED, 0.2), (HOLDOUT, 0.1)):
        assert abs(len(np.unique(group[part == number])) - fraction * num_groups) <= 5
    assert np.isin(fold[part == FIT], range(4)).all()


def test_groups_are_stratified_by_their_most_frequent_class():
    ids, label, group = random_groups(6000, 1)
    part, _ = assign_splits(ids, label, Split(0.0, 0.2, 4), 3, group)
    numbers = np.unique(group)
    top_class = np.array([np.bincount(label[group == g]).argmax() for g in numbers])
    locked = np.array([part[group == g][0] == LOCKED for g in numbers])
    for class_id in range(6):
        assert locked[top_class == class_id].mean() == pytest.approx(0.2, abs=0.02)


def test_neither_order_nor_numbers_of_groups_matter():
    ids, label, group = random_groups(500, 5)
    rng = np.random.default_rng(0)
    order, renumbered = rng.permutation(500), rng.permutation(10_000)[group]
    expected = assign_splits(ids, label, Split(), 1, group)
    changed = assign_splits(ids[order], label[order], Split(), 1, renumbered[order])
    for a, b in zip(expected, changed, strict=True):
        assert (a[order] == b).all()


def test_groups_of_one_product_are_assigned_like_products():
    ids, label = random_products(500, 9, 5)
    group = np.random.default_rng(0).permutation(500)
    without = assign_splits(ids, label, Split(0.1), 1)
    for a, b in zip(without, assign_splits(ids, label, Split(0.1), 1, group), strict=True):
        assert (a == b).all()


def test_too_few_groups_are_an_error(tmp_path):
    ids, label = random_products(300, 5, 1)
    with pytest.raises(UserError, match=r"1 groups .* are too few for part locked"):
        build_splits(tmp_path, ids, label, Split(0.0, 0.1, 4), 1, np.arange(300) // 30)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 400), st.integers(1, 300), st.booleans(), st.integers(0, 9))
def test_a_share_of_whole_groups_is_watched(count, num_groups, grouped, seed):
    rng = np.random.default_rng(seed)
    group = rng.integers(0, num_groups, 2 * count).astype(np.int32) if grouped else None
    products = np.sort(rng.choice(2 * count, count, replace=False))
    train, watched = split_watched(products, group, seed)
    assert (np.sort(np.append(train, watched)) == products).all()
    key = np.arange(2 * count) if group is None else group
    assert not set(key[train]) & set(key[watched])
    sizes = np.unique(key[products], return_counts=True)[1]
    if len(sizes) > 1:
        assert 1 <= len(watched) <= max(round(0.05 * count), sizes.min())
    assert len(train)


def test_what_is_watched_is_bounded_and_follows_from_the_seed():
    products = np.arange(1_000_000)
    train, watched = split_watched(products, None, 1)
    assert (len(train), len(watched)) == (995_000, 5_000)
    assert (split_watched(products, None, 1)[1] == watched).all()
    assert len(np.intersect1d(split_watched(products, None, 2)[1], watched)) < 200


def given(values, split, group=None):
    """part and fold of products of three classes, by the values of a column."""
    count = len(values)
    said = read_given(values, split.n_folds, "table.csv: split", str)
    ids, label = np.arange(count), np.arange(count) % 3
    return assign_given(ids, label.astype(np.int16), split, 0, group, said)


def test_train_and_test_of_a_column_are_fit_and_locked():
    values = ["train", "Test", "TRAIN"] * 40
    part, fold = given(values, Split(n_folds=4))
    assert part.tolist() == [FIT, LOCKED, FIT] * 40
    assert np.bincount(fold[part == FIT]).tolist() == [20] * 4
    assert (fold[part == LOCKED] == -1).all()


def test_valid_is_locked_unless_there_is_a_test_or_boosters_train_on_it():
    both, alone = ["train", "valid", "test"] * 40, ["train", "train", "val"] * 40
    assert given(alone, Split())[0].tolist() == [FIT, FIT, LOCKED] * 40
    assert given(both, Split())[0].tolist() == [FIT, FIT, LOCKED] * 40
    part, fold = given(both, Split(holdout=0.2))
    assert part.tolist() == [FIT, HOLDOUT, LOCKED] * 40
    assert np.bincount(fold[part == HOLDOUT]).tolist() == [10] * 4
    part, _ = given(alone, Split(holdout=0.2, locked=0.25))
    assert (part[2::3] == HOLDOUT).all()
    assert np.isin(part[0::3], (FIT, LOCKED)).all()
    assert 10 < (part == LOCKED).sum() < 30


def test_numbers_are_folds_and_the_locked_part_is_drawn_or_named():
    numbers = [str(1 + row % 5) for row in range(200)]
    part, fold = given(numbers, Split(n_folds=5, locked=0.2))
    assert 35 <= (part == LOCKED).sum() <= 45
    assert all(f == row % 5 for row, f in enumerate(fold.tolist()) if part[row] == FIT)
    part, fold = given([*numbers, *["test"] * 30], Split(n_folds=2))
    assert (part == LOCKED).sum() == 30
    assert (part[:200] == FIT).all()
    # Five folds become two, and none of them is divided.
    assert [len(set(fold[row:200:5].tolist())) for row in range(5)] == [1] * 5
    assert set(fold[:200].tolist()) == {0, 1}
    part, fold = given(["1", "1", "0"] * 40, Split(n_folds=2, locked=0.1))
    assert set(fold[part == FIT].tolist()) == {0, 1}


def test_one_number_alone_is_a_word_for_train():
    part, fold = given(["0", "0", "test"] * 40, Split(n_folds=4))
    assert part.tolist() == [FIT, FIT, LOCKED] * 40
    assert set(fold[part == FIT].tolist()) == {0, 1, 2, 3}
    assert num_folds(["0", "test"]) == 0
    assert num_folds(["0", "1", "test", "7"]) == 3


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["train", "", "test"], r"^table.csv: split is empty for product 1 \(1 of 3 products"),
        (["train", "trian", "x"], r"split says 'trian' for product 1 \(2 of 3 .* write train,"),
        (["0", "1", "2"], r"has 3 folds, fewer than split.n_folds = 4; lower split.n_folds"),
        (["train", "\u0663", "test"], "for product 1"),
    ],
)
def test_an_unclear_split_is_one_line(values, message):
    with pytest.raises(UserError, match=message):
        read_given(values, 4, "table.csv: split", str)


def test_groups_stay_in_one_fold_and_those_that_the_column_divides_are_counted(tmp_path, caplog):
    values, group = ["train", "train", "train", "test"] * 40, (np.arange(160) // 2).astype(np.int32)
    part, fold = given(values, Split(n_folds=2), group)
    pairs = fold.reshape(-1, 2)
    assert (pairs[::2, 0] == pairs[::2, 1]).all()
    assert (part.reshape(-1, 2)[1::2] == [FIT, LOCKED]).all()
    said = read_given(values, 2, "table.csv: split", str)
    label = (np.arange(160) % 3).astype(np.int16)
    facts = build_splits(tmp_path, np.arange(160), label, Split(n_folds=2), 0, group, said)
    assert facts == {"fit": 120, "holdout": 0, "locked": 40}
    assert "40 groups of products" in caplog.text
    assert read_splits(tmp_path).part.tolist() == part.tolist()
