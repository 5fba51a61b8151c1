from dataclasses import replace

import numpy as np

from lib.models.text import full_rank as module
from lib.models.text.ngrams import count_ngrams
from tests.models.text.test_classifier import SETTINGS, fit, titles


def test_a_step_is_that_of_the_formula(tmp_path):
    """Against dense arithmetic in float64."""
    texts, label = titles(20)
    model = fit(tmp_path / "a", texts, label, replace(SETTINGS, epochs=1))
    counts = count_ngrams(texts, 1 << 14).toarray().astype(np.float64)
    present = np.flatnonzero(counts.any(0))
    idf = np.log(21 / (1 + (counts > 0).sum(0))) + 1
    tfidf = (np.where(counts > 0, 1 + np.log(np.maximum(counts, 1)), 0) * idf)[:, present]
    tfidf /= np.linalg.norm(tfidf, axis=1, keepdims=True)
    gradient = np.hstack([tfidf, np.ones((20, 1))]).T @ (1 / 3 - np.eye(3)[label])
    norm = np.sqrt((gradient**2).sum(1, keepdims=True) + module.TINY)
    np.testing.assert_array_equal(model.feature, present)
    np.testing.assert_allclose(model.weight, -0.5 * gradient / norm, atol=1e-4)
