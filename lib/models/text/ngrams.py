"""Words, pairs of words and character n-grams of texts, hashed to features"""

import re
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise

import numpy as np
import pyarrow as pa
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import HashingVectorizer

LENGTHS = (3, 4, 5)  # characters of an n-gram, within a word with its ends marked

Row = Sequence[tuple[str, str]]  # column and text of each text of a product


def count_ngrams(texts: pa.Table, num_features: int) -> csr_matrix:
    """How often each hashed n-gram stands in the texts of a product: float32 [n, num_features].

    texts: string columns, null where a text is missing. The same n-gram of two columns is two
    features. Upper and lower case, and forms that Unicode holds to be compatible, are the same.
    """
    hashing = HashingVectorizer(
        analyzer=_ngrams,
        n_features=num_features,
        norm=None,
        alternate_sign=False,
        dtype=np.float32,
    )
    columns = [texts[name].to_pylist() for name in texts.column_names]
    rows = [
        [(name, text) for name, text in zip(texts.column_names, row, strict=True) if text]
        for row in zip(*columns, strict=True)
    ]
    if not rows:
        return csr_matrix((0, num_features), dtype=np.float32)
    return hashing.transform(rows)


def words(text: str) -> list[str]:
    """The words of a text in any script: runs of letters, digits and the marks on them."""
    return _word().findall(unicodedata.normalize("NFKC", text).casefold())


def _ngrams(row: Row) -> Iterator[str]:
    """Names of the n-grams of a product, each with its column."""
    for column, text in row:
        found = words(text)
        for word in found:
            yield f"{column} {word}"
            marked = f"<{word}>"
            for length in LENGTHS:
                for start in range(len(marked) - length + 1):
                    yield f"{column}#{marked[start : start + length]}"
        for first, second in pairwise(found):
            yield f"{column} {first} {second}"


@cache
def _word() -> re.Pattern[str]:
    """A word; the \\w of Python lacks the vowel signs of many Asian scripts."""
    marks = (chr(c) for c in range(sys.maxunicode) if unicodedata.category(chr(c))[0] == "M")
    return re.compile(rf"[\w{''.join(marks)}]+")
