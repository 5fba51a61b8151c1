import numpy as np
import pytest

from lib.similarity import nearest_products as module
from lib.similarity.nearest_products import nearest_products, neighbors_by_id


def by_hand(cosine, row, image_product, labelled_product, num_products, k):
    """Pairs of products, one by one."""
    best = [{} for _ in range(num_products)]
    for image, own in enumerate(image_product):
        for value, other in zip(cosine[image], row[image], strict=True):
            if other >= 0:
                product = int(labelled_product[other])
                best[own][product] = max(best[own].get(product, -np.inf), float(value))
    return [sorted(pairs.items(), key=lambda pair: (-pair[1], pair[0]))[:k] for pairs in best]


@pytest.mark.parametrize("block", [1, 7, 262_144])
def test_each_product_has_its_k_nearest_once(monkeypatch, block):
    monkeypatch.setattr(module, "IMAGES", block)
    rng = np.random.default_rng(0)
    labelled = np.sort(rng.integers(0, 9, 30)).astype(np.int32)
    images = np.sort(rng.choice([0, 1, 2, 4, 6], 20)).astype(np.int32)  # 3, 5 and 7 have none
    row = rng.integers(-1, 30, (20, 5))
    cosine = np.where(row >= 0, rng.integers(0, 8, (20, 5)) / 8, -np.inf).astype(np.float32)
    found = nearest_products(cosine, row, images, labelled, 8, 3)
    for product, expected in enumerate(by_hand(cosine, row, images, labelled, 8, 3)):
        n = len(expected)
        assert found.product[product, :n].tolist() == [other for other, _ in expected]
        assert found.cosine[product, :n].tolist() == [value for _, value in expected]
        assert (found.product[product, n:] == -1).all()
        assert (found.cosine[product, n:] == -np.inf).all()
        assert labelled[found.image[product, :n]].tolist() == [other for other, _ in expected]


def test_a_catalog_without_images_has_no_neighbors():
    none = np.zeros((0, 4), np.float32)
    empty = np.zeros(0, np.int32)
    found = nearest_products(none, none.astype(np.int64), empty, empty, 2, 3)
    assert (found.product == -1).all()


def test_neighbors_by_id_are_on_both_sides_and_never_the_product_itself():
    product_id = np.array([50, 10, 40, 20, 30, 60])
    among = np.array([True, True, True, True, True, False])
    assert neighbors_by_id(product_id, np.array([4, 1, 5]), among, 2) == [
        [1, 3, 2, 0],  # of 30: 10, 20, 40, 50
        [3, 4],  # of 10: 20, 30
        [2, 0],  # of 60: 40, 50
    ]
