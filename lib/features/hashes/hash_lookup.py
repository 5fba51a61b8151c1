"""Labels of other products that hold exactly the same image, or the same set of images.

37 % of Cdiscount's train images are copies of another, so the MD5 of an image often identifies its
class. An image may belong to several products and several categories; a product that holds it twice
counts once. A product never counts for itself.

Leaving out the own product alone is not enough for an image that many products hold. Every product
with the same placeholder would see the same counts except for its own label (79,639 against
79,640), and a tree could recover the label from the difference. For such images the whole fold of
the product is left out, so that all products of a fold see the same numbers. Where the catalog has
groups whose labels agree (such as colours of one style), the fold is left out for every image.

Any key may replace the MD5 (`lib/data/perceptual_hash.py` has one of what an image looks like). A
product's whole set of images is looked up as if it were one more image.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lib.data.catalog import Catalog
from lib.errors import UserError
from lib.features.hashes.hash_kernels import (
    ClassCountTable,
    ImageLabelCounts,
    QueriedKeys,
    ReferenceKeys,
    count_holders,
)
from lib.features.hashes.key_kernels import (
    bloom_filter,
    bucket_bits,
    is_first_of_product,
    partition,
    set_keys,
)
from lib.utils.groups import group_index

CROWD = 20  # holders of an image above which the fold of the queried product is left out
MAX_COUNT = 2**31  # of images, and of entries in `ClassCountTable`: int32 numbers them


@dataclass(frozen=True)
class ReferenceProducts:
    """Labelled products whose labels may count; what is made of them once serves many look-ups.

    catalog: the labelled catalog.
    mask: bool [P], which of its products may count; all of them have a label.
    fold: int8 [P], a product's fold if it is a fold of the queried part, else -1.
    key: uint64 [I, 2], what identifies an image; None: its MD5.
    """

    catalog: Catalog
    mask: np.ndarray
    fold: np.ndarray
    key: np.ndarray | None = None

    @cached_property
    def image_mask(self) -> np.ndarray:
        """bool [I], the images that count: those of the products, equal ones of a product once."""
        product = self.catalog.image_product
        mask = is_first_of_product(_keys(self.catalog, self.key), product)
        mask &= self.mask[product]
        return mask

    @cached_property
    def set_key(self) -> np.ndarray:
        """uint64 [P, 2]: a key of each product's set of images."""
        catalog = self.catalog
        num_products = len(catalog.image_count)
        return set_keys(_keys(catalog, self.key), catalog.image_product, num_products)


def lookup_images(
    references: ReferenceProducts,
    catalog: Catalog,
    images: np.ndarray,
    fold: np.ndarray,
    hash_k: int,
    leave_one_out: bool,
    key: np.ndarray | None = None,
) -> ImageLabelCounts:
    """Count the classes of the reference products that hold each of some images.

    catalog: of the queried images. images: int64 [n], its rows of images.
    fold: int8 [n], fold of each image's product, -1 for none.
    hash_k: classes listed for an image.
    leave_one_out: the catalog is that of the references, so a product does not count for itself.
    key: uint64 [I, 2], what identifies an image of the catalog; None: its MD5.
    Raises UserError for more images than int32 can number.
    """
    labelled = references.catalog
    reference_key = _keys(labelled, references.key)
    return _lookup(
        references,
        reference_key,
        references.image_mask,
        labelled.image_product,
        reference_key if leave_one_out else _keys(catalog, key),
        images,
        catalog.image_product[images] if leave_one_out else None,
        fold,
        hash_k,
    )


