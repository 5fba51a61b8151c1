import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.training.loaders import embedding_loader
from lib.training.loaders.embedding_loader import EmbeddingLoader

COUNTS = st.lists(st.integers(0, 6), min_size=1, max_size=30)


def sources_of(counts, widths=(3, 5), seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(sum(counts), width)).astype(np.float16) for width in widths]


def loader_of(counts, sources, views=4, mirrored=()):
    counts = np.array(counts, np.int16)
    first = np.cumsum(counts, dtype=np.int64) - counts
    return EmbeddingLoader(sources, first, counts, views, mirrored)


def embeddings_of(counts, sources, product):
    """All of a product, [count, width]."""
    first = sum(counts[:product])
    return np.concatenate([s[first : first + counts[product]] for s in sources], axis=1)


def all_of(batches):
    rows, inputs = zip(*batches, strict=True)
    return np.concatenate(rows), np.concatenate(inputs)


def train_inputs(loader, rows, batch, seed=1):
    return all_of(loader.train_batches(rows, batch, np.random.SeedSequence(seed), 0, 1))


@settings(max_examples=30, deadline=None)
@given(COUNTS, st.integers(1, 7), st.integers(1, 5), st.randoms(use_true_random=False))
def test_evaluation_shows_the_first_images_in_their_order(counts, batch, views, random):
    sources = sources_of(counts)
    order = np.array([random.randrange(len(counts)) for _ in range(12)])
    rows, inputs = all_of(loader_of(counts, sources, views).eval_batches(order, batch))
    assert rows.tolist() == order.tolist()
    assert inputs.dtype == np.float16
    expected = np.full((len(order), views, 8), np.nan, np.float16)
    for i, product in enumerate(order.tolist()):
        own = embeddings_of(counts, sources, product)[:views]
        expected[i, : len(own)] = own
    np.testing.assert_array_equal(inputs, expected)


@settings(max_examples=30, deadline=None)
@given(COUNTS, st.integers(1, 7), st.integers(0, 100))
def test_training_shows_random_images_of_the_product_each_once(counts, batch, seed):
    sources = sources_of(counts)
    loader, order = loader_of(counts, sources), np.arange(len(counts))
    rows, inputs = train_inputs(loader, order, batch, seed)
    assert rows.tolist() == order.tolist()
    for product, shown in enumerate(inputs):
        own = {tuple(image) for image in embeddings_of(counts, sources, product).tolist()}
        count = min(counts[product], 4)
        assert np.isnan(shown[count:]).all()
        images = {tuple(image) for image in shown[:count].tolist()}
        assert len(images) == count
        assert images <= own


def test_the_seeds_decide_the_order_and_the_batch_size_does_not():
    counts = [6, 1, 4, 3] * 20
    loader, order = loader_of(counts, sources_of(counts)), np.arange(80)
    one = train_inputs(loader, order, 7)[1]
    np.testing.assert_array_equal(one, train_inputs(loader, order, 80)[1])
    assert not np.array_equal(one, train_inputs(loader, order, 7, seed=2)[1], equal_nan=True)


def test_the_order_of_images_is_a_fisher_yates_shuffle():
    counts = [6, 0, 4, 1, 3]
    source = np.arange(sum(counts), dtype=np.float16)[:, None]
    rows = np.array([0, 2, 4, 3, 1, 0])
    _, inputs = train_inputs(loader_of(counts, [source]), rows, 4, seed=9)
    draws = np.random.default_rng(np.random.SeedSequence(9)).random((len(rows), 4))
    for row, draw, values in zip(rows.tolist(), draws, inputs[:, :, 0], strict=True):
        images = list(range(sum(counts[:row]), sum(counts[: row + 1])))
        for i in range(min(4, len(images))):
            other = i + int(draw[i] * (len(images) - i))
            images[i], images[other] = images[other], images[i]
        np.testing.assert_array_equal(values[: len(images)], images[:4])


@pytest.mark.parametrize("mirror", [False, True])
def test_evaluation_shows_all_images_or_all_mirrored_ones(mirror):
    counts, order = [3, 0, 5, 1], np.array([2, 0, 1, 3])
    sources, others = sources_of(counts), sources_of(counts, seed=1)
    loader = loader_of(counts, sources, mirrored=others)
    expected = loader_of(counts, others if mirror else sources).eval_batches(order, 3)
    shown = loader.eval_batches(order, 3, mirror)
    np.testing.assert_array_equal(all_of(shown)[1], all_of(expected)[1])


def test_training_shows_about_half_of_the_images_mirrored_and_the_rest_as_it_was():
    counts, order = [4, 1, 6, 2] * 100, np.arange(400)
    sources, others = sources_of(counts), sources_of(counts, seed=1)
    inputs = train_inputs(loader_of(counts, sources, mirrored=others), order, 64)[1]
    plain, mirrored = (train_inputs(loader_of(counts, s), order, 64)[1] for s in (sources, others))
    present = ~np.isnan(plain[..., 0])
    is_mirrored = (inputs == mirrored).all(2)[present]
    assert 0.45 < is_mirrored.mean() < 0.55
    assert ((inputs == plain).all(2)[present] ^ is_mirrored).all()


