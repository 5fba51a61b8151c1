"""The compiled parser against a reference in plain Python."""

import struct

import bson
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.data.records import NO_CATEGORY
from lib.data.sources.bson_kernels import (
    BEYOND,
    FULL,
    GOOD,
    LENGTH,
    MIN_PRODUCT,
    looks_like_record,
    parse_range,
    record_length,
    resync,
)
from tests.conftest import product


class Invalid(Exception):
    """The bytes are not a record."""


def document_end(data: bytes, at: int, limit: int) -> int:
    """Position of the closing zero."""
    if at + 4 > limit:
        raise Invalid
    length = struct.unpack_from("<i", data, at)[0]
    if length < 5 or at + length > limit or data[at + length - 1]:
        raise Invalid
    return at + length - 1


def value_size(data: bytes, kind: int, at: int, stop: int) -> int:
    fixed = {1: 8, 6: 0, 7: 12, 8: 1, 9: 8, 10: 0, 16: 4, 17: 8, 18: 8, 19: 16, 255: 0, 127: 0}
    if kind in fixed:
        return fixed[kind]
    if kind == 11:  # a regular expression: two strings
        first = data.find(b"\0", at, stop)
        second = data.find(b"\0", first + 1, stop)
        if first < 0 or second < 0:
            raise Invalid
        return second + 1 - at
    if kind not in (2, 3, 4, 5, 12, 13, 14, 15) or at + 4 > stop:
        raise Invalid
    length = struct.unpack_from("<i", data, at)[0]
    if length < 0 or (kind in (3, 4, 15) and length < 5):
        raise Invalid
    return length + {5: 5, 2: 4, 13: 4, 14: 4, 12: 16}.get(kind, 0)


def elements(data: bytes, at: int, limit: int):
    """Yield (kind, key, start, end) of each value of a document."""
    stop = document_end(data, at, limit)
    at += 4
    while at < stop:
        kind, key_end = data[at], data.find(b"\0", at + 1, stop)
        if key_end < 0:
            raise Invalid
        end = key_end + 1 + value_size(data, kind, key_end + 1, stop)
        if end > stop:
            raise Invalid
        yield kind, data[at + 1 : key_end], key_end + 1, end
        at = end


def image_of(data: bytes, start: int, end: int):
    """(start, length) of the image in an item of `imgs`; None for none."""
    image = None
    for kind, key, value, value_end in elements(data, start, end):
        if key != b"picture":
            continue
        if kind != 5:
            raise Invalid
        image = (value + 5, value_end - value - 5)
        if data[value + 4] == 2:  # the old subtype repeats the length
            if image[1] < 4 or struct.unpack_from("<i", data, image[0])[0] != image[1] - 4:
                raise Invalid
            image = (image[0] + 4, image[1] - 4)
    return image


def reference_record(data: bytes, at: int):
    """(end, _id, category_id, [(start, length), ...]) of the record at `at`."""
    number, category, images = None, NO_CATEGORY, []
    for kind, key, start, end in elements(data, at, len(data)):
        if key in (b"_id", b"category_id"):
            if kind not in (16, 18):
                raise Invalid
            value = struct.unpack_from("<i" if kind == 16 else "<q", data, start)[0]
            if key == b"_id":
                number = value
            else:
                category = value
        elif key == b"imgs":
            if kind != 4:
                raise Invalid
            items = list(elements(data, start, end))
            if any(item[0] != 3 for item in items):
                raise Invalid
            images = [image_of(data, item[2], item[3]) for item in items]
            images = [image for image in images if image is not None]
    if number is None:
        raise Invalid
    return document_end(data, at, len(data)) + 1, number, category, images


def reference_resync(data: bytes, at: int, stop: int) -> int:
    for position in range(at, min(stop, len(data) - MIN_PRODUCT + 1)):
        try:
            reference_record(data, position)
            return position
        except Invalid:
            pass
    return -1


