"""Words, pairs of words and character n-grams of texts, hashed to features"""

import re
import sys
import unicodedata
from array import array
from collections.abc import Iterator
from functools import cache, lru_cache
from itertools import pairwise

import numpy as np
import pyarrow as pa
from scipy.sparse import csr_matrix
from sklearn.utils import murmurhash3_32

LENGTHS = (3, 4, 5)  # characters of an n-gram, within a word with its ends marked
WORD = re.compile(r"\w+")
FIRST_MARK = "\u0300"  # all marks of Unicode are from here on
KNOWN_WORDS = 1 << 18  # whose hashes are kept, as words of a catalog repeat: up to 100 MB


def count_ngrams(texts: pa.Table, num_features: int) -> csr_matrix:
    """How often each hashed n-gram stands in the texts of a product: float32 [n, num_features].

    texts: string columns, null where a text is missing. The same n-gram of two columns is two
    features. Upper and lower case, and forms that Unicode holds to be compatible, are the same.
    """
    hashes, ends = array("i"), array("q", [0])
    columns = [texts[name].to_pylist() for name in texts.column_names]
    for row in zip(*columns, strict=True):
        for column, text in zip(texts.column_names, row, strict=True):
            if text:
                found = words(text)
                for word in found:
                    hashes.frombytes(_hashes_of_word(column, word))
                hashes.extend(murmurhash3_32(f"{column} {a} {b}") for a, b in pairwise(found))
        ends.append(len(hashes))
    # The magnitude of a hash, as scikit-learn's HashingVectorizer takes it.
    features = np.abs(np.array(hashes, np.int64)) % num_features
    indptr = np.array(ends)
    counts = csr_matrix(
        (np.ones(len(features), np.float32), features, indptr), (len(indptr) - 1, num_features)
    )
    counts.sum_duplicates()
    return counts


def words(text: str) -> list[str]:
    """The words of a text in any script: runs of letters, digits and the marks on them."""
    text = unicodedata.normalize("NFKC", text).casefold()
    has_marks = max(text, default="") >= FIRST_MARK
    return (_word_with_marks() if has_marks else WORD).findall(text)


@lru_cache(KNOWN_WORDS)
def _hashes_of_word(column: str, word: str) -> bytes:
    """The hashes of a word and of its n-grams of characters, int32 each."""
    return array("i", map(murmurhash3_32, _ngrams_of_word(column, word))).tobytes()


def _ngrams_of_word(column: str, word: str) -> Iterator[str]:
    """Names of a word and of its n-grams of characters, each with its column."""
    yield f"{column} {word}"
    marked = f"<{word}>"
    for length in LENGTHS:
        for start in range(len(marked) - length + 1):
            yield f"{column}#{marked[start : start + length]}"


@cache
def _word_with_marks() -> re.Pattern[str]:
    """A word; the \\w of Python lacks the vowel signs of many Asian scripts. Ten times as slow."""
    marks = (chr(c) for c in range(sys.maxunicode) if unicodedata.category(chr(c))[0] == "M")
    return re.compile(rf"[\w{''.join(marks)}]+")
