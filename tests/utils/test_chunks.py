"""Slices that cover all rows."""

from hypothesis import given
from hypothesis import strategies as st

from lib.utils.chunks import chunks


@given(st.integers(0, 50), st.integers(1, 60))
def test_chunks_cover_every_row_once_in_order(num_rows: int, size: int) -> None:
    slices = list(chunks(num_rows, size))
    assert [row for some in slices for row in range(num_rows)[some]] == list(range(num_rows))
    assert all(some.stop - some.start == size for some in slices[:-1])
    assert all(0 < some.stop - some.start <= size for some in slices)
