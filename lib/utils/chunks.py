"""Slices of rows that fit into memory or a cache."""

from collections.abc import Iterator


def chunks(num_rows: int, size: int) -> Iterator[slice]:
    """Consecutive slices of at most `size` rows that cover `num_rows` rows."""
    for first in range(0, num_rows, size):
        yield slice(first, min(first + size, num_rows))
