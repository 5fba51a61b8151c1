import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.similarity import twins
from lib.similarity.twins import MIN_COSINE, MIN_SET, STRANGERS, Pairs


def make_pairs(edges):
    """Pairs of (first, second, cosine)."""
    first, second, cosine = np.array(edges or np.zeros((0, 3))).T
    return Pairs(first.astype(np.int32), second.astype(np.int32), cosine.astype(np.float32))


def all_neighbors(embeddings):
    """Every other row, nearest first, and its cosine."""
    cosine = (embeddings @ embeddings.T).astype(np.float32)
    np.fill_diagonal(cosine, -np.inf)
    row = np.argsort(-cosine, axis=1, kind="stable")[:, :-1]
    return np.take_along_axis(cosine, row, 1), row


def unit_vectors(count, dims, seed):
    values = np.random.default_rng(seed).normal(size=(count, dims))
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def edges_of(num_products):
    product = st.integers(0, num_products - 1)
    cosine = st.integers(0, 4).map(lambda value: value / 4)  # with ties
    return st.lists(st.tuples(product, product, cosine), max_size=3 * num_products)


def joined(edges, num_products, limit):
    """Kruskal's algorithm with plain sets: the set of each product."""
    of = [{product} for product in range(num_products)]
    for first, second, _ in sorted(edges, key=lambda edge: (-edge[2], edge[0], edge[1])):
        if of[first] is not of[second] and len(of[first]) + len(of[second]) <= limit:
            union = of[first] | of[second]
            for product in union:
                of[product] = union
    return of


@given(st.data())
def test_other_products_are_those_of_a_loop(data):
    num_products = data.draw(st.integers(1, 4))
    image_product = np.array(data.draw(st.lists(st.integers(0, num_products - 1), min_size=1)))
    num_queries, found, k = (data.draw(st.integers(1, 6)) for _ in range(3))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    own = rng.integers(0, num_products, num_queries).astype(np.int32)
    cosine = -np.sort(-rng.random((num_queries, found)).astype(np.float32), axis=1)
    row = rng.integers(-1, len(image_product), (num_queries, found))
    best, best_row = twins.other_products(cosine, row, own, image_product.astype(np.int32), k)
    for query in range(num_queries):
        expected = [
            (value, image)
            for value, image in zip(cosine[query], row[query], strict=True)
            if image >= 0 and image_product[image] != own[query]
        ][:k]
        expected += [(-np.inf, -1)] * (min(k, found) - len(expected))
        assert list(zip(best[query], best_row[query], strict=True)) == expected


def test_the_threshold_is_the_quantile_of_the_nearest_stranger():
    embeddings, rng = unit_vectors(400, 6, 0), np.random.default_rng(1)
    label = rng.integers(0, 5, 400).astype(np.int16)
    nearest = [
        max(embeddings[other] @ embeddings[image] for other in np.flatnonzero(label != own))
        for image, own in enumerate(label)
    ]
    threshold = twins.twin_threshold(*all_neighbors(embeddings), label, label)
    assert MIN_COSINE < threshold < 1
    assert threshold == pytest.approx(np.quantile(nearest, 1 - STRANGERS), abs=1e-5)
    assert np.mean(np.array(nearest) > threshold) == pytest.approx(STRANGERS)


def test_images_that_meet_no_stranger_do_not_count_for_the_threshold():
    label = np.array([0, 0, 1], np.int16)
    cosine = np.array([[0.9, 0.7], [0.99, 0.98], [0.8, 0.7]], np.float32)
    row = np.array([[1, 2], [0, -1], [-1, -1]])
    assert twins.twin_threshold(cosine, row, label, label) == pytest.approx(0.7)
    only_own = np.array([[1, -1], [0, -1], [-1, -1]])
    assert twins.twin_threshold(cosine, only_own, label, label) == 1.0


def test_the_threshold_has_bounds():
    label, row = np.array([0, 1], np.int16), np.array([[1], [0]])
    for cosine, expected in ((0.1, MIN_COSINE), (1.0001, 1.0)):
        found = np.full((2, 1), cosine, np.float32)
        assert twins.twin_threshold(found, row, label, label) == expected


def test_pairs_of_placeholders_do_not_count():
    # Images 0 to 4 show "no picture" for products of five classes; 5 and 6 are one object.
    embeddings = np.zeros((8, 3))
    embeddings[:5, 0] = embeddings[5:7, 1] = embeddings[7, 2] = 1
    label = np.array([0, 1, 2, 3, 4, 0, 0, 1], np.int16)
    pairs = twins.find_pairs(*all_neighbors(embeddings), np.arange(8, dtype=np.int32), label, 0.8)
    assert sorted(zip(pairs.first, pairs.second, strict=True)) == [(5, 6), (6, 5)]
    assert pairs.cosine.tolist() == [1, 1]
    assert np.flatnonzero(pairs.has_twin(8)).tolist() == [5, 6]


