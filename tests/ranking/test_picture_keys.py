"""Numbers of equal keys, and keys of sets, against Python's own dicts and sets."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.ranking import picture_keys
from lib.ranking.picture_keys import first_shown, picture_ids, set_keys

untimed = settings(deadline=None)  # the machine may be busy


@untimed
@given(st.integers(0, 2**32 - 1), st.integers(0, 400), st.integers(1, 60), st.integers(1, 9))
def test_picture_ids_are_dense_and_equal_where_the_bytes_are(
    seed: int, rows: int, distinct: int, bucket: int
) -> None:
    rng = np.random.default_rng(seed)
    words = rng.integers(0, 2**64, (distinct, 2), np.uint64)
    words[:, rng.integers(0, 2)] = words[0, 0]  # half of the bytes are the same for all
    shown = words[rng.integers(0, distinct, rows)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(picture_keys, "BUCKET", bucket)
        ids = np.concatenate(picture_ids(shown[: rows // 3], shown[rows // 3 :]))
    names = [tuple(row) for row in shown.tolist()]
    assert len(set(zip(names, ids.tolist(), strict=True))) == len(set(names)) == len(set(ids))
    assert sorted(set(ids.tolist())) == list(range(len(set(names))))


def test_picture_ids_of_nothing() -> None:
    nothing = np.empty((0, 2), np.uint64)
    assert [len(part) for part in picture_ids(nothing, nothing)] == [0, 0]


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
    new = first_shown(key, product)
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
    assert first_shown(key, product).tolist() == expected
