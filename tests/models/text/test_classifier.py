from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from lib.config.inputs.text import Text
from lib.errors import UserError
from lib.models.text import classifier as module
from lib.models.text.fit import fit as fit_epochs

NOUNS = ["shoe", "bag", "watch"]
SETTINGS = Text(num_features=1 << 14, epochs=3)
LOW_RANK = replace(SETTINGS, weights="low_rank", rank=8, epochs=9)


def titles(count: int, seed: int = 0) -> tuple[pa.Table, np.ndarray]:
    """Titles that name their class among words that say nothing."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, len(NOUNS), count)
    noise = rng.integers(0, 30, (count, 2))
    rows = [f"w{a} {NOUNS[c]} w{b}" for c, (a, b) in zip(label, noise, strict=True)]
    return pa.table({"title": rows}), label


def fit(folder, texts, label, settings=SETTINGS, seed=1) -> module.TextClassifier:
    folder.mkdir()
    *_, (model, _) = fit_epochs(folder, texts, label, len(NOUNS), settings, seed)
    return model


@pytest.mark.parametrize("settings", [SETTINGS, LOW_RANK], ids=["full", "low_rank"])
def test_titles_tell_the_class_of_other_products(tmp_path, settings):
    model = fit(tmp_path / "a", *titles(300), settings)
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


@pytest.mark.parametrize("settings", [SETTINGS, LOW_RANK], ids=["full", "low_rank"])
def test_a_product_without_a_known_text_has_no_vote(tmp_path, settings):
    texts, label = titles(60)
    label[:40] = 2
    model = fit(
        tmp_path / "a", texts, label, replace(settings, num_features=1 << 22)
    )  # no collisions
    probs = model.predict(pa.table({"title": [None, "", "§§", "жжж"]}))
    np.testing.assert_allclose(probs, 1 / 3, atol=1e-3)
    assert (probs.argmax(1) == 2).all()  # the most frequent class is listed first
    other = np.array([0.34, 0.33, 0.33])
    assert ((probs + other).argmax(1) == 0).all()


@pytest.mark.parametrize("settings", [SETTINGS, LOW_RANK], ids=["full", "low_rank"])
def test_what_is_saved_is_read_and_damage_is_one_line(tmp_path, settings):
    model = fit(tmp_path / "a", *titles(60), settings)
    model.save(tmp_path)
    texts, _ = titles(10, seed=1)
    read = module.TextClassifier.load(tmp_path)
    np.testing.assert_array_equal(read.predict(texts), model.predict(texts))
    np.save(tmp_path / "weight.npy", model.weight[1:])
    with pytest.raises(UserError):
        module.TextClassifier.load(tmp_path)


def test_vectors_of_other_ngrams_are_one_line(tmp_path):
    model = fit(tmp_path / "a", *titles(60), LOW_RANK)
    model.save(tmp_path)
    np.save(tmp_path / "embedding.npy", model.embedding[1:])
    with pytest.raises(UserError, match="other classes or features"):
        module.TextClassifier.load(tmp_path)
