import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.training import embedding_loader
from lib.training.embedding_loader import EmbeddingLoader

COUNTS = st.lists(st.integers(0, 6), min_size=1, max_size=30)


def sources_of(counts, widths=(3, 5), seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(sum(counts), width)).astype(np.float16) for width in widths]


def feed_of(counts, sources, views=4):
    counts = np.array(counts, np.int16)
    return EmbeddingLoader(sources, np.cumsum(counts, dtype=np.int64) - counts, counts, views)


def pictures_of(counts, sources, product):
    """All of a product, [count, width]."""
    first = sum(counts[:product])
    return np.concatenate([s[first : first + counts[product]] for s in sources], axis=1)


def all_of(batches):
    rows, seen = zip(*batches, strict=True)
    return np.concatenate(rows), np.concatenate(seen)


def altered(feed, rows, batch, seed=1):
    return all_of(feed.train_batches(rows, batch, np.random.SeedSequence(seed), 0, 1))


@settings(max_examples=30, deadline=None)
@given(COUNTS, st.integers(1, 7), st.integers(1, 5), st.randoms(use_true_random=False))
def test_plain_is_the_first_pictures_in_their_order(counts, batch, views, random):
    sources = sources_of(counts)
    order = np.array([random.randrange(len(counts)) for _ in range(12)])
    rows, seen = all_of(feed_of(counts, sources, views).eval_batches(order, batch))
    assert rows.tolist() == order.tolist()
    assert seen.dtype == np.float16
    expected = np.full((len(order), views, 8), np.nan, np.float16)
    for place, product in enumerate(order.tolist()):
        own = pictures_of(counts, sources, product)[:views]
        expected[place, : len(own)] = own
    np.testing.assert_array_equal(seen, expected)


@settings(max_examples=30, deadline=None)
@given(COUNTS, st.integers(1, 7), st.integers(0, 100))
def test_altered_is_as_many_pictures_of_the_product_each_once(counts, batch, seed):
    sources = sources_of(counts)
    feed, order = feed_of(counts, sources), np.arange(len(counts))
    rows, seen = altered(feed, order, batch, seed)
    assert rows.tolist() == order.tolist()
    for product, shown in enumerate(seen):
        own = {tuple(picture) for picture in pictures_of(counts, sources, product).tolist()}
        count = min(counts[product], 4)
        assert np.isnan(shown[count:]).all()
        found = {tuple(picture) for picture in shown[:count].tolist()}
        assert len(found) == count
        assert found <= own


def test_the_seeds_decide_and_not_the_batch():
    counts = [6, 1, 4, 3] * 20
    feed, order = feed_of(counts, sources_of(counts)), np.arange(80)
    one = altered(feed, order, 7)[1]
    np.testing.assert_array_equal(one, altered(feed, order, 80)[1])
    assert not np.array_equal(one, altered(feed, order, 7, seed=2)[1], equal_nan=True)


def test_every_order_is_as_likely():
    source = np.arange(6, dtype=np.float16)[:, None]
    feed = feed_of([6], [source])
    seen = altered(feed, np.zeros(6000, np.int64), 6000)[1][:, :, 0].astype(int)
    for place in range(4):
        shares = np.bincount(seen[:, place], minlength=6) / 6000
        np.testing.assert_allclose(shares, 1 / 6, atol=0.025)
    pairs = np.bincount(seen[:, 0] * 6 + seen[:, 1], minlength=36).reshape(6, 6) / 6000
    np.testing.assert_allclose(pairs, (1 - np.eye(6)) / 30, atol=0.012)


def test_memory_maps_are_fetched_before_they_are_read(tmp_path, monkeypatch):
    counts = [1, 4, 0, 2] * 4000  # pictures of two bytes: gaps of 32 KiB lie between far products
    source = sources_of(counts, [1])[0]
    np.save(tmp_path / "embeddings.npy", source)
    mapped = np.load(tmp_path / "embeddings.npy", mmap_mode="r")
    asked = []
    monkeypatch.setattr(
        embedding_loader, "fetch_ahead", lambda _, start, stop: asked.append((start, stop))
    )
    order = np.array([15_997, 1, 0])
    feed = feed_of(counts, [mapped])
    np.testing.assert_array_equal(
        all_of(feed.eval_batches(order, 2))[1],
        all_of(feed_of(counts, [source]).eval_batches(order, 2))[1],
    )
    begin = mapped.offset
    last = sum(counts[:15_997]) * 2
    assert asked == [(begin, begin + 10), (begin + last, begin + last + 8)]


def test_no_rows_give_no_batches():
    assert list(feed_of([2], sources_of([2])).eval_batches(np.arange(0), 4)) == []


@pytest.mark.parametrize("source", [np.zeros((2, 4), np.float16), np.zeros((3, 4), np.float32)])
def test_sources_of_other_pictures_or_types_are_refused(source):
    with pytest.raises(ValueError, match=r"source 0 is float.* float16 with 3 rows"):
        feed_of([1, 2], [source])


def test_mean_and_deviation_are_those_of_the_images_that_are_shown():
    counts = [1, 6, 2, 0, 3, 5, 4]
    sources = sources_of(counts)
    sources[0][:, 2] = 7  # a constant
    rows = np.array([0, 1, 3, 4, 6])
    mean, std = embedding_loader.embedding_mean_std(feed_of(counts, sources), rows)
    images = np.concatenate([pictures_of(counts, sources, row)[:4] for row in rows])
    expected = images.astype(np.float64).std(0)
    expected[2] = 1
    np.testing.assert_allclose(mean, images.mean(0, dtype=np.float64), rtol=1e-9)
    np.testing.assert_allclose(std, expected, rtol=1e-9)
