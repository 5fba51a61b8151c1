"""The real packages, on encoders with random weights."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from lib.config.inputs.text import TextEncoder
from lib.errors import UserError
from lib.models.text.encoder import Encode, join_columns, load_encoder
from tests.models.text.encoders import WIDTH, save_model2vec, save_transformer

CPU = torch.device("cpu")
SAVE = {"model2vec": save_model2vec, "sentence_transformers": save_transformer}


def skip_without(library: str) -> None:
    """Nothing is imported here: sentence-transformers needs `import_torchvision` before it."""
    if find_spec(library) is None:
        pytest.skip("requirements-text.txt")


@pytest.fixture(scope="module", params=SAVE)
def encode(request, tmp_path_factory) -> Encode:
    skip_without(request.param)
    folder = SAVE[request.param](tmp_path_factory.mktemp("encoder"))
    return load_encoder(TextEncoder(request.param, str(folder)), CPU)


def test_a_text_has_one_vector_whatever_stands_beside_it(encode):
    texts = ["red kettle", "a new blue chair", "phone"]
    vectors = encode(texts)
    assert vectors.shape == (3, WIDTH)
    assert vectors.dtype == np.float32
    for text, vector in zip(texts, vectors, strict=True):
        np.testing.assert_allclose(encode([text])[0], vector, rtol=0, atol=1e-5)
    assert np.abs(vectors[0] - vectors[1]).max() > 0.01


@pytest.mark.parametrize("library", SAVE)
def test_weights_that_cannot_be_read_are_one_line(library, tmp_path):
    skip_without(library)
    empty = tmp_path / "empty"
    empty.mkdir()
    for weights, reason in (
        (str(tmp_path / "none"), "there is no such folder"),
        (str(empty), "cannot read them"),
    ):
        with pytest.raises(UserError, match=reason) as raised:
            load_encoder(TextEncoder(library, weights), CPU)
        assert weights in str(raised.value)
        assert "\n" not in str(raised.value)


def test_columns_are_joined_and_missing_ones_left_out():
    texts = pa.table({"title": ["red kettle", None, None], "brand": ["acme", "ikea", None]})
    assert join_columns(texts) == ["red kettle acme", "ikea", ""]


def test_weights_of_the_same_folder_are_read_anew(tmp_path):
    skip_without("model2vec")
    folder = save_model2vec(Path(tmp_path))
    first = load_encoder(TextEncoder("model2vec", str(folder)), CPU)(["red"])
    np.testing.assert_array_equal(
        load_encoder(TextEncoder("model2vec", str(folder)), CPU)(["red"]), first
    )


@pytest.mark.parametrize("library", SAVE)
def test_a_package_that_is_not_installed_is_one_line(library, monkeypatch, tmp_path):
    monkeypatch.setattr("lib.models.text.encoder.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"is not installed; .* -r requirements-text\.txt"):
        load_encoder(TextEncoder(library, str(tmp_path)), CPU)
