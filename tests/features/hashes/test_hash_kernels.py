"""Counts of holders against plain numpy, and entries of holder groups against a search."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.features.hashes.hash_kernels import (
    ClassCountTable,
    ImageLabelCounts,
    QueriedKeys,
    ReferenceKeys,
    count_holders,
    find_class,
)
from lib.features.hashes.key_kernels import partition

untimed = settings(deadline=None)  # the machine may be busy

CLASSES, PRODUCTS, K, CROWD = 4, 40, 3, 5


@untimed
@given(st.lists(st.lists(st.integers(0, 9), unique=True), min_size=1))
def test_every_entry_of_a_group_is_found(groups: list[list[int]]) -> None:
    classes = np.array([class_id for group in groups for class_id in group], np.int16)
    start = np.cumsum([0, *(len(group) for group in groups)], dtype=np.int32)
    for number, group in enumerate(groups):
        first, last = start[number], start[number + 1]
        for class_id in range(-1, 10):
            entry = find_class(classes, first, last, class_id)
            if class_id in group:
                assert first <= entry < last
                assert classes[entry] == class_id
            else:
                assert entry == -1


class Case:
    """Products with one image each, some of them references, that query for their own image."""

    def __init__(self, seed: int, num_images: int) -> None:
        rng = np.random.default_rng(seed)
        words = rng.integers(0, 2**64, (num_images, 2), np.uint64)
        self.image = rng.integers(0, num_images, PRODUCTS)
        self.key = words[self.image]
        self.label = rng.integers(0, CLASSES, PRODUCTS).astype(np.int16)
        self.fold = rng.integers(-1, 3, PRODUCTS).astype(np.int8)
        self.is_reference = rng.random(PRODUCTS) < 0.8

    def counted(self, always_leave_out: bool, bits: int = 2) -> ImageLabelCounts:
        order, bounds = partition(self.key, np.flatnonzero(self.is_reference), bits)
        reference_rows = np.flatnonzero(self.is_reference).astype(np.int32)[order]
        result = ImageLabelCounts(
            np.zeros(PRODUCTS, np.int32),
            np.where(self.is_reference, self.label, -1).astype(np.int16),
            np.full((PRODUCTS, K), -1, np.int16),
            np.zeros(PRODUCTS, np.int32),
            np.zeros(PRODUCTS, np.int32),
            np.full(PRODUCTS, np.nan, np.float32),
            np.zeros(PRODUCTS, bool),
            ClassCountTable(
                np.empty(PRODUCTS + 2, np.int32),
                np.empty(PRODUCTS * 4, np.int16),
                np.empty(PRODUCTS * 4, np.int32),
            ),
        )
        rows, products = np.arange(PRODUCTS), np.arange(PRODUCTS, dtype=np.int32)
        queries = QueriedKeys(self.key, rows, self.fold, *partition(self.key, rows, bits))
        references = ReferenceKeys(
            self.key, reference_rows, bounds, products, self.label, self.fold
        )
        num_groups, num_entries = count_holders(
            queries, references, result, CROWD, always_leave_out
        )
        assert num_groups < len(result.table.start)
        assert result.table.start[num_groups] == num_entries
        return result

    def holders(self, query: int, always_leave_out: bool) -> np.ndarray:
        """Mask of the references whose labels count for a query: bool [PRODUCTS]."""
        holders = self.is_reference & (self.image == self.image[query])
        if self.fold[query] >= 0 and (always_leave_out or holders.sum() > CROWD):
            return holders & (self.fold != self.fold[query])
        return holders & (np.arange(PRODUCTS) != query)


@untimed
@given(st.integers(0, 2**32 - 1), st.sampled_from([2, 8, 40]), st.booleans(), st.integers(1, 5))
def test_counts_of_holders_equal_plain_numpy(
    seed: int, num_images: int, always_leave_out: bool, bits: int
) -> None:
    case = Case(seed, num_images)
    result = case.counted(always_leave_out, bits)
    for query in range(PRODUCTS):
        label = case.label[case.holders(query, always_leave_out)]
        counts = np.bincount(label, minlength=CLASSES)
        order = np.argsort(-counts, kind="stable")[:K]
        np.testing.assert_array_equal(result.classes[query], np.where(counts[order], order, -1))
        assert result.total[query] == counts.sum()
        assert result.distinct[query] == (counts > 0).sum()
        by_class = result.count_of(np.full(CLASSES, query), np.arange(CLASSES, dtype=np.int16))
        np.testing.assert_array_equal(by_class, counts)
        share = counts[counts > 0] / max(counts.sum(), 1)
        entropy = -(share * np.log(share)).sum() if len(label) else np.nan
        np.testing.assert_allclose(result.entropy[query], entropy, atol=1e-5)
        assert result.unanimous[query] == (len(np.unique(label)) == 1)


def test_the_cases_have_images_with_few_and_with_many_holders() -> None:
    """Else the comparison above would not see both rules."""
    sizes = [np.bincount(Case(0, num_images).image) for num_images in (2, 40)]
    assert (sizes[0] > CROWD).all()
    assert (sizes[1] <= CROWD).all()
