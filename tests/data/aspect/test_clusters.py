"""Aspect clusters against all partitions by brute force, and on data whose clusters are known."""

from dataclasses import replace
from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.config.model import Aspect, Model
from lib.data.aspect.clusters import (
    MIN_FRACTION,
    SMALL_LOSS,
    best_partition,
    common_shapes,
    find_clusters,
    log_aspects,
)

MODEL = Model(resize=(180, 180), crop=(160, 160), aspect=Aspect(3))


def sizes_of(aspects, height=200):
    """int32 [n, 2] of images with these ratios (width / height)."""
    return np.array([(height, round(height * aspect)) for aspect in aspects], np.int32)


def lost(values, counts, starts, centers):
    """Fraction of the pixels that a partition loses, image by image."""
    piece = np.searchsorted(starts, np.arange(len(values)), "right") - 1
    ratio = 2.0 ** np.abs(values - values[centers[piece]])
    return float((counts * (1 - 1 / ratio)).sum() / counts.sum())


def brute_force(values, counts, num_clusters):
    """The least loss of any partition in exactly `num_clusters` pieces that are large enough."""
    best = np.inf
    for inner in combinations(range(1, len(values)), num_clusters - 1):
        bounds = [0, *inner, len(values)]
        if any(counts[a:b].sum() < MIN_FRACTION * counts.sum() for a, b in pairwise(bounds)):
            continue
        total = 0.0
        for a, b in pairwise(bounds):
            ratios = 2.0 ** np.abs(values[a:b, None] - values[None, a:b])
            total += (counts[a:b, None] * (1 - 1 / ratios)).sum(axis=0).min()
        best = min(best, total / counts.sum())
    return best


@settings(deadline=None, max_examples=60)
@given(
    st.dictionaries(st.integers(-40, 40), st.integers(1, 60), min_size=1, max_size=8),
    st.integers(1, 5),
)
def test_no_partition_loses_fewer_pixels(ratios, num_clusters):
    values = np.array(sorted(ratios)) / 16
    counts = np.array([ratios[round(16 * value)] for value in values])
    starts, centers = best_partition(values, counts, num_clusters)
    assert starts[0] == 0
    assert (np.diff(starts) > 0).all()
    assert len(starts) <= num_clusters
    found = lost(values, counts, starts, centers)
    least = [brute_force(values, counts, k) for k in range(1, num_clusters + 1)]
    assert found == pytest.approx(least[len(starts) - 1], abs=1e-12)
    if found > SMALL_LOSS:
        assert found == pytest.approx(min(least), abs=1e-12)
    elif len(starts) > 1:  # one cluster fewer loses too much
        assert least[len(starts) - 2] > SMALL_LOSS


def test_the_clusters_of_the_article_come_out_where_the_data_has_them():
    rng = np.random.default_rng(0)
    true = rng.choice([0.5, 1.0, 2.0], 4000, p=[0.1, 0.7, 0.2])
    sizes = sizes_of(true * np.exp(rng.normal(0, 0.05, 4000)), 400)
    clusters = find_clusters(sizes, Aspect(3))
    np.testing.assert_allclose(2.0**clusters.aspects, [0.5, 1.0, 2.0], rtol=0.03)
    assert (clusters.assign(sizes) == np.searchsorted([0.7, 1.4], true)).mean() > 0.999


@pytest.mark.parametrize(
    ("aspects", "expected"),
    [
        ([1.0] * 50, [1.0]),  # nothing to divide
        ([0.999, 1.0, 1.002] * 20, [1.0]),  # all but equal
        ([1.0] * 100 + [2.0], [1.0]),  # too few for batches of their own
        ([1.0] * 50 + [2.0] * 50, [1.0, 2.0]),
    ],
)
def test_there_are_fewer_clusters_where_more_gain_nothing(aspects, expected):
    clusters = find_clusters(sizes_of(aspects), Aspect(4))
    np.testing.assert_allclose(2.0**clusters.aspects, expected, rtol=0.01)


def test_unknown_sizes_count_as_square_and_shape_no_cluster():
    sizes = sizes_of([2.0] * 30 + [0.5] * 30)
    clusters = find_clusters(np.concatenate([sizes, np.zeros((500, 2), np.int32)]), Aspect(3))
    np.testing.assert_allclose(2.0**clusters.aspects, [0.5, 2.0], rtol=0.01)
    assert log_aspects(np.zeros((1, 2), np.int32)).tolist() == [0.0]
    assert find_clusters(np.zeros((5, 2), np.int32), Aspect(3)).assign(sizes).max() == 0


def test_extreme_ratios_do_not_draw_a_cluster_to_them():
    clusters = find_clusters(np.array([(1, 60_000)] * 4 + [(9, 9)] * 96, np.int32), Aspect(2))
    assert clusters.aspects.tolist() == [0.0, 4.0]


@settings(deadline=None)
@given(st.integers(48, 320), st.integers(48, 320), st.floats(1.0, 1.5))
def test_batches_have_the_pixels_of_the_crop_and_the_ratio_of_the_cluster(height, width, larger):
    resize = round(height * larger), round(width * larger)
    model = replace(MODEL, crop=(height, width), resize=resize)
    for shape, aspect in zip(common_shapes(model), (0.5, 1.0, 2.0), strict=True):
        assert np.prod(shape.crop) == pytest.approx(height * width, rel=0.25)
        assert shape.crop[1] / shape.crop[0] == pytest.approx(aspect, rel=0.25)
        assert shape.resize >= shape.crop
        assert np.prod(shape.resize) / np.prod(shape.crop) == pytest.approx(
            resize[0] * resize[1] / (height * width), rel=0.05
        )


def test_sides_are_multiples_of_eight_where_those_of_the_crop_are():
    assert [shape.crop for shape in common_shapes(MODEL)] == [(224, 112), (160, 160), (112, 224)]
    odd = replace(MODEL, crop=(161, 161))
    assert [shape.crop for shape in common_shapes(odd)] == [(228, 114), (161, 161), (114, 228)]


def test_the_scale_is_relative_to_the_median_original():
    sizes = np.array([(800, 400)] * 9 + [(80, 40)] + [(600, 600)] * 10, np.int32)
    clusters = find_clusters(sizes, Aspect(3))
    model = replace(MODEL, aspect=Aspect(3, scale=0.25), resize=(160, 160))
    shapes = clusters.shapes(model)
    assert [shape.crop for shape in shapes] == [(200, 96), (152, 152)]
    assert all(shape.resize == shape.crop for shape in shapes)
    huge = replace(model, aspect=Aspect(3, scale=1.0))
    large = find_clusters(np.array([(40_000, 50)] * 4, np.int32), Aspect(3))
    assert large.shapes(huge)[0].crop[0] <= 4096
