"""What is told apart by keys, and keys of sets, against Python's own dicts and sets."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.features.key_kernels import (
    bloom_filter,
    factorize,
    is_first_of_product,
    partition,
    probe,
    set_keys,
)

untimed = settings(deadline=None)  # the machine may be busy


def drawn(seed: int, rows: int, distinct: int) -> np.ndarray:
    """Keys uint64 [rows, 2], of which half of the bytes are the same for all."""
    rng = np.random.default_rng(seed)
    words = rng.integers(0, 2**64, (distinct, 2), np.uint64)
    words[:, rng.integers(0, 2)] = words[0, 0]
    return words[rng.integers(0, distinct, rows)]


@untimed
@given(st.integers(0, 2**32 - 1), st.integers(0, 300), st.integers(1, 60))
def test_equal_keys_have_equal_numbers(seed: int, rows: int, distinct: int) -> None:
    key = drawn(seed, rows, distinct)
    rng = np.random.default_rng(seed)
    asked = rng.permutation(rows)[: rows // 2]
    number, keys, table = factorize(key[asked])
    names = [tuple(row) for row in key[asked].tolist()]
    of_name = dict(zip(names, number.tolist(), strict=True))
    assert [of_name[name] for name in names] == number.tolist()
    assert sorted(of_name.values()) == list(range(len(keys)))
    for name, place in of_name.items():
        assert tuple(keys[place].tolist()) == name
        assert table[probe(table, keys, *keys[place])] == place
    for other in key:
        found = table[probe(table, keys, *other)]
        assert found == of_name.get(tuple(other.tolist()), -1)


@untimed
@given(st.integers(0, 2**32 - 1), st.integers(0, 300), st.integers(1, 9))
def test_buckets_are_of_the_first_bits(seed: int, rows: int, bits: int) -> None:
    rng = np.random.default_rng(seed)
    key = rng.integers(0, 2**64, (300, 2), np.uint64)
    asked = rng.integers(0, 300, rows)
    places, first = partition(key, asked, bits)
    assert len(first) == 2**bits + 1
    for bucket in range(2**bits):
        expected = np.flatnonzero(key[asked, 0] >> np.uint64(64 - bits) == bucket)
        assert places[first[bucket] : first[bucket + 1]].tolist() == expected.tolist()


@untimed
@given(st.integers(0, 2**32 - 1), st.integers(0, 300))
def test_the_sieve_keeps_what_is_asked_for(seed: int, rows: int) -> None:
    rng = np.random.default_rng(seed)
    key, other = drawn(seed, 300, 60), drawn(seed + seed % 2, 300, 60)
    asked, counts = rng.integers(0, 300, rows), rng.random(300) < 0.7
    kept = bloom_filter(key, counts, other, asked)
    assert (np.diff(kept) > 0).all()
    assert counts[kept].all()
    wanted = {tuple(row) for row in other[asked].tolist()}
    there = [row for row in np.flatnonzero(counts) if tuple(key[row].tolist()) in wanted]
    assert set(there) <= set(kept.tolist())


def test_the_sieve_spares_most_of_the_others() -> None:
    rng = np.random.default_rng(0)
    key, other = rng.integers(0, 2**64, (2, 2000, 2), np.uint64)
    asked = np.arange(1000)
    assert 0 < len(bloom_filter(key, np.ones(2000, bool), other, asked)) < 400


def shown(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Keys uint64 [I, 2] that are near each other, and products int32 [I], some without any."""
    rng = np.random.default_rng(seed)
    product = np.repeat(np.arange(80, dtype=np.int32), rng.integers(0, 5, 80))
    return rng.integers(0, 3, (len(product), 2)).astype(np.uint64), product


@untimed
@given(st.integers(0, 2**32 - 1))
def test_sets_have_equal_keys_where_they_are_equal(seed: int) -> None:
    """Small whole numbers as keys: their plain sums would agree for other sets."""
    key, product = shown(seed)
    keys = [tuple(row) for row in set_keys(key, product, 80).tolist()]
    sets: list[set[tuple[int, ...]]] = [set() for _ in keys]
    for row, one in zip(product.tolist(), key.tolist(), strict=True):
        sets[row].add(tuple(one))
    for of_key, of_set in zip(keys, sets, strict=True):
        assert (of_key == (0, 0)) == (not of_set)
        assert [other == of_key for other in keys] == [other == of_set for other in sets]


def test_plain_sums_would_not_do() -> None:
    """Proof that the toy above can tell."""
    key, product = shown(1)
    new = is_first_of_product(key, product)
    plain = [tuple(key[new & (product == one)].sum(0).tolist()) for one in range(80)]
    sets = [frozenset(map(tuple, key[product == one].tolist())) for one in range(80)]
    assert len(set(plain)) < len(set(sets))


@untimed
@given(st.integers(0, 2**32 - 1))
def test_first_shown_of_each_product(seed: int) -> None:
    key, product = shown(seed)
    seen: set[tuple[int, ...]] = set()
    expected = []
    for row, one in zip(product.tolist(), key.tolist(), strict=True):
        expected.append((row, *one) not in seen)
        seen.add((row, *one))
    assert is_first_of_product(key, product).tolist() == expected
