"""Writes the titles, brands and prices of the sample catalog, and what pictures say.

A title has a noun of its class: the word of this class alone, of it and a sister class, or of the
family. Around it stand general words with Zipf frequencies, mostly a color and often a size, in one
of two languages. Prices are written as shops do, in several notations of one catalog.
"""

import numpy as np

from lib.data.synthetic.words.plan import MISSING, WordPlan
from lib.data.synthetic.words.vocabulary import COLORS, GENERAL_WORDS, SIZES, misspell, word

FIRST_LANGUAGE = 0.7  # probability of a title
NOUN_PROBS = (0.55, 0.25, 0.2)  # of the class, of two sisters, of the family
MAX_GENERAL = 6
COLOR, SIZE, UPPER_CASE = 0.5, 0.4, 0.15  # probabilities of a title
PICTURE_LANGUAGE = 1  # OpenCV draws no accents
NOTATIONS = ("{} €", "{} EUR", "€ {}", "{}")
GROUPS = (".", " ", "")  # between thousands, with a decimal comma


class WordWriter:
    """The words of the products of a catalog.

    family: int64 [classes], the level-2 node of each class.
    """

    def __init__(self, plan: WordPlan, family: np.ndarray, seed: int) -> None:
        self.plan, self.family, self.seed = plan, family, seed
        self.frequency = np.cumsum(1 / np.arange(1, GENERAL_WORDS + 1))  # of general words, summed
        self.frequency /= self.frequency[-1]

    def of_product(self, product: int) -> dict[str, str]:
        """The keys of a document and their values, without those that are missing."""
        plan = self.plan
        rng = np.random.default_rng([self.seed, 11, product + 1])
        titles, brands, prices = rng.spawn(3)
        values = {}
        if plan.title[product] != MISSING:
            named, is_misspelt = int(plan.title[product]), bool(plan.is_misspelt[product])
            values["title"] = self._title(named, is_misspelt, titles)
        if plan.brand[product] != MISSING:
            values["brand"] = self._brand(int(plan.brand[product]), brands)
        if not np.isnan(plan.price[product]):
            values["price"] = write_price(float(plan.price[product]), prices)
        return values

    def in_picture(self, slot: int, class_id: int) -> str:
        """The word on the picture that was taken for a slot; empty if there is none."""
        if not self.plan.in_picture[slot]:
            return ""
        return word(self.seed, "family", int(self.family[class_id]), PICTURE_LANGUAGE).upper()

    def _title(self, named: int, is_misspelt: bool, rng: np.random.Generator) -> str:
        """named: the class, or a negative number for general words alone."""
        language = int(rng.random() >= FIRST_LANGUAGE)
        drawn = np.searchsorted(self.frequency, rng.random(rng.integers(2, MAX_GENERAL + 1)))
        words = [word(self.seed, "general", int(number), language) for number in drawn]
        noun = self._noun(max(named, 0), language, rng)
        if named >= 0:
            words.insert(int(rng.integers(min(3, len(words)))), noun)
        num_words = len(words)
        if rng.random() < COLOR:
            words.append(str(rng.choice(COLORS[language])))
        if rng.random() < SIZE:
            words.append(str(rng.choice(SIZES)))
        is_upper = rng.random() < UPPER_CASE
        if is_misspelt:  # the last draws, so that the title is else the same
            at = int(rng.integers(num_words))
            words[at] = misspell(words[at], rng)
        title = " ".join(words)
        return title.upper() if is_upper else title[0].upper() + title[1:]

    def _noun(self, class_id: int, language: int, rng: np.random.Generator) -> str:
        """The classes of a family are neighbors; two and two of them share a word."""
        kind = int(rng.choice(3, p=NOUN_PROBS))
        if kind == 2:
            return word(self.seed, "family", int(self.family[class_id]), language)
        if kind == 0:
            return word(self.seed, "class", class_id, language)
        return word(self.seed, "sisters", class_id // 2, language)

    def _brand(self, brand: int, rng: np.random.Generator) -> str:
        name = word(self.seed, "brand", brand, brand % 2).capitalize()
        return name.upper() if rng.random() < UPPER_CASE else name


def write_price(price: float, rng: np.random.Generator) -> str:
    """A price in euros as a shop writes it: mostly with a decimal comma, sometimes with a point."""
    notation = NOTATIONS[rng.integers(len(NOTATIONS))]
    if rng.random() < 0.2:
        return notation.format(f"{price:.2f}")
    group = GROUPS[rng.integers(len(GROUPS))]
    whole, cents = f"{price:,.2f}".split(".")
    return notation.format(f"{whole.replace(',', group)},{cents}")