@pytest.mark.parametrize("seed", range(5))
def test_pairs_are_those_of_a_loop(seed):
    rng = np.random.default_rng(seed)
    embeddings = unit_vectors(60, 4, seed)
    image_product = np.sort(rng.integers(0, 30, 60)).astype(np.int32)
    label, threshold = rng.integers(0, 2, 30).astype(np.int16), 0.8
    cosine, row = all_neighbors(embeddings)
    cosine, row = twins.other_products(cosine, row, image_product, image_product, 8)
    alike = [rows[values >= threshold] for values, rows in zip(cosine, row, strict=True)]

    def gives_away(image):
        same = [label[image_product[r]] == label[image_product[image]] for r in alike[image]]
        return sum(same) > len(same) / 2

    expected = [
        (image_product[image], image_product[other])
        for image in range(60)
        for other in alike[image]
        if gives_away(image) and gives_away(other)
    ]
    pairs = twins.find_pairs(cosine, row, image_product, label, threshold)
    assert 0 < len(expected) < sum(map(len, alike))
    assert list(zip(pairs.first, pairs.second, strict=True)) == expected
    assert (pairs.cosine >= threshold).all()
    assert (pairs.first != pairs.second).all()


def test_has_twin_names_both_products_of_a_pair():
    assert make_pairs([(0, 3, 0.9)]).has_twin(5).tolist() == [True, False, False, True, False]
    assert not make_pairs([]).has_twin(2).any()


def test_the_largest_value_of_a_product_is_that_of_its_images():
    values = np.array([0.5, 0.25, 0.75], np.float32)
    largest = twins.max_per_product(values, np.array([2, 0, 2], np.int32), 3)
    assert largest.tolist() == [0.25, -np.inf, 0.75]
    assert largest.dtype == np.float32


@settings(deadline=None)
@given(st.integers(1, MIN_SET).flatmap(lambda n: st.tuples(st.just(n), edges_of(n))))
def test_sets_below_the_limit_are_the_connected_ones(case):
    num_products, edges = case
    sets = twins.connected_sets(make_pairs(edges), num_products)
    of = joined(edges, num_products, limit=num_products)
    roots = sorted({min(members) for members in of})
    assert sets.tolist() == [roots.index(min(members)) for members in of]


@settings(deadline=None)
@given(edges_of(30))
def test_no_set_is_larger_than_the_limit(edges):
    sets = twins.connected_sets(make_pairs(edges), 30)
    assert np.bincount(sets).max() <= MIN_SET
    of = joined(edges, 30, MIN_SET)
    assert [np.flatnonzero(sets == number).tolist() for number in sets] == [
        sorted(members) for members in of
    ]


@pytest.mark.parametrize(("num_products", "limit"), [(100, 8), (1000, 20), (5000, 64)])
def test_the_limit_grows_with_the_catalog(num_products, limit):
    chain = [(i, i + 1, 0.9) for i in range(num_products - 1)]
    sizes = np.bincount(twins.connected_sets(make_pairs(chain), num_products))
    assert sizes.max() == limit


def test_the_most_alike_are_joined_first():
    # A chain of 16: only the middle link is weaker, so that it is the one to go.
    chain = [(i, i + 1, 0.5 if i == 7 else 0.9) for i in range(15)]
    assert twins.connected_sets(make_pairs(chain), 16).tolist() == [0] * 8 + [1] * 8
    # Product 0 is weakly tied to eight others that are surely twins of each other.
    edges = [(0, i, 0.5) for i in range(1, 9)] + [(1, i, 0.9) for i in range(2, 9)]
    assert twins.connected_sets(make_pairs(edges), 9).tolist() == [0] + [1] * 8


def shares(share, count=2000):
    return np.arange(count) < share * count


def test_the_split_keeps_as_much_together_as_the_products_to_classify_ask_for():
    assert twins.kept_fraction(shares(0.6)) == 1.0
    assert twins.kept_fraction(shares(0.6), shares(0.6)) == 0.0
    assert twins.kept_fraction(shares(0.6), shares(0.9)) == 0.0
    assert twins.kept_fraction(shares(0.6), shares(0.3)) == 0.5
    assert twins.kept_fraction(shares(0.6), shares(0.44)) == 0.3  # 0.27, in tenths
    assert twins.kept_fraction(shares(0.6), shares(0)) == 1.0
    assert twins.kept_fraction(shares(0), shares(0)) == 0.0


def test_a_difference_by_chance_keeps_nothing_together():
    assert twins.kept_fraction(shares(0.6, 50), shares(0.45, 50)) == 0.0


def test_groups_keep_chosen_sets_whole():
    sets = np.random.default_rng(0).integers(0, 1000, 4000)
    sets = np.unique(sets, return_inverse=True)[1].astype(np.int32)
    group = twins.split_groups(sets, 0.3, seed=5)
    size = np.bincount(group)
    assert size.min() == 1
    whole = [
        len(np.unique(group[sets == number])) == 1
        for number in range(sets.max() + 1)
        if (sets == number).sum() > 1
    ]
    assert np.mean(whole) == pytest.approx(0.3, abs=0.05)
    for members in np.flatnonzero(size > 1)[:50]:
        found = np.unique(sets[group == members])
        assert len(found) == 1
        assert size[members] == (sets == found[0]).sum()


def test_groups_depend_on_the_seed_alone():
    sets = (np.arange(600) // 3).astype(np.int32)
    group = twins.split_groups(sets, 0.5, seed=1)
    assert (group == twins.split_groups(sets, 0.5, seed=1)).all()
    assert (group != twins.split_groups(sets, 0.5, seed=2)).any()
    assert (twins.split_groups(sets, 1.0, seed=1) == sets).all()
    assert len(np.unique(twins.split_groups(sets, 0.0, seed=1))) == 600
