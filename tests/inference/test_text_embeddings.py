from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest

from lib.errors import UserError
from lib.inference import text_embeddings
from lib.inference.text_embeddings import write_text_embeddings

TEXTS = pa.table({"title": ["red", None, "blue kettle", " ", "chair", "a"]})


def lengths(texts: Sequence[str]) -> np.ndarray:
    """Embeddings float32 [n, 2]: the length of a text, and 1."""
    return np.array([[len(text), 1] for text in texts], np.float32)


def test_a_product_without_text_has_zeros(tmp_path):
    facts = write_text_embeddings(tmp_path, lengths, TEXTS)
    assert facts == {"products": 6, "without_text": 2, "width": 2}
    features = np.load(tmp_path / "features.npy")
    assert features.dtype == np.float16
    assert features.tolist() == [[3, 1], [0, 0], [11, 1], [0, 0], [5, 1], [1, 1]]
    assert [path.name for path in tmp_path.iterdir()] == ["features.npy"]


def test_a_stopped_call_goes_on_to_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(text_embeddings, "CHUNK", 2)
    seen = []

    def stops(texts: Sequence[str]) -> np.ndarray:
        if "chair" in texts:
            raise KeyboardInterrupt
        return lengths(texts)

    def counts(texts: Sequence[str]) -> np.ndarray:
        seen.extend(texts)
        return lengths(texts)

    with pytest.raises(KeyboardInterrupt):
        write_text_embeddings(tmp_path, stops, TEXTS)
    facts = write_text_embeddings(tmp_path, counts, TEXTS)
    assert seen == ["text", "chair", "a"]
    assert facts["without_text"] == 2
    (tmp_path / "whole").mkdir()
    write_text_embeddings(tmp_path / "whole", lengths, TEXTS)
    for name in ("features.npy", "whole/features.npy"):
        assert np.load(tmp_path / name)[2:].tolist() == [[11, 1], [0, 0], [5, 1], [1, 1]]


def test_values_that_are_not_finite_are_an_error(tmp_path):
    with pytest.raises(UserError, match="not finite"):
        write_text_embeddings(tmp_path, lambda texts: lengths(texts) * np.inf, TEXTS)
