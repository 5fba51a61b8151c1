import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.config.schema import Features
from lib.data.catalog import Splits
from lib.features.attributes.columns import Attributes, AttributeTables, look_up_attributes
from lib.features.table import is_categorical
from lib.features.visibility import reference_products

CLASSES, PRODUCTS, FOLDS = 4, 60, 3
seeds = st.integers(0, 2**32 - 1)


def attributes(rng: np.random.Generator) -> Attributes:
    """A brand and a price of products, which are their own query."""
    brand = rng.integers(-1, 6, PRODUCTS).astype(np.int32)
    price = np.where(rng.random(PRODUCTS) < 0.2, np.nan, rng.integers(0, 30, PRODUCTS))
    return Attributes({"brand": (brand, brand)}, {"brand": 7}, {"price": (price, price)})


def random_splits(rng: np.random.Generator) -> Splits:
    part = rng.choice([0, 1, 2], PRODUCTS, p=[0.5, 0.2, 0.3]).astype(np.int8)
    return Splits(part, np.where(part == 2, -1, rng.integers(0, FOLDS, PRODUCTS)).astype(np.int8))


def look_up(given: Attributes, label: np.ndarray, splits: Splits, part: str) -> AttributeTables:
    """Tables for rows of all products, each of which leaves out its own fold if it is of `part`."""
    mask, fold = reference_products(Features(), part, label, splits)
    return look_up_attributes(given, label, mask, fold, fold, CLASSES)


def columns_of(tables: AttributeTables, products: np.ndarray) -> np.ndarray:
    rows = np.repeat(products, CLASSES)
    columns = tables.columns(rows, np.tile(np.arange(CLASSES), len(products)))
    return np.column_stack([*columns.values(), tables.proposals(3)[rows]])


@settings(max_examples=40)
@given(seeds, st.sampled_from(["fit", "holdout", "locked"]))
def test_labels_of_a_fold_and_of_locked_products_reach_no_row_of_theirs(seed, part):
    rng = np.random.default_rng(seed)
    values, splits = attributes(rng), random_splits(rng)
    label = rng.integers(0, CLASSES, PRODUCTS).astype(np.int16)
    products = splits.products(part)
    hidden = [splits.products("locked")]
    if part != "locked" and len(products):
        products = products[splits.fold[products] == splits.fold[products[0]]]
        hidden.append(products)
    other = label.copy()
    other[np.concatenate(hidden)] = rng.integers(0, CLASSES, sum(map(len, hidden)))
    before, after = (
        columns_of(look_up(values, one, splits, part), products) for one in (label, other)
    )
    np.testing.assert_array_equal(before, after)


def test_labels_of_other_folds_reach_the_rows():
    """Otherwise the test above would pass for columns that see no label."""
    rng = np.random.default_rng(1)
    values, splits = attributes(rng), random_splits(rng)
    label = rng.integers(0, CLASSES, PRODUCTS).astype(np.int16)
    fit = splits.products("fit")
    shown, own = fit[splits.fold[fit] == 0], fit[splits.fold[fit] == 1]
    other = label.copy()
    other[shown] = (label[shown] + 1) % CLASSES
    before, after = (columns_of(look_up(values, one, splits, "fit"), own) for one in (label, other))
    differs = (before != after) & ~np.isnan(before)
    assert differs.any(axis=0)[[0, 2, 4, 5]].all()  # the shares, and where the number lies


def test_an_attribute_that_is_the_class_is_told_and_a_useful_one_is_not():
    rng = np.random.default_rng(0)
    splits = Splits(np.zeros(PRODUCTS, np.int8), (np.arange(PRODUCTS) % FOLDS).astype(np.int8))
    label = rng.integers(0, CLASSES, PRODUCTS).astype(np.int16)
    same, noisy = label.astype(np.int32), label.astype(np.int32)
    noisy[::5] = rng.integers(0, CLASSES, len(noisy[::5]))
    number = label * 10.0
    values = Attributes(
        {"type": (same, same), "brand": (noisy, noisy)},
        {"type": CLASSES + 1, "brand": CLASSES + 1},
        {"code": (number, number)},
    )
    told = look_up(values, label, splits, "fit").told_alone(label)
    assert told == {"type": 1.0, "code": 1.0}
    one_class = np.zeros(PRODUCTS, np.int16)
    assert look_up(values, one_class, splits, "fit").told_alone(one_class) == {}


def test_names_of_columns_suit_the_boosters():
    number = np.zeros(PRODUCTS)
    code = np.zeros(PRODUCTS, np.int32)
    values = Attributes(
        {"hash_class_x": (code, code), "材料": (code, code)},
        {"hash_class_x": 2, "材料": 2},
        {'price, ["€"]': (number, number)},
    )
    label = np.zeros(PRODUCTS, np.int16)
    splits = Splits(np.zeros(PRODUCTS, np.int8), np.zeros(PRODUCTS, np.int8))
    columns = look_up(values, label, splits, "fit").columns(np.arange(3), np.zeros(3, np.int16))
    assert list(columns) == [
        "attribute0-hash-class-x_share",
        "attribute0-hash-class-x_count",
        "attribute1_share",
        "attribute1_count",
        "attribute2-price_share",
        "attribute2-price_log",
        "attribute2-price_below",
        "attribute2-price_distance",
    ]
    assert not any(map(is_categorical, columns))
