"""Keys of pictures and of sets of pictures, and how many keys are looked up among many.

A key is 16 bytes, uint64 [2], that are a hash already: an MD5, or what stands for one
(`lib/data/perceptual_hash.py`). Its bits choose where it goes, without any more hashing.
"""

import numpy as np
from numba import njit

BUCKET = 4096  # keys that are looked up together, about: their table stays in the cache
SIEVE = 8  # bits of the sieve for each key that is asked for, at least
ODD = np.uint64(0x9E3779B97F4A7C15)  # 2**64 over the golden ratio: bits without a pattern


def bucket_bits(keys: int) -> int:
    """How many bits of a key choose its bucket."""
    return max(1, (keys // BUCKET).bit_length())


@njit(cache=True, nogil=True)
def dealt(key: np.ndarray, rows: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Places in `rows` [n] by the first `bits` of key[rows]: int32 [n], and each bucket's first.

    key uint64 [I, 2]. The second array is int64 [2**bits + 1]. Places ascend in a bucket.
    """
    shift = np.uint64(64 - bits)
    first = np.zeros((1 << bits) + 1, np.int64)
    for row in rows:
        first[np.int64(key[row, 0] >> shift) + 1] += 1
    first = np.cumsum(first)
    fill = first.copy()
    places = np.empty(len(rows), np.int32)
    for place in range(len(rows)):
        bucket = np.int64(key[rows[place], 0] >> shift)
        places[fill[bucket]] = place
        fill[bucket] += 1
    return places, first


@njit(cache=True, nogil=True)
def sieved(
    key: np.ndarray, counts: np.ndarray, asked_key: np.ndarray, asked: np.ndarray
) -> np.ndarray:
    """Ascending rows int32 of `key` where `counts`, less most whose key is none of those asked for.

    key uint64 [I, 2]; counts bool [I]; asked_key uint64 [J, 2], of which the rows `asked` [n]. A
    map of bits, a few megabytes, spares all the others the look-up.
    """
    size = 64
    while size < SIEVE * len(asked):
        size *= 2
    bits, low, six = np.uint64(size - 1), np.uint64(63), np.uint64(6)
    sieve = np.zeros(size // 64, np.uint64)
    for row in asked:
        bit = asked_key[row, 1] & bits
        sieve[np.int64(bit >> six)] |= np.uint64(1) << (bit & low)
    rows = np.empty(len(key), np.int32)
    found = 0
    for row in range(len(key)):
        bit = key[row, 1] & bits
        rows[found] = row
        found += counts[row] and sieve[np.int64(bit >> six)] >> (bit & low) & np.uint64(1)
    return rows[:found].copy()


@njit(cache=True, nogil=True)
def numbered(key: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers int32 [n] of keys uint64 [n, 2], equal where all 16 bytes are, from 0.

    Also the distinct keys uint64 [D, 2] by number, and their hash table for `slot_of`.
    """
    size = 16
    while size < 2 * len(key):
        size *= 2
    table = np.full(size, -1, np.int32)
    numbers = np.empty(len(key), np.int32)
    distinct = np.empty((len(key), 2), np.uint64)
    found = 0
    for row in range(len(key)):
        slot = slot_of(table, distinct, key[row, 0], key[row, 1])
        if table[slot] < 0:
            distinct[found, 0], distinct[found, 1] = key[row, 0], key[row, 1]
            table[slot] = found
            found += 1
        numbers[row] = table[slot]
    return numbers, distinct[:found], table


@njit(cache=True, nogil=True)
def slot_of(table: np.ndarray, keys: np.ndarray, one: np.uint64, two: np.uint64) -> np.int64:
    """Where in the hash table the key (one, two) is; or would be: there is -1."""
    last = len(table) - 1
    slot = np.int64(two & np.uint64(last))
    while table[slot] >= 0 and (keys[table[slot], 0] != one or keys[table[slot], 1] != two):
        slot = (slot + 1) & last
    return slot


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
