"""Catalogs in the competition's shape for stages 04 and 05: ids, classes and MD5s, no images.

The 1,768,182 test ids and the sizes of the 5,270 classes are the real ones if their folder exists
(`../shared/data/cdiscount`), otherwise generated. Always generated: the other ids (between the real
ones), the class of each product (in runs of ids, as sellers list them), which images are copies (as
many distinct ones, and as many with several classes, as in the competition), and the predictions of
eight networks.
"""

from pathlib import Path

import numpy as np

from lib.data.catalog import Catalog
from lib.inference.topk import TopK

REAL = Path(__file__).parents[2] / "shared" / "data" / "cdiscount"
TRAIN, TEST, CLASSES = 7_069_896, 1_768_182, 5_270
IMAGES, DISTINCT, TEST_IMAGES = 12_371_293, 7_772_910, 3_095_080
CONFLICTS = 114_209  # distinct pictures of more than one class
SHARED_FRACTION = 0.4  # of the test pictures are one of train
RUN_LENGTH = 40  # products of a seller's run, about
STRAY_FRACTION = 0.5  # of the products are not of their run's class
COPY_REACH = 200  # pictures of a class that a copy may be of
NUM_MODELS, TOP_K, NUM_PLAUSIBLE = 8, 5, 12  # classes between which the networks of a product waver
LEAD = 3.0  # of the true class, in logits: a network is right for 7 products in 10


def has_real_ids() -> bool:
    return (REAL / "test_product_ids.npz").exists()


def make_catalogs(scale: float) -> tuple[Catalog, Catalog]:
    """The labelled catalogue and the other, in file order, which is not that of ids."""
    rng = np.random.default_rng(1)
    test_ids = _test_ids(scale, rng)
    train = int(TRAIN * scale)
    span = max(int(test_ids[-1]), 3 * (train + len(test_ids)))
    free = np.ones(span + 1, bool)
    free[test_ids] = free[0] = False
    train_ids = rng.permutation(rng.permutation(np.flatnonzero(free))[:train])
    of_id = _classes_along_ids(span, rng)
    label = of_id(train_ids)
    images, asked = int(IMAGES * scale), int(TEST_IMAGES * scale)
    product = _owners(train, images, rng)
    picture, distinct = _pictures(label[product], int(CONFLICTS * scale), rng)
    known = rng.random(asked) < SHARED_FRACTION
    shown = np.where(known, picture[rng.integers(0, images, asked)], distinct + np.arange(asked))
    md5 = rng.integers(0, 2**64, (distinct + asked, 2), np.uint64)
    test_ids = rng.permutation(test_ids)
    nothing = np.full(len(test_ids), -1, np.int16)
    return (
        _catalogue(train_ids, label, product, md5[picture]),
        _catalogue(test_ids, nothing, _owners(len(test_ids), asked, rng), md5[shown]),
    )


def true_classes(query: Catalog) -> np.ndarray:
    """A class int16 [Q] for each product of the unlabelled catalogue, in the runs of the other."""
    span = int(query.product_id.max())
    return _classes_along_ids(span, np.random.default_rng(1))(query.product_id)


def topks(query: Catalog, right: np.ndarray) -> list[TopK]:
    """What the networks say of every picture: the true class right[product] most of the time.

    A dozen classes are in play for a product, and networks differ in how they weigh them.
    """
    rng = np.random.default_rng(3)
    products = len(right)
    play = _drawn(_sizes(), rng, products * NUM_PLAUSIBLE).reshape(products, NUM_PLAUSIBLE)
    play[:, 0] = right
    shared = rng.normal(0, 1.2, (products, NUM_PLAUSIBLE)).astype(np.float32)
    shared[:, 0] += LEAD
    shared[_again(play)] = -30  # a network lists a class once
    images = np.arange(len(query.image_product))
    return [_dump(play, shared, query.image_product, images, rng) for _ in range(NUM_MODELS)]


def _again(classes: np.ndarray) -> np.ndarray:
    """Where a row names a class that it has named before: bool like `classes`."""
    order = np.argsort(classes, axis=1, kind="stable")
    in_order = np.take_along_axis(classes, order, 1)
    again = np.zeros(classes.shape, bool)
    np.put_along_axis(again, order[:, 1:], in_order[:, 1:] == in_order[:, :-1], 1)
    return again