def test_every_order_of_images_is_equally_likely():
    source = np.arange(6, dtype=np.float16)[:, None]
    loader = loader_of([6], [source])
    inputs = train_inputs(loader, np.zeros(6000, np.int64), 6000)[1][:, :, 0].astype(int)
    for place in range(4):
        shares = np.bincount(inputs[:, place], minlength=6) / 6000
        np.testing.assert_allclose(shares, 1 / 6, atol=0.025)
    pairs = np.bincount(inputs[:, 0] * 6 + inputs[:, 1], minlength=36).reshape(6, 6) / 6000
    np.testing.assert_allclose(pairs, (1 - np.eye(6)) / 30, atol=0.012)


def test_memory_maps_are_fetched_before_they_are_read(tmp_path, monkeypatch):
    counts = [1, 4, 0, 2] * 4000  # images of two bytes: gaps of 32 KiB lie between far products
    source = sources_of(counts, [1])[0]
    np.save(tmp_path / "embeddings.npy", source)
    mapped = np.load(tmp_path / "embeddings.npy", mmap_mode="r")
    fetched = []
    monkeypatch.setattr(
        embedding_loader, "fetch_ahead", lambda _, start, stop: fetched.append((start, stop))
    )
    order = np.array([15_997, 1, 0])
    loader = loader_of(counts, [mapped])
    np.testing.assert_array_equal(
        all_of(loader.eval_batches(order, 2))[1],
        all_of(loader_of(counts, [source]).eval_batches(order, 2))[1],
    )
    begin = mapped.offset
    last = sum(counts[:15_997]) * 2
    assert fetched == [(begin, begin + 10), (begin + last, begin + last + 8)]


def test_no_rows_give_no_batches():
    assert list(loader_of([2], sources_of([2])).eval_batches(np.arange(0), 4)) == []


@pytest.mark.parametrize("source", [np.zeros((2, 4), np.float16), np.zeros((3, 4), np.float32)])
def test_sources_of_too_few_images_or_another_type_are_refused(source):
    with pytest.raises(ValueError, match=r"source 0 is float.* float16 with 3 rows"):
        loader_of([1, 2], [source])


def test_mean_and_deviation_are_those_of_the_images_of_the_products():
    counts = [1, 6, 2, 0, 3, 5, 4]
    sources = sources_of(counts)
    sources[0][:, 2] = 7  # a constant
    rows = np.array([0, 1, 3, 4, 6])
    mean, std = embedding_loader.embedding_mean_std(loader_of(counts, sources), rows)
    images = np.concatenate([embeddings_of(counts, sources, row)[:4] for row in rows])
    expected = images.astype(np.float64).std(0)
    expected[2] = 1
    np.testing.assert_allclose(mean, images.mean(0, dtype=np.float64), rtol=1e-9)
    np.testing.assert_allclose(std, expected, rtol=1e-9)


@settings(max_examples=30, deadline=None)
@given(COUNTS, st.integers(1, 7), st.integers(0, 100))
def test_every_image_of_a_product_has_the_embedding_of_its_texts(counts, batch, seed):
    rng = np.random.default_rng(seed)
    images, mirrored = sources_of(counts, (3,)), sources_of(counts, (3,), seed=1)
    texts = rng.normal(size=(len(counts), 2)).astype(np.float16)
    counts_array = np.array(counts, np.int16)
    first = np.cumsum(counts_array, dtype=np.int64) - counts_array
    loader = EmbeddingLoader(images, first, counts_array, 4, mirrored, [texts])
    without = EmbeddingLoader(images, first, counts_array, 4, mirrored)
    alone = EmbeddingLoader([], first, counts_array, 4, of_products=[texts])
    rows = np.arange(len(counts))
    assert (loader.width, alone.width) == (5, 2)
    for shown, of_images in (
        (train_inputs(loader, rows, batch, seed), train_inputs(without, rows, batch, seed)),
        *((all_of(x.eval_batches(rows, batch, m)) for x in (loader, without)) for m in (0, 1)),
    ):
        np.testing.assert_array_equal(shown[1][..., :3], of_images[1])
        present = ~np.isnan(of_images[1]).any(2)
        expected = np.where(present[..., None], texts[:, None], np.float16(np.nan))
        np.testing.assert_array_equal(shown[1][..., 3:], expected)
    np.testing.assert_array_equal(all_of(alone.eval_batches(rows, batch))[1], expected)


def test_texts_of_too_few_products_are_refused():
    with pytest.raises(ValueError, match=r"source 1 .* 3 rows or more"):
        EmbeddingLoader(
            sources_of([1, 1, 1], (3,)),
            np.arange(3),
            np.ones(3, np.int16),
            of_products=[np.zeros((2, 2), np.float16)],
        )
