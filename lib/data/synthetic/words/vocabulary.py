"""Invented words of two languages: names of classes and families, general words, brands.

A word is drawn from (seed, kind, number, language) alone, so it does not depend on how many others
there are. Words of the first language have accents, those of the second have none.
"""

from functools import lru_cache

import numpy as np

LANGUAGES = 2
GENERAL_WORDS = 3000  # of each language
KINDS = ("class", "sisters", "family", "general", "brand")
ONSETS = (
    ("b", "br", "c", "ch", "cl", "d", "f", "g", "gr", "j", "l", "m", "n", "p", "pl", "r", "s", "t"),
    ("b", "bl", "ch", "d", "dr", "f", "g", "h", "k", "l", "m", "n", "p", "r", "s", "st", "t", "w"),
)
VOWELS = (
    ("a", "e", "i", "o", "u", "é", "è", "ou", "ai", "eau", "ê", "ô"),
    ("a", "e", "i", "o", "u", "oo", "ea", "ow", "ee"),
)
ENDINGS = (
    ("", "", "r", "s", "t", "lle", "tte", "ge", "n", "que"),
    ("", "", "ck", "t", "n", "ng", "sh", "r", "ll", "p"),
)
COLORS = (
    ("noir", "blanc", "bleu", "rouge", "gris", "vert", "rose", "beige", "doré", "orangé"),
    ("black", "white", "blue", "red", "grey", "green", "pink", "beige", "gold", "orange"),
)
SIZES = ("S", "M", "L", "XL", "38", "40", "42", "30 cm", "1,5 m", "250 ml", "2 kg", "128 Go", "x2")


@lru_cache(maxsize=1 << 16)
def word(seed: int, kind: str, number: int, language: int) -> str:
    """A word of two or three syllables.

    kind: one of KINDS. number: of the class, family, general word or brand.
    """
    rng = np.random.default_rng([seed, 12, KINDS.index(kind), number, language + 1])
    syllables = [
        _pick(ONSETS[language], rng) + _pick(VOWELS[language], rng)
        for _ in range(rng.integers(2, 4))
    ]
    return "".join(syllables) + _pick(ENDINGS[language], rng)


def misspell(text: str, rng: np.random.Generator) -> str:
    """The text with two letters of a word swapped, one of them left out, or one doubled."""
    at = int(rng.integers(1, max(2, len(text) - 1)))
    way = rng.integers(3)
    if way == 0:
        return text[: at - 1] + text[at : at + 1] + text[at - 1] + text[at + 1 :]
    return text[:at] + text[at + 1 :] if way == 1 else text[:at] + text[at - 1 :]


def _pick(choices: tuple[str, ...], rng: np.random.Generator) -> str:
    return choices[rng.integers(len(choices))]
