import numpy as np
import pyarrow as pa
import pytest

from lib.config.inputs.text import Text
from lib.errors import UserError
from lib.models.text import classifier as module

NOUNS = ["shoe", "bag", "watch"]
SETTINGS = Text(num_features=1 << 14, epochs=3)


def titles(count: int, seed: int = 0) -> tuple[pa.Table, np.ndarray]:
    """Titles that name their class among words that say nothing."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, len(NOUNS), count)
    noise = rng.integers(0, 30, (count, 2))
    rows = [f"w{a} {NOUNS[c]} w{b}" for c, (a, b) in zip(label, noise, strict=True)]
    return pa.table({"title": rows}), label


def fit(folder, texts, label, settings=SETTINGS, seed=1) -> module.TextClassifier:
    folder.mkdir()
    *_, (model, _) = module.fit(folder, texts, label, len(NOUNS), settings, seed)
    return model


def test_titles_tell_the_class_of_other_products(tmp_path):
    model = fit(tmp_path / "a", *titles(300))
    texts, label = titles(100, seed=1)
    probs = model.predict(texts)
    assert probs.dtype == np.float32
    np.testing.assert_allclose(probs.sum(1), 1, atol=1e-5)
    assert (probs.argmax(1) == label).all()
    figures = model.evaluate(texts, label)
    assert figures["valid_accuracy"] == 1
    assert figures["valid_loss"] < 0.3
    assert model.evaluate(texts.slice(0, 0), label[:0]) == {
        "valid_loss": None,
        "valid_accuracy": None,
    }


@pytest.mark.parametrize("chunk", [7, 50_000])
def test_the_same_seed_gives_the_same_bytes(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(module, "CHUNK", chunk)
    models = [fit(tmp_path / str(i), *titles(60), seed=i // 2) for i in range(3)]
    for name in module.ARRAYS:
        first, second = (getattr(model, name) for model in models[:2])
        assert first.tobytes() == second.tobytes(), name
    assert models[0].weight.tobytes() != models[2].weight.tobytes()


def test_chunks_change_the_order_alone(tmp_path, monkeypatch):
    whole = fit(tmp_path / "whole", *titles(60))
    monkeypatch.setattr(module, "CHUNK", 7)
    parts = fit(tmp_path / "parts", *titles(60))
    for name in ("feature", "idf", "prior"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(parts, name))
    texts, label = titles(50, seed=2)
    assert parts.evaluate(texts, label)["valid_accuracy"] == 1


def test_a_step_is_that_of_the_formula(tmp_path):
    """Against dense arithmetic in float64."""
    texts, label = titles(20)
    model = fit(tmp_path / "a", texts, label, Text(num_features=1 << 14, epochs=1))
    counts = module.count_ngrams(texts, 1 << 14).toarray().astype(np.float64)
    present = np.flatnonzero(counts.any(0))
    idf = np.log(21 / (1 + (counts > 0).sum(0))) + 1
    tfidf = (np.where(counts > 0, 1 + np.log(np.maximum(counts, 1)), 0) * idf)[:, present]
    tfidf /= np.linalg.norm(tfidf, axis=1, keepdims=True)
    gradient = np.hstack([tfidf, np.ones((20, 1))]).T @ (1 / 3 - np.eye(3)[label])
    norm = np.sqrt((gradient**2).sum(1, keepdims=True) + module.TINY)
    np.testing.assert_array_equal(model.feature, present)
    np.testing.assert_allclose(model.weight, -0.5 * gradient / norm, atol=1e-4)


def test_a_product_without_a_known_text_has_no_vote(tmp_path):
    texts, label = titles(60)
    label[:40] = 2
    model = fit(tmp_path / "a", texts, label, Text(num_features=1 << 22))  # no collisions
    probs = model.predict(pa.table({"title": [None, "", "§§", "жжж"]}))
    np.testing.assert_allclose(probs, 1 / 3, atol=1e-3)
    assert (probs.argmax(1) == 2).all()  # the most frequent class is listed first
    other = np.array([0.34, 0.33, 0.33])
    assert ((probs + other).argmax(1) == 0).all()


def test_what_is_saved_is_read_and_damage_is_one_line(tmp_path):
    model = fit(tmp_path / "a", *titles(60))
    model.save(tmp_path)
    texts, _ = titles(10, seed=1)
    read = module.TextClassifier.load(tmp_path)
    np.testing.assert_array_equal(read.predict(texts), model.predict(texts))
    np.save(tmp_path / "weight.npy", model.weight[1:])
    with pytest.raises(UserError):
        module.TextClassifier.load(tmp_path)
