"""Plan of the words of the sample catalog: whose title, brand and price a product has.

Each part is drawn from a stream of its own, so a setting changes nothing but its own part, and the
products that have no title at a low `title_missing` have none at a higher one. Products to classify
are drawn as the labelled ones are. It takes about 30 bytes per product.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from lib.config.data import Sample
from lib.data.synthetic.plan import SyntheticCatalog

MISSING, GENERAL = -2, -1
BRANDS_PER_FAMILY = 2
MORE_FAMILIES = 0.6  # probability that a brand sells one family more, and one more
MEDIAN_PRICE, SPREAD = 30.0, 1.0  # SPREAD: standard deviation of log prices
FAMILY_PART = 0.6  # of the variance of prices between classes that lies between families
CENTS = (0.99, 0.9, 0.0, 0.5, 0.95)
CENTS_PROBS = (0.4, 0.2, 0.2, 0.1, 0.1)


@dataclass(frozen=True)
class WordPlan:
    """Of all products [P], by ascending id, and of all image slots [S], by product.

    title int64 [P]: the class that the title names, GENERAL if it names none, MISSING if there is
    none. is_misspelt bool [P]. brand int64 [P], or MISSING. price float64 [P], in euros, NaN where
    missing. in_picture bool [S]: whether the picture that was taken for this slot has words on it.
    """

    title: np.ndarray
    is_misspelt: np.ndarray
    brand: np.ndarray
    price: np.ndarray
    in_picture: np.ndarray


def plan_words(
    settings: Sample, catalog: SyntheticCatalog, family: np.ndarray, seed: int
) -> WordPlan:
    """Draw everything but the words themselves.

    family: int64 [classes], the level-2 node of each class.
    """
    rngs = [np.random.default_rng([seed, 10, part]) for part in range(1, 6)]
    appearance, count = catalog.appearance, len(catalog.ids)
    is_missing, is_general, is_wrong, is_misspelt = rngs[0].random((4, count))
    named = np.where(is_wrong < settings.title_wrong, rngs[0].permutation(appearance), appearance)
    title = np.where(is_general < settings.title_informative, named, GENERAL)
    brand = _draw_brands(settings, family[appearance], int(family[-1]) + 1, rngs[1])
    no_brand = rngs[2].random(count) < settings.brand_missing
    price = _draw_prices(settings, appearance, family, rngs[3])
    no_price = rngs[2].random(count) < settings.price_missing
    return WordPlan(
        np.where(is_missing < settings.title_missing, MISSING, title),
        is_misspelt < settings.title_misspelt,
        np.where(no_brand, MISSING, brand),
        np.where(no_price, np.nan, price),
        rngs[4].random(len(catalog.product)) < settings.picture_words,
    )


def measure_words(plan: WordPlan, settings: Sample) -> dict[str, Any]:
    """The fractions that the plan has, under the names of the settings; none without words."""
    has_title = plan.title != MISSING
    of_titles = {
        "title_missing": 1 - has_title.mean(),
        "title_informative": (plan.title[has_title] != GENERAL).mean() if has_title.any() else 0,
        "title_misspelt": plan.is_misspelt[has_title].mean() if has_title.any() else 0,
    }
    facts = {
        **(of_titles if settings.title_missing < 1 else {}),
        **({"brand_missing": (plan.brand == MISSING).mean()} if settings.brand_missing < 1 else {}),
        **({"price_missing": np.isnan(plan.price).mean()} if settings.price_missing < 1 else {}),
        **({"picture_words": plan.in_picture.mean()} if settings.picture_words else {}),
    }
    return {name: round(float(value), 4) for name, value in facts.items()}


def _draw_brands(
    settings: Sample, family: np.ndarray, num_families: int, rng: np.random.Generator
) -> np.ndarray:
    """int64 [P]: brands with Zipf sizes; an informative one is among those that sell the family.

    family: int64 [P].
    """
    num_brands = BRANDS_PER_FAMILY * num_families
    weight = 1 / np.arange(1, num_brands + 1)
    first = rng.permutation(num_brands) % num_families  # so that each family has a brand
    more = rng.geometric(1 - MORE_FAMILIES, num_brands) - 1
    seller = np.concatenate([np.arange(num_brands), np.repeat(np.arange(num_brands), more)])
    sold = np.concatenate([first, rng.integers(0, num_families, more.sum())])
    order = np.argsort(sold, kind="stable")
    seller, sold = seller[order], sold[order]
    # One draw from the sums of the weights, within the stretch of the product's family.
    sums = np.concatenate([[0.0], np.cumsum(weight[seller])])
    start = np.searchsorted(sold, family)
    stop = np.searchsorted(sold, family, side="right")
    drawn = sums[start] + rng.random(len(family)) * (sums[stop] - sums[start])
    place = np.clip(np.searchsorted(sums, drawn, side="right") - 1, start, stop - 1)
    anyone = rng.choice(num_brands, len(family), p=weight / weight.sum())
    is_informative = rng.random(len(family)) < settings.brand_informative
    return np.where(is_informative, seller[place], anyone)


def _draw_prices(
    settings: Sample, label: np.ndarray, family: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """float64 [P]: log-normal prices of each class, ending as those of shops do.

    label: int64 [P], the class of each product.
    """
    between = settings.price_informative
    of_family = rng.normal(size=family[-1] + 1)[family] * np.sqrt(FAMILY_PART)
    of_class = of_family + rng.normal(size=len(family)) * np.sqrt(1 - FAMILY_PART)
    of_product = rng.normal(size=len(label))
    log = np.sqrt(between) * of_class[label] + np.sqrt(1 - between) * of_product
    price = np.maximum(MEDIAN_PRICE * np.exp(SPREAD * log), 1)
    return np.floor(price) + rng.choice(CENTS, len(label), p=CENTS_PROBS)