def lookup_image_sets(
    references: ReferenceProducts,
    catalog: Catalog,
    products: np.ndarray,
    fold: np.ndarray,
    leave_one_out: bool,
    key: np.ndarray | None = None,
) -> ImageLabelCounts:
    """Count the classes of the reference products that have exactly the images of some products.

    products: int64 [n], ascending rows of the queried catalog. fold: int8 [n], of each, -1 for
    none. The other arguments are those of `lookup_images`. Row i of the result is of the set of
    images of products[i], in any order and each counted once; a product without images has no
    holders. One class is listed.
    """
    labelled, reference_key = references.catalog, references.set_key
    query_key, query_rows = reference_key, products
    if not leave_one_out:
        query_rows = np.arange(len(products))
        query_key = _set_keys_of(catalog, key, products)
    return _lookup(
        references,
        reference_key,
        references.mask & (labelled.image_count > 0),
        np.arange(len(reference_key), dtype=np.int32),
        query_key,
        query_rows,
        products if leave_one_out else None,
        fold,
        1,
    )


def _keys(catalog: Catalog, key: np.ndarray | None) -> np.ndarray:
    return catalog.md5 if key is None else key


def _set_keys_of(catalog: Catalog, key: np.ndarray | None, products: np.ndarray) -> np.ndarray:
    """A key of the set of images of some products: uint64 [n, 2]; reads their images alone."""
    row = group_index(catalog.image_count[products]).astype(np.int32)
    return set_keys(_keys(catalog, key)[catalog.images_of(products)], row, len(products))


def _lookup(
    references: ReferenceProducts,
    reference_key: np.ndarray,
    mask: np.ndarray,
    product: np.ndarray,
    query_key: np.ndarray,
    query_rows: np.ndarray,
    query_product: np.ndarray | None,
    fold: np.ndarray,
    hash_k: int,
) -> ImageLabelCounts:
    """Look up keys among keys.

    reference_key: uint64 [I, 2], of images or sets; mask: bool [I], which count; product: int32
        [I], of each.
    query_key: uint64 [J, 2]; query_rows: int [n], its rows that are queried.
    query_product: int [n], reference product of each query, left out; None: other products.
    fold: int8 [n], of each query.
    hash_k: classes listed for a query.
    Raises UserError for more images than int32 can number.
    """
    labelled = references.catalog
    n, bits = len(query_rows), bucket_bits(len(query_rows))
    groups_per_key = 2 + int(fold.max(initial=-1))  # all holders, and those outside each fold
    if max(n, len(reference_key) * groups_per_key) >= MAX_COUNT:
        raise UserError(
            f"{labelled.path}: {len(reference_key)} images are too many to look up their copies;"
            " set features.use_md5 = false, features.use_phash = false"
        )
    rows = bloom_filter(reference_key, mask, query_key, query_rows)
    order, bounds = partition(reference_key, rows, bits)
    rows = rows[order]
    del order
    own_class = np.full(n, -1, np.int16)
    if query_product is not None:
        own_label = labelled.label[query_product]
        own_class = np.where(references.mask[query_product], own_label, own_class)
    result = _no_holders(own_class, hash_k, len(rows) * groups_per_key)
    num_groups, num_entries = count_holders(
        QueriedKeys(query_key, query_rows, fold, *partition(query_key, query_rows, bits)),
        ReferenceKeys(reference_key, rows, bounds, product, labelled.label, references.fold),
        result,
        CROWD,
        labelled.group is not None,
    )
    start, classes, counts = result.table
    table = ClassCountTable(start[: num_groups + 1], classes[:num_entries], counts[:num_entries])
    return result._replace(table=table)


def _no_holders(own_class: np.ndarray, hash_k: int, max_entries: int) -> ImageLabelCounts:
    """The result for images without holders, with room for `max_entries` class counts.

    own_class: int16 [n]. Entries that are never written take no memory.
    """
    n = len(own_class)
    return ImageLabelCounts(
        group=np.zeros(n, np.int32),
        own_class=own_class,
        classes=np.full((n, hash_k), -1, np.int16),
        total=np.zeros(n, np.int32),
        distinct=np.zeros(n, np.int32),
        entropy=np.full(n, np.nan, np.float32),
        placeholder=np.zeros(n, bool),
        table=ClassCountTable(
            np.empty(n + 2, np.int32),
            np.empty(max_entries, np.int16),
            np.empty(max_entries, np.int32),
        ),
    )
