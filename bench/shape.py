"""Catalogs in the competition's shape for stages 04 and 05: ids, classes and MD5s, no images.

The 1,768,182 test ids and the sizes of the 5,270 classes are the real ones if their folder exists
(`../shared/data/cdiscount`), otherwise generated. Always generated: the other ids (between the real
ones), the class of each product (in runs of ids, as sellers list them), which images are copies (as
many distinct ones, and as many with several classes, as in the competition), and the predictions of
eight networks.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa

from lib.data.catalog import Catalog, write_table
from lib.inference.topk import TopK

REAL = Path(__file__).parents[2] / "shared" / "data" / "cdiscount"
TRAIN, TEST, CLASSES = 7_069_896, 1_768_182, 5_270
IMAGES, DISTINCT, TEST_IMAGES = 12_371_293, 7_772_910, 3_095_080
CONFLICTS = 114_209  # distinct images of more than one class
SHARED_FRACTION = 0.4  # of the test images are also in train
RUN_LENGTH = 40  # products in a seller's run of ids, roughly
STRAY_FRACTION = 0.5  # of the products are not of the class of their run
COPY_REACH = 200  # a copy repeats one of the last images of its class
NUM_MODELS, TOP_K = 8, 5
NUM_PLAUSIBLE = 12  # classes of a product that get probability
TRUE_LOGIT = 3.0  # more for the true class: a network is right for 7 products in 10


def has_real_ids() -> bool:
    """Whether the folder with the competition's ids exists."""
    return (REAL / "test_product_ids.npz").exists()


def describe_ids() -> str:
    """Where ids and classes are from, for the title of a table."""
    return "the real ids and classes" if has_real_ids() else "generated ids and classes"


def make_catalogs(scale: float, test_scale: float | None = None) -> tuple[Catalog, Catalog]:
    """The labelled and the test catalog, in file order, which is not the order of ids.

    test_scale: of the test catalog, if it is another; at most 1.
    """
    test_scale = scale if test_scale is None else test_scale
    rng = np.random.default_rng(1)
    test_ids = _test_ids(test_scale, rng)
    train = int(TRAIN * scale)
    max_id = max(int(test_ids[-1]), 3 * (train + len(test_ids)))
    free = np.ones(max_id + 1, bool)
    free[test_ids] = free[0] = False
    train_ids = rng.permutation(rng.permutation(np.flatnonzero(free))[:train])
    label = _class_ids_of(train_ids, rng)
    images, test_images = int(IMAGES * scale), int(TEST_IMAGES * test_scale)
    product = _image_products(train, images, rng)
    content, distinct = _image_contents(label[product], int(CONFLICTS * scale), rng)
    shared = rng.random(test_images) < SHARED_FRACTION
    copied = content[rng.integers(0, images, test_images)]
    test_content = np.where(shared, copied, distinct + np.arange(test_images))
    md5 = rng.integers(0, 2**64, (distinct + test_images, 2), np.uint64)
    test_ids = rng.permutation(test_ids)
    no_label = np.full(len(test_ids), -1, np.int16)
    test_product = _image_products(len(test_ids), test_images, rng)
    return (
        _make_catalog(train_ids, label, product, md5[content]),
        _make_catalog(test_ids, no_label, test_product, md5[test_content]),
    )


def true_classes(query: Catalog) -> np.ndarray:
    """int16 [Q]: a class for each test product, in the same runs of ids as the labelled ones."""
    return _class_ids_of(query.product_id, np.random.default_rng(1))


def topks(query: Catalog, true_class: np.ndarray) -> list[TopK]:
    """The predictions of each network for every image: most often the true class.

    true_class: int16 [Q]. A dozen classes of a product share its probability; the networks differ
    in its distribution.
    """
    rng = np.random.default_rng(3)
    products = len(true_class)
    plausible = _draw_classes(_class_sizes(), rng, products * NUM_PLAUSIBLE)
    plausible = plausible.reshape(products, NUM_PLAUSIBLE)
    plausible[:, 0] = true_class
    logits = rng.normal(0, 1.2, (products, NUM_PLAUSIBLE)).astype(np.float32)
    logits[:, 0] += TRUE_LOGIT
    logits[_repeated(plausible)] = -30  # a network lists a class once
    return [_topk(plausible, logits, query.image_product, rng) for _ in range(NUM_MODELS)]


def save_catalog(catalog: Catalog, folder: Path, times: int = 1) -> None:
    """Write a catalog as stage 01 does, all of its products so many times one after the other."""
    products, images = len(catalog.product_id), len(catalog.image_product)
    md5 = pa.py_buffer(np.tile(catalog.md5, (times, 1)))
    write_table(
        folder / "products.arrow",
        {
            "product_id": np.tile(catalog.product_id, times),
            "class_id": np.tile(catalog.label, times),
            "first_image": _shifted(catalog.first_image, images, times),
            "image_count": np.tile(catalog.image_count, times),
        },
    )
    write_table(
        folder / "images.arrow",
        {
            "product": _shifted(catalog.image_product, products, times),
            "position": np.tile(catalog.image_position, times),
            "offset": np.zeros(images * times, np.int64),
            "length": np.zeros(images * times, np.int32),
            "md5": pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), images * times, [None, md5]),
        },
    )


