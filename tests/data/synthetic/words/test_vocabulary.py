import numpy as np

from lib.data.synthetic.words.vocabulary import KINDS, misspell, word


def test_words_are_of_a_seed_a_kind_a_number_and_a_language():
    words = {word(1, kind, n, lang) for kind in KINDS for n in range(50) for lang in range(2)}
    assert len(words) > 490
    assert word(1, "class", 3, 0) == word(1, "class", 3, 0) != word(2, "class", 3, 0)


def test_words_of_the_second_language_have_no_accents():
    assert all(word(1, "family", number, 1).isascii() for number in range(200))
    assert not all(word(1, "family", number, 0).isascii() for number in range(200))


def test_a_misspelt_word_is_nearly_the_word():
    rng = np.random.default_rng(0)
    ways = {misspell("cadre", rng) for _ in range(100)}
    assert {"acdre", "cdre", "caadre"} & ways
    assert all(abs(len(way) - 5) <= 1 and set(way) == set("cadre") for way in ways if len(way) > 4)
    assert misspell("a", rng) in ("a", "aa")