def _dump(
    play: np.ndarray,
    shared: np.ndarray,
    owner: np.ndarray,
    images: np.ndarray,
    rng: np.random.Generator,
) -> TopK:
    classes = np.empty((len(images), TOP_K), np.int16)
    probs = np.empty((len(images), TOP_K), np.float32)
    for start in range(0, len(images), 1 << 18):
        part = slice(start, start + (1 << 18))
        logits = shared[owner[part]] + rng.normal(0, 0.8, (len(owner[part]), NUM_PLAUSIBLE))
        dense = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        best = np.argsort(-dense, axis=1)[:, :TOP_K]
        classes[part] = np.take_along_axis(play[owner[part]], best, 1)
        probs[part] = np.take_along_axis(dense, best, 1)
    return TopK(images, classes, probs, np.maximum(0, 1 - probs.sum(axis=1)))


def _test_ids(scale: float, rng: np.random.Generator) -> np.ndarray:
    """Ascending; a part of them lies as densely as the whole."""
    count = int(TEST * scale)
    if has_real_ids():
        return np.load(REAL / "test_product_ids.npz")["ids"][:count].astype(np.int64)
    return np.cumsum(rng.integers(1, 26, count))


def _sizes() -> np.ndarray:
    """Products of each class."""
    path = REAL / "train_products_per_category.tsv"
    if path.exists():
        return np.loadtxt(path, np.int64, delimiter="\t", usecols=2)
    return 1 / np.arange(1, CLASSES + 1)


def _drawn(sizes: np.ndarray, rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.choice(len(sizes), count, p=sizes / sizes.sum()).astype(np.int16)


def _classes_along_ids(span: int, rng: np.random.Generator):  # type: ignore[no-untyped-def]
    """A function of ids: the class of the run of each, or another."""
    sizes = _sizes()
    runs = _drawn(sizes, np.random.default_rng(5), 24_000_000 // RUN_LENGTH)

    def of_id(ids: np.ndarray) -> np.ndarray:
        strays = _drawn(sizes, rng, len(ids))
        of_run = runs[ids * 3 // (8 * RUN_LENGTH) % len(runs)]  # three ids in eight are products
        return np.where(rng.random(len(ids)) < STRAY_FRACTION, strays, of_run)

    return of_id


def _owners(products: int, images: int, rng: np.random.Generator) -> np.ndarray:
    """The product of each picture, int32 ascending; every product has one at least."""
    more = rng.integers(0, products, images - products)
    return np.sort(np.concatenate([np.arange(products), more])).astype(np.int32)


def _pictures(
    label: np.ndarray, conflicts: int, rng: np.random.Generator
) -> tuple[np.ndarray, int]:
    """The picture of each image int64, and how many distinct ones there are.

    A copy is of one of the last REACH pictures of its class, but for `conflicts` of them.
    """
    by_class = np.argsort(label, kind="stable")
    new = rng.random(len(label)) < DISTINCT / IMAGES
    heads = np.flatnonzero(np.diff(label[by_class], prepend=-1))
    new[heads] = True
    number = np.cumsum(new) - 1
    first = np.repeat(number[heads], np.diff(heads, append=len(label)))
    back = rng.integers(0, np.minimum(number - first + 1, COPY_REACH))
    number = np.where(new, number, number - back)
    strange = rng.permutation(np.flatnonzero(~new))[:conflicts]
    number[strange] = rng.integers(0, number.max() + 1, len(strange))
    picture = np.empty(len(label), np.int64)
    picture[by_class] = number
    return picture, int(number.max()) + 1


def _catalogue(ids: np.ndarray, label: np.ndarray, product: np.ndarray, md5: np.ndarray) -> Catalog:
    count = np.bincount(product, minlength=len(ids)).astype(np.int16)
    first = np.cumsum(count, dtype=np.int64) - count
    none = np.empty(0, np.int64)
    position = (np.arange(len(product)) - first[product]).astype(np.int16)
    return Catalog(
        Path(), ids.astype(np.int64), label, first, count, product, position, none, none, md5
    )