def parse(data: bytes, max_records: int = 50, max_images: int = 200):
    """(code, position, records, images) of `parse_range` over all bytes."""
    records = np.zeros((4, max_records), np.int64)
    images = np.zeros((2, max_images), np.int64)
    array = np.frombuffer(data, np.uint8)
    at, num_records, num_images, code = parse_range(array, 0, len(data), records, images)
    return code, at, records[:, :num_records].T.tolist(), images[:, :num_images].T.tolist()


def corrupted(products, changed_bytes) -> bytes:
    records = [product(i, [bytes([i]) * size] * count, i) for i, (count, size) in products]
    data = bytearray(b"".join(bson.encode(record) for record in records))
    for at, value in changed_bytes:
        data[at % len(data)] = value
    return bytes(data)


FILES = st.builds(
    corrupted,
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30)), min_size=1, max_size=5).map(
        lambda products: list(enumerate(products))
    ),
    st.lists(st.tuples(st.integers(0, 900), st.integers(0, 255)), max_size=3),
)


@settings(max_examples=300, deadline=None)
@given(FILES)
def test_records_are_parsed_as_by_the_reference(data):
    at, records, images, valid = 0, [], [], True
    while at < len(data):
        try:
            end, number, category, of_record = reference_record(data, at)
        except Invalid:
            valid = False
            break
        records.append([at, number, category, len(of_record)])
        images += [list(image) for image in of_record]
        at = end
    code, position, parsed_records, parsed_images = parse(data)
    assert (code == GOOD) == valid
    assert position == at
    assert parsed_records == records
    assert parsed_images == images


@settings(max_examples=150, deadline=None)
@given(FILES, st.integers(0, 200), st.integers(0, 600))
def test_resync_finds_the_same_record_as_the_reference(data, at, stop):
    scratch = np.zeros((2, 50), np.int64)
    found = resync(np.frombuffer(data, np.uint8), at, stop, scratch, np.array([1 << 40]))
    assert found == reference_resync(data, at, stop)


def test_full_arrays_end_the_parsing_before_the_record_that_does_not_fit():
    records = [bson.encode(product(i, [b"x"] * 2, i)) for i in range(5)]
    data = b"".join(records)
    code, at, parsed, _ = parse(data, max_records=3)
    assert (code, at, len(parsed)) == (FULL, sum(map(len, records[:3])), 3)
    code, at, parsed, images = parse(data, max_images=5)
    assert (code, at, len(parsed), len(images)) == (FULL, sum(map(len, records[:2])), 2, 4)


@pytest.mark.parametrize(("length", "code"), [(4, LENGTH), (-1, LENGTH), (99, BEYOND)])
def test_a_wrong_length_is_told_from_a_truncated_record(length, code):
    data = length.to_bytes(4, "little", signed=True) + bytes(20)
    assert parse(data)[:2] == (code, 0)
    assert record_length(np.frombuffer(data, np.uint8), 0) == length


def test_a_length_that_is_cut_off_is_taken_for_the_least_record():
    assert record_length(np.zeros(3, np.uint8), 0) == MIN_PRODUCT


def test_a_plausible_record_has_a_length_that_fits_and_a_closing_zero():
    data = bson.encode(product(1, [b"x"], 2))
    assert looks_like_record(np.frombuffer(data, np.uint8), 0)
    assert looks_like_record(np.frombuffer(data, np.uint8), len(data))
    assert not looks_like_record(np.frombuffer(data[:-1], np.uint8), 0)
    assert not looks_like_record(np.frombuffer(data[:-1] + b"\1", np.uint8), 0)
    assert not looks_like_record(np.frombuffer(data, np.uint8), len(data) - 3)


def test_the_search_for_a_record_takes_a_bounded_number_of_steps():
    """At every other position a record of 655,370 bytes seems to begin: without a bound, hours."""
    data = np.frombuffer(b"\x0a\0" * (8 << 20), np.uint8)
    left = np.array([1 << 22])
    assert resync(data, 0, len(data), np.empty((2, 9), np.int64), left) == -1
    assert -(1 << 20) < left[0] <= 0  # the record that was looked at is looked at to its end
