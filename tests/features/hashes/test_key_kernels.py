"""Joins of keys, and keys of sets, against numpy and Python's own dicts and sets."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.features.hashes.key_kernels import (
    bloom_filter,
    factorize,
    is_first_of_product,
    partition,
    probe,
    set_keys,
)

untimed = settings(deadline=None)  # the machine may be busy

seeds = st.integers(0, 2**32 - 1)

NUM_PRODUCTS = 80


def random_keys(seed: int, rows: int, distinct: int) -> np.ndarray:
    """Keys uint64 [rows, 2], of which half of the bytes are the same for all."""
    rng = np.random.default_rng(seed)
    words = rng.integers(0, 2**64, (distinct, 2), np.uint64)
    words[:, rng.integers(0, 2)] = words[0, 0]
    return words[rng.integers(0, distinct, rows)]


def as_tuples(key: np.ndarray) -> list[tuple[int, ...]]:
    return [tuple(row) for row in key.tolist()]


@untimed
@given(seeds, st.integers(0, 300), st.integers(1, 60))
def test_factorize_equals_numpy_unique(seed: int, rows: int, distinct: int) -> None:
    key = random_keys(seed, rows, distinct)
    codes, keys, _ = factorize(key)
    _, first, inverse = np.unique(key, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    np.testing.assert_array_equal(keys, key[first[order]])
    np.testing.assert_array_equal(codes, np.argsort(order)[inverse.reshape(-1)])


@untimed
@given(seeds, st.integers(0, 300), st.integers(1, 60))
def test_probe_finds_exactly_the_factorized_keys(seed: int, rows: int, distinct: int) -> None:
    key = random_keys(seed, rows, distinct)
    queried = np.random.default_rng(seed).permutation(rows)[: rows // 2]
    codes, keys, table = factorize(key[queried])
    code_of = dict(zip(as_tuples(key[queried]), codes.tolist(), strict=True))
    for row in key:
        code = table[probe(table, keys, *row)]
        assert code == code_of.get(tuple(row.tolist()), -1)


@untimed
@given(seeds, st.integers(0, 300), st.integers(1, 9))
def test_partition_equals_a_stable_sort_by_the_first_bits(seed: int, rows: int, bits: int) -> None:
    rng = np.random.default_rng(seed)
    key = rng.integers(0, 2**64, (300, 2), np.uint64)
    queried = rng.integers(0, 300, rows)
    order, bounds = partition(key, queried, bits)
    bucket = (key[queried, 0] >> np.uint64(64 - bits)).astype(np.int64)
    np.testing.assert_array_equal(order, np.argsort(bucket, kind="stable"))
    sizes = np.bincount(bucket, minlength=2**bits)
    np.testing.assert_array_equal(bounds, np.concatenate([[0], np.cumsum(sizes)]))


@untimed
@given(seeds, st.integers(0, 300))
def test_the_bloom_filter_loses_no_queried_key(seed: int, rows: int) -> None:
    rng = np.random.default_rng(seed)
    key, query_key = random_keys(seed, 300, 60), random_keys(seed + seed % 2, 300, 60)
    query_rows, mask = rng.integers(0, 300, rows), rng.random(300) < 0.7
    kept = bloom_filter(key, mask, query_key, query_rows)
    assert (np.diff(kept) > 0).all()
    assert mask[kept].all()
    queried = set(as_tuples(query_key[query_rows]))
    needed = [row for row, name in enumerate(as_tuples(key)) if mask[row] and name in queried]
    assert set(needed) <= set(kept.tolist())


def test_the_bloom_filter_drops_most_of_the_others() -> None:
    rng = np.random.default_rng(0)
    key, query_key = rng.integers(0, 2**64, (2, 2000, 2), np.uint64)
    query_rows = np.arange(1000)
    assert 0 < len(bloom_filter(key, np.ones(2000, bool), query_key, query_rows)) < 400


def images_of_products(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Keys uint64 [I, 2] of small numbers, and products int32 [I], some without images."""
    rng = np.random.default_rng(seed)
    num_images = rng.integers(0, 5, NUM_PRODUCTS)
    product = np.repeat(np.arange(NUM_PRODUCTS, dtype=np.int32), num_images)
    return rng.integers(0, 3, (len(product), 2)).astype(np.uint64), product


def sets_of_products(key: np.ndarray, product: np.ndarray) -> list[frozenset]:
    return [frozenset(as_tuples(key[product == one])) for one in range(NUM_PRODUCTS)]


@untimed
@given(seeds)
def test_keys_of_sets_are_equal_where_the_sets_are(seed: int) -> None:
    """Small numbers as keys: their plain sums would agree for different sets."""
    key, product = images_of_products(seed)
    keys = as_tuples(set_keys(key, product, NUM_PRODUCTS))
    sets = sets_of_products(key, product)
    for key_of_set, images in zip(keys, sets, strict=True):
        assert (key_of_set == (0, 0)) == (not images)
        assert [other == key_of_set for other in keys] == [other == images for other in sets]


def test_plain_sums_of_keys_agree_for_different_sets() -> None:
    """Proof that the test above can fail."""
    key, product = images_of_products(1)
    is_first = is_first_of_product(key, product)
    sums = [key[is_first & (product == one)].sum(0) for one in range(NUM_PRODUCTS)]
    distinct_sums = {tuple(one.tolist()) for one in sums}
    assert len(distinct_sums) < len(set(sets_of_products(key, product)))


@untimed
@given(seeds)
def test_the_first_of_equal_images_of_a_product_equals_numpy_unique(seed: int) -> None:
    key, product = images_of_products(seed)
    rows = np.column_stack([product.astype(np.uint64), key])
    expected = np.zeros(len(product), bool)
    expected[np.unique(rows, axis=0, return_index=True)[1]] = True
    np.testing.assert_array_equal(is_first_of_product(key, product), expected)
