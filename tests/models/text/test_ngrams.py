import unicodedata

import numpy as np
import pyarrow as pa
import pytest

from lib.models.text import ngrams as module


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Nike Air-Max 90, RED!", ["nike", "air", "max", "90", "red"]),
        ("Straße ÉTÉ", ["strasse", "été"]),
        ("हिन्दी कपड़े", ["हिन्दी", "कपड़े"]),
        ("红色 运动鞋", ["红色", "运动鞋"]),
        ("\uff26\uff35\uff2c\uff2c \ufb01t", ["full", "fit"]),
        ("  --  ", []),
    ],
)
def test_words_of_any_script(text, words):
    found = module.words(text)
    assert found == [unicodedata.normalize("NFKC", word) for word in words]


def test_names_have_their_column():
    assert list(module._ngrams([("title", "Red bag"), ("brand", "Red")])) == [
        "title red",
        *("title#<re", "title#red", "title#ed>", "title#<red", "title#red>", "title#<red>"),
        "title bag",
        *("title#<ba", "title#bag", "title#ag>", "title#<bag", "title#bag>", "title#<bag>"),
        "title red bag",
        "brand red",
        *("brand#<re", "brand#red", "brand#ed>", "brand#<red", "brand#red>", "brand#<red>"),
    ]


def test_counts_of_products_with_and_without_texts():
    texts = pa.table({"title": ["bag", None, "bag bag"], "brand": [None, None, "x"]})
    counts = module.count_ngrams(texts, 1 << 16)
    assert counts.shape == (3, 1 << 16)
    assert counts.dtype == np.float32
    assert np.asarray(counts.sum(axis=1)).ravel().tolist() == [7, 0, 17]
    assert module.count_ngrams(texts.slice(0, 0), 1 << 16).shape == (0, 1 << 16)
