from collections import defaultdict

import numpy as np

from lib.output.report.repeated_pictures import repeated_images
from tests.output.report.parts import catalog_of


def example(hashes, label, product):
    words = np.column_stack([hashes, hashes]).astype(np.uint64)
    return catalog_of(label, product), words


def test_pictures_are_those_of_a_search_by_hand():
    rng = np.random.default_rng(0)
    for _ in range(30):
        product = np.sort(rng.integers(0, 12, 30))
        label, hashes = rng.integers(0, 3, 12), rng.integers(0, 9, 30)
        catalog, words = example(hashes, label, product)
        found = repeated_images(catalog, words, 100)
        products = defaultdict(set)
        for row, value in enumerate(hashes.tolist()):
            products[value].add(int(product[row]))
        counts = np.bincount(hashes)
        assert found.num_repeats == (counts[counts > 1] - 1).sum()
        assert found.num_hashes == (counts > 1).sum()
        expected = {
            tuple(sorted(group))
            for group in products.values()
            if len({int(label[p]) for p in group}) > 1
        }
        assert {tuple(picture.products.tolist()) for picture in found.pictures} == expected


def test_hashes_that_share_one_word_are_different():
    catalog, words = example(np.array([3, 3]), np.array([0, 1]), np.array([0, 1]))
    words[1, 1] = 4
    assert repeated_images(catalog, words, 10) == (0, 0, [])


def test_a_majority_is_more_than_half():
    catalog, words = example(np.zeros(5, int), np.array([1, 1, 1, 0, 2]), np.arange(5))
    (picture,) = repeated_images(catalog, words, 10).pictures
    assert picture.majority == 1
    catalog, words = example(np.zeros(2, int), np.array([1, 0]), np.arange(2))
    (picture,) = repeated_images(catalog, words, 10).pictures
    assert picture.majority == -1


def test_a_catalog_without_images_repeats_none():
    catalog, words = example(np.empty(0, int), np.array([0, 1]), np.empty(0, int))
    assert repeated_images(catalog, words, 10) == (0, 0, [])
