"""Keys of pictures and of sets of pictures, and dense numbers for equal ones.

A key is 16 bytes, uint64 [2], that are a hash already: an MD5, or what stands for one
(`lib/catalogue/alike.py`).
"""

import numpy as np
from numba import njit

BUCKET = 4096  # pictures numbered together, about
ODD = np.uint64(0x9E3779B97F4A7C15)  # 2**64 over the golden ratio: bits without a pattern


def picture_ids(*keys: np.ndarray) -> list[np.ndarray]:
    """Dense int64 numbers for the rows of uint64 [n, 2] arrays, equal where all 16 bytes are."""
    words = keys[0] if len(keys) == 1 else np.concatenate(keys)
    bits = max(1, (len(words) // BUCKET).bit_length())
    return np.split(_numbered(words, bits), np.cumsum([len(part) for part in keys])[:-1])


@njit(cache=True, nogil=True)
def _numbered(words: np.ndarray, bits: int) -> np.ndarray:
    """Numbers int64 [n] of the distinct rows of `words`, in the order of their first `bits`.

    Rows are dealt to buckets by these bits, each small enough for its hash table to stay in the
    processor's cache: a key is a hash already.
    """
    shift = np.uint64(64 - bits)
    ends = np.zeros((1 << bits) + 1, np.int64)
    for row in range(len(words)):
        ends[np.int64(words[row, 0] >> shift) + 1] += 1
    ends = np.cumsum(ends)
    rows = np.empty(len(words), np.int64)
    fill = ends.copy()
    for row in range(len(words)):
        bucket = np.int64(words[row, 0] >> shift)
        rows[fill[bucket]] = row
        fill[bucket] += 1
    ids = np.empty(len(words), np.int64)
    found = 0
    for number in range(1 << bits):
        first, last = ends[number], ends[number + 1]
        size = 16
        while size < 2 * (last - first):
            size *= 2
        table = np.full(size, -1, np.int64)
        for place in range(first, last):
            row = rows[place]
            slot = np.int64(words[row, 1] & np.uint64(size - 1))
            while table[slot] >= 0 and (
                words[table[slot], 0] != words[row, 0] or words[table[slot], 1] != words[row, 1]
            ):
                slot = np.int64((slot + 1) & (size - 1))
            if table[slot] < 0:
                table[slot] = row
                ids[row] = found
                found += 1
            else:
                ids[row] = ids[table[slot]]
    return ids


@njit(cache=True, nogil=True)
def first_shown(key: np.ndarray, product: np.ndarray) -> np.ndarray:
    """bool [I]: the picture is not one that its product has shown before.

    key uint64 [I, 2]; product int [I]: pictures of a product are neighbours, and few.
    """
    new = np.ones(len(product), np.bool_)
    first = 0
    for row in range(len(product)):
        if product[row] != product[first]:
            first = row
        for other in range(first, row):
            if key[other, 0] == key[row, 0] and key[other, 1] == key[row, 1]:
                new[row] = False
                break
    return new


def set_keys(key: np.ndarray, product: np.ndarray, products: int) -> np.ndarray:
    """Keys uint64 [products, 2] of each product's set of distinct pictures, in whatever order.

    key uint64 [I, 2]; product int [I]: pictures of a product are neighbours. A product without
    pictures has 0, 0.
    """
    return _summed_up(key, product, first_shown(key, product), products)


@njit(cache=True, nogil=True)
def _summed_up(key: np.ndarray, product: np.ndarray, new: np.ndarray, products: int) -> np.ndarray:
    """Sums, which know no order, of two mixes of each new picture.

    Mixed, because plain sums of keys that are near each other agree for different sets.
    """
    sums = np.zeros((products, 2), np.uint64)
    for row in range(len(product)):
        if new[row]:
            one, two = key[row, 0], key[row, 1]
            sums[product[row], 0] += _mixed(one ^ _mixed(two))
            sums[product[row], 1] += _mixed(two ^ _mixed(one ^ ODD))
    return sums


@njit(cache=True, nogil=True)
def _mixed(word: np.uint64) -> np.uint64:
    """A bijection of 64 bits in which each bit moves about half of the others."""
    word = (word ^ (word >> np.uint64(31))) * ODD
    word = (word ^ (word >> np.uint64(29))) * ODD
    return word ^ (word >> np.uint64(32))
