"""Compiled loops that join 16-byte keys of images, and of sets of images.

A key, uint64 [2], is a hash already: an MD5, or what replaces one (`lib/data/perceptual_hash.py`).
Its bits choose its bucket and its slot in a hash table without any more hashing.
"""

import numpy as np

from lib.utils.compiled import njit

BUCKET_SIZE = 4096  # keys that are looked up together, about: their hash table stays in the cache
FILTER_BITS = 8  # bits of the Bloom filter for each queried key, at least
ODD = np.uint64(0x9E3779B97F4A7C15)  # 2**64 over the golden ratio: bits without a pattern


def bucket_bits(num_keys: int) -> int:
    """How many bits of a key choose its bucket."""
    return max(1, (num_keys // BUCKET_SIZE).bit_length())


@njit(cache=True, nogil=True)
def partition(key: np.ndarray, rows: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Sort indices into `rows` by bucket, the first `bits` bits of their keys.

    key: uint64 [I, 2]; rows: int [n], rows of `key`.
    Returns int32 [n], indices into `rows`, which ascend within a bucket, and int64 [2**bits + 1],
    the bounds of each bucket.
    """
    shift = np.uint64(64 - bits)
    bounds = np.zeros((1 << bits) + 1, np.int64)
    for row in rows:
        bounds[np.int64(key[row, 0] >> shift) + 1] += 1
    bounds = np.cumsum(bounds)
    end = bounds.copy()
    order = np.empty(len(rows), np.int32)
    for index in range(len(rows)):
        bucket = np.int64(key[rows[index], 0] >> shift)
        order[end[bucket]] = index
        end[bucket] += 1
    return order, bounds


@njit(cache=True, nogil=True)
def bloom_filter(
    key: np.ndarray, mask: np.ndarray, query_key: np.ndarray, query_rows: np.ndarray
) -> np.ndarray:
    """Rows of `key` in the mask, without most of those whose key is not queried: int32, ascending.

    key: uint64 [I, 2]; mask: bool [I].
    query_key: uint64 [J, 2]; query_rows: int [n], its rows that are queried.
    A bitmap of a few megabytes saves the look-up of all other keys. No queried key is lost.
    """
    size = 64
    while size < FILTER_BITS * len(query_rows):
        size *= 2
    bits, low, six = np.uint64(size - 1), np.uint64(63), np.uint64(6)
    bitmap = np.zeros(size // 64, np.uint64)
    for row in query_rows:
        bit = query_key[row, 1] & bits
        bitmap[np.int64(bit >> six)] |= np.uint64(1) << (bit & low)
    rows = np.empty(len(key), np.int32)
    num_rows = 0
    for row in range(len(key)):
        bit = key[row, 1] & bits
        rows[num_rows] = row
        num_rows += mask[row] and bitmap[np.int64(bit >> six)] >> (bit & low) & np.uint64(1)
    return rows[:num_rows].copy()


@njit(cache=True, nogil=True)
def factorize(key: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Number the distinct keys of uint64 [n, 2] in the order of their first row, as pandas does.

    Returns int32 [n], the number of each row's key; uint64 [D, 2], the distinct keys by number; and
    their hash table, int32, for `probe`.
    """
    size = 16
    while size < 2 * len(key):
        size *= 2
    table = np.full(size, -1, np.int32)
    codes = np.empty(len(key), np.int32)
    distinct = np.empty((len(key), 2), np.uint64)
    num_distinct = 0
    for row in range(len(key)):
        slot = probe(table, distinct, key[row, 0], key[row, 1])
        if table[slot] < 0:
            distinct[num_distinct, 0], distinct[num_distinct, 1] = key[row, 0], key[row, 1]
            table[slot] = num_distinct
            num_distinct += 1
        codes[row] = table[slot]
    return codes, distinct[:num_distinct], table


@njit(cache=True, nogil=True)
def probe(table: np.ndarray, distinct: np.ndarray, high: np.uint64, low: np.uint64) -> np.int64:
    """The slot of the key (high, low) in a hash table of `factorize`.

    The slot holds the number of the key, or -1 if the key is not in the table.
    """
    last = len(table) - 1
    slot = np.int64(low & np.uint64(last))
    while table[slot] >= 0 and (
        distinct[table[slot], 0] != high or distinct[table[slot], 1] != low
    ):
        slot = (slot + 1) & last
    return slot


@njit(cache=True, nogil=True)
def is_first_of_product(key: np.ndarray, product: np.ndarray) -> np.ndarray:
    """Whether no image before it of the same product has the same key: bool [I].

    key: uint64 [I, 2]; product: int [I], where images of a product are neighbors, and few.
    """
    is_first = np.ones(len(product), np.bool_)
    first = 0
    for row in range(len(product)):
        if product[row] != product[first]:
            first = row
        for other in range(first, row):
            if key[other, 0] == key[row, 0] and key[other, 1] == key[row, 1]:
                is_first[row] = False
                break
    return is_first


def set_keys(key: np.ndarray, product: np.ndarray, num_products: int) -> np.ndarray:
    """A key for each product's set of distinct images, in any order: uint64 [num_products, 2].

    key: uint64 [I, 2]; product: int [I], where images of a product are neighbors.
    A product without images has the key 0, 0.
    """
    return _sum_of_mixes(key, product, is_first_of_product(key, product), num_products)


@njit(cache=True, nogil=True)
def _sum_of_mixes(
    key: np.ndarray, product: np.ndarray, mask: np.ndarray, num_products: int
) -> np.ndarray:
    """Sums, which do not depend on the order, of two mixes of each image in the mask.

    Plain sums of keys that are near each other would agree for different sets.
    """
    sums = np.zeros((num_products, 2), np.uint64)
    for row in range(len(product)):
        if mask[row]:
            high, low = key[row, 0], key[row, 1]
            sums[product[row], 0] += _mix(high ^ _mix(low))
            sums[product[row], 1] += _mix(low ^ _mix(high ^ ODD))
    return sums


@njit(cache=True, nogil=True)
def _mix(word: np.uint64) -> np.uint64:
    """A bijection of 64 bits in which each bit changes about half of the others."""
    word = (word ^ (word >> np.uint64(31))) * ODD
    word = (word ^ (word >> np.uint64(29))) * ODD
    return word ^ (word >> np.uint64(32))
