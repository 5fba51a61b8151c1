import unicodedata
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from sklearn.feature_extraction.text import HashingVectorizer

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


def names(row: list[tuple[str, str]]) -> list[str]:
    """Of all n-grams of a product."""
    found = []
    for column, text in row:
        words = module.words(text)
        for word in words:
            found += module._ngrams_of_word(column, word)
        found += [f"{column} {a} {b}" for a, b in pairwise(words)]
    return found


def test_names_have_their_column():
    assert names([("title", "Red bag"), ("brand", "Red")]) == [
        "title red",
        *("title#<re", "title#red", "title#ed>", "title#<red", "title#red>", "title#<red>"),
        "title bag",
        *("title#<ba", "title#bag", "title#ag>", "title#<bag", "title#bag>", "title#<bag>"),
        "title red bag",
        "brand red",
        *("brand#<re", "brand#red", "brand#ed>", "brand#<red", "brand#red>", "brand#<red>"),
    ]


@pytest.mark.parametrize("num_features", [1 << 16, 5_000])
def test_counts_are_those_of_scikit_learn(num_features):
    """Of the same names; a word that repeats is hashed once, in any column."""
    texts = pa.table(
        {
            "title": ["Red bag red", None, "हिन्दी कपड़े", "红色 运动鞋", "É" * 300, "--"],
            "brand": ["Red", "é", None, "x", None, "y"],
        }
    )
    hashing = HashingVectorizer(
        analyzer=names,
        n_features=num_features,
        norm=None,
        alternate_sign=False,
        dtype=np.float32,
    )
    rows = [[(k, v) for k, v in row.items() if v] for row in texts.to_pylist()]
    expected, counts = hashing.transform(rows), module.count_ngrams(texts, num_features)
    for name in ("indptr", "indices", "data"):
        assert getattr(counts, name).tobytes() == getattr(expected, name).tobytes(), name


def test_counts_of_products_with_and_without_texts():
    texts = pa.table({"title": ["bag", None, "bag bag"], "brand": [None, None, "x"]})
    counts = module.count_ngrams(texts, 1 << 16)
    assert counts.shape == (3, 1 << 16)
    assert counts.dtype == np.float32
    assert np.asarray(counts.sum(axis=1)).ravel().tolist() == [7, 0, 17]
    assert module.count_ngrams(texts.slice(0, 0), 1 << 16).shape == (0, 1 << 16)