def _shifted(numbers: np.ndarray, shift: int, times: int) -> np.ndarray:
    """`numbers`, then `numbers` + `shift`, and so on."""
    repeats = [numbers + np.array(shift * time, numbers.dtype) for time in range(times)]
    return np.concatenate(repeats)


def _repeated(classes: np.ndarray) -> np.ndarray:
    """bool like `classes` [N, K]: whether the class is also in an earlier column of the row."""
    order = np.argsort(classes, axis=1, kind="stable")
    in_order = np.take_along_axis(classes, order, 1)
    repeated = np.zeros(classes.shape, bool)
    np.put_along_axis(repeated, order[:, 1:], in_order[:, 1:] == in_order[:, :-1], 1)
    return repeated


def _topk(
    plausible: np.ndarray, logits: np.ndarray, image_product: np.ndarray, rng: np.random.Generator
) -> TopK:
    """The top classes of one network for every image: the products' logits with noise."""
    images = np.arange(len(image_product))
    classes = np.empty((len(images), TOP_K), np.int16)
    probs = np.empty((len(images), TOP_K), np.float32)
    for start in range(0, len(images), 1 << 18):
        part = slice(start, start + (1 << 18))
        product = image_product[part]
        noisy = logits[product] + rng.normal(0, 0.8, (len(product), NUM_PLAUSIBLE))
        softmax = np.exp(noisy) / np.exp(noisy).sum(axis=1, keepdims=True)
        best = np.argsort(-softmax, axis=1)[:, :TOP_K]
        classes[part] = np.take_along_axis(plausible[product], best, 1)
        probs[part] = np.take_along_axis(softmax, best, 1)
    return TopK(images, classes, probs, np.maximum(0, 1 - probs.sum(axis=1)))


def _test_ids(scale: float, rng: np.random.Generator) -> np.ndarray:
    """int64 [Q], ascending. A smaller scale takes the first ids, so their density is the same."""
    count = int(TEST * scale)
    if has_real_ids():
        return np.load(REAL / "test_product_ids.npz")["ids"][:count].astype(np.int64)
    return np.cumsum(rng.integers(1, 26, count))


def _class_sizes() -> np.ndarray:
    """[CLASSES]: products of each class, or numbers in proportion to them."""
    path = REAL / "train_products_per_category.tsv"
    if path.exists():
        return np.loadtxt(path, np.int64, delimiter="\t", usecols=2)
    return 1 / np.arange(1, CLASSES + 1)


def _draw_classes(sizes: np.ndarray, rng: np.random.Generator, count: int) -> np.ndarray:
    """int16 [count]: random classes in proportion to their sizes."""
    return rng.choice(len(sizes), count, p=sizes / sizes.sum()).astype(np.int16)


def _class_ids_of(ids: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """int16 like `ids`: the class of the seller's run that the id is in, or a random class."""
    sizes = _class_sizes()
    class_of_run = _draw_classes(sizes, np.random.default_rng(5), 24_000_000 // RUN_LENGTH)
    random_class = _draw_classes(sizes, rng, len(ids))
    run = ids * 3 // (8 * RUN_LENGTH)  # three ids in eight are products
    in_run = class_of_run[run % len(class_of_run)]
    return np.where(rng.random(len(ids)) < STRAY_FRACTION, random_class, in_run)


def _image_products(products: int, images: int, rng: np.random.Generator) -> np.ndarray:
    """int32 [images], ascending: the product of each image; each product has at least one."""
    more = rng.integers(0, products, images - products)
    return np.sort(np.concatenate([np.arange(products), more])).astype(np.int32)


def _image_contents(
    label: np.ndarray, conflicts: int, rng: np.random.Generator
) -> tuple[np.ndarray, int]:
    """int64 [images]: equal numbers mark copies; and the number of distinct images.

    label: int16 [images]. A copy repeats one of the last COPY_REACH images of its class, except
    `conflicts` of them, which repeat any image.
    """
    by_class = np.argsort(label, kind="stable")
    new = rng.random(len(label)) < DISTINCT / IMAGES
    class_starts = np.flatnonzero(np.diff(label[by_class], prepend=-1))
    new[class_starts] = True
    number = np.cumsum(new) - 1
    first = np.repeat(number[class_starts], np.diff(class_starts, append=len(label)))
    back = rng.integers(0, np.minimum(number - first + 1, COPY_REACH))
    number = np.where(new, number, number - back)
    conflicting = rng.permutation(np.flatnonzero(~new))[:conflicts]
    number[conflicting] = rng.integers(0, number.max() + 1, len(conflicting))
    content = np.empty(len(label), np.int64)
    content[by_class] = number
    return content, int(number.max()) + 1


def _make_catalog(
    ids: np.ndarray, label: np.ndarray, product: np.ndarray, md5: np.ndarray
) -> Catalog:
    """A catalog without files. product: int32 [I], ascending; md5: uint64 [I, 2]."""
    count = np.bincount(product, minlength=len(ids)).astype(np.int16)
    first = np.cumsum(count, dtype=np.int64) - count
    none = np.empty(0, np.int64)
    position = (np.arange(len(product)) - first[product]).astype(np.int16)
    return Catalog(
        Path(), ids.astype(np.int64), label, first, count, product, position, none, none, md5
    )
