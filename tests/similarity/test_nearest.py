"""The search of the nearest images against brute force, exact and through an index."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.similarity import nearest as module
from lib.similarity.nearest import NearestImages, scale_of, unit_vectors
from tests.conftest import ROOT

DIMS = 24


def bursts(num_images: int, dims: int = DIMS, seed: int = 0) -> np.ndarray:
    """Embeddings of photographs, each followed by a noisy copy (cosine about 0.9): float16."""
    rng = np.random.default_rng(seed)
    originals = rng.normal(size=(num_images // 2, dims))
    copies = originals + 0.45 * rng.normal(size=originals.shape)
    spectrum = np.linspace(3, 0.1, dims)
    images = np.stack([originals, copies], axis=1).reshape(-1, dims) * spectrum
    return images.astype(np.float16)


def cosines(queries: np.ndarray, embeddings: np.ndarray, scale: np.ndarray) -> np.ndarray:
    units = [
        scaled / np.maximum(np.linalg.norm(scaled, axis=1, keepdims=True), 1e-30)
        for scaled in (array.astype(np.float64) * scale for array in (queries, embeddings))
    ]
    return units[0] @ units[1].T


@pytest.fixture
def through_an_index(monkeypatch):
    """Search in an index, of a hundred cells and few probes, from 1,000 images on."""
    monkeypatch.setattr(module, "EXACT", 1000)
    monkeypatch.setattr(module, "NUM_PROBES", 16)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    num_images=st.integers(1, 60),
    num_queries=st.integers(0, 8),
    k=st.integers(1, 9),
)
def test_an_exact_search_equals_brute_force(tmp_path_factory, seed, num_images, num_queries, k):
    rng = np.random.default_rng(seed)
    embeddings = rng.normal(size=(num_images, DIMS)).astype(np.float16)
    queries = rng.normal(size=(num_queries, DIMS)).astype(np.float16)
    scale = rng.uniform(0.3, 3, DIMS).astype(np.float32)
    folder = tmp_path_factory.mktemp("index")
    cosine, row = NearestImages.build(folder, embeddings, scale, 1).search(queries, k)
    expected = cosines(queries, embeddings, scale)
    num_found = min(k, num_images)
    best = np.argsort(-expected, axis=1)[:, :num_found]
    np.testing.assert_array_equal(row[:, :num_found], best)
    np.testing.assert_allclose(
        cosine[:, :num_found], np.take_along_axis(expected, best, 1), rtol=1e-4, atol=1e-5
    )
    assert (row[:, num_found:] == -1).all()
    assert (cosine[:, num_found:] == -np.inf).all()
    assert not list(folder.iterdir())


@pytest.mark.parametrize("dims", [24, 10, 7])
def test_an_index_finds_the_copies(tmp_path, through_an_index, dims):
    embeddings = bursts(6000, dims)
    scale = scale_of(embeddings)
    _, row = NearestImages.build(tmp_path, embeddings, scale, 2).search(embeddings, 3)
    expected = cosines(embeddings, embeddings, scale)
    np.fill_diagonal(expected, -1)
    nearest = expected.argmax(axis=1)
    assert (row == nearest[:, None]).any(axis=1).mean() > 0.95
    assert (row[:, 0] == np.arange(6000)).mean() > 0.999


def test_an_index_returns_exact_cosines_falling(tmp_path, through_an_index):
    embeddings = bursts(3000)
    scale = scale_of(embeddings)
    cosine, row = NearestImages.build(tmp_path, embeddings, scale, 2).search(embeddings[:200], 9)
    assert (row >= 0).all()
    assert (np.diff(cosine, axis=1) <= 0).all()
    expected = np.take_along_axis(cosines(embeddings[:200], embeddings, scale), row, 1)
    np.testing.assert_allclose(cosine, expected, atol=1e-5)
    assert all(len(set(one)) == 9 for one in row.tolist())


def test_a_kept_index_of_mapped_embeddings_gives_equal_answers(tmp_path, through_an_index):
    np.save(tmp_path / "embeddings.npy", bursts(3000))
    embeddings = np.load(tmp_path / "embeddings.npy", mmap_mode="r")
    scale = scale_of(embeddings)
    built = NearestImages.build(tmp_path, embeddings, scale, 2).search(embeddings[:500], 5)
    loaded = NearestImages.load(tmp_path, embeddings, scale, 2).search(embeddings[:500], 5)
    for one, other in zip(built, loaded, strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_index_has_the_same_bytes_when_it_is_built_again(tmp_path, through_an_index):
    embeddings = bursts(3000)
    for name in "ab":
        (tmp_path / name).mkdir()
        NearestImages.build(tmp_path / name, embeddings, scale_of(embeddings), 2)
    one, other = ((tmp_path / name / module.INDEX).read_bytes() for name in "ab")
    assert one == other


def test_an_index_of_other_embeddings_is_an_error(tmp_path, through_an_index):
    embeddings = bursts(3000)
    scale = scale_of(embeddings)
    NearestImages.build(tmp_path, embeddings, scale, 1)
    with pytest.raises(ValueError, match="has 3000 images of 24 numbers, the embeddings have 2998"):
        NearestImages.load(tmp_path, embeddings[:-2], scale, 1)


def test_small_sets_load_without_a_file(tmp_path):
    embeddings = bursts(20)
    scale = scale_of(embeddings)
    cosine, row = NearestImages.load(tmp_path, embeddings, scale, 1).search(embeddings, 1)
    assert row[:, 0].tolist() == list(range(20))
    np.testing.assert_allclose(cosine, 1, atol=1e-5)


def test_the_threads_of_torch_are_restored(tmp_path, through_an_index):
    import torch

    before = torch.get_num_threads()
    embeddings = bursts(2000)
    NearestImages.build(tmp_path, embeddings, scale_of(embeddings), before + 1).search(
        embeddings[:5], 1
    )
    assert torch.get_num_threads() == before


def test_zero_vectors_have_cosine_0_in_an_exact_search(tmp_path):
    embeddings = bursts(20)
    embeddings[4] = 0
    cosine, row = NearestImages.build(tmp_path, embeddings, np.ones(DIMS, "f4"), 1).search(
        embeddings[3:5], 20
    )
    assert cosine[0][row[0] == 4] == 0
    assert (cosine[1] == 0).all()


def test_zero_vectors_do_not_disturb_an_index(tmp_path, through_an_index):
    embeddings = bursts(3000)
    embeddings[100:400] = 0
    nearest = NearestImages.build(tmp_path, embeddings, np.ones(DIMS, "f4"), 2)
    cosine, row = nearest.search(embeddings[98:404], 2)
    assert not np.isnan(cosine).any()
    assert row[[0, 1, -1, -2], 0].tolist() == [98, 99, 403, 402]
    assert (cosine[2:-4] <= 0).all()


def test_the_scale_is_one_over_the_standard_deviation():
    embeddings = np.array([[1, 5, 2], [3, 5, 2], [5, 5, 8]], np.float16)
    expected = [1 / np.std([1, 3, 5]), 0, 1 / np.std([2, 2, 8])]
    np.testing.assert_allclose(scale_of(embeddings), expected, rtol=1e-6)
    assert scale_of(embeddings).dtype == np.float32
    assert scale_of(embeddings[:0]).tolist() == [0, 0, 0]


def test_the_scale_of_many_rows_is_that_of_a_sample(monkeypatch):
    monkeypatch.setattr(module, "SAMPLE", 400)
    embeddings = bursts(3000)
    np.testing.assert_array_equal(scale_of(embeddings), scale_of(embeddings[::8]))
    np.testing.assert_allclose(scale_of(embeddings), 1 / embeddings.astype("f8").std(0), rtol=0.15)


def test_unit_vectors_take_rows_or_a_slice():
    embeddings = bursts(10)
    scale = scale_of(embeddings)
    units = unit_vectors(embeddings, slice(2, 5), scale)
    np.testing.assert_array_equal(unit_vectors(embeddings, np.array([2, 3, 4]), scale), units)
    np.testing.assert_allclose(np.linalg.norm(units, axis=1), 1, rtol=1e-6)


def test_an_exact_search_needs_no_faiss():
    code = "import sys, lib.similarity.nearest; sys.exit('faiss' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
