"""Features of candidate rows from the labels of other products that hold the same images.

Rows as in `lib/features/network.py`. Column names start with a prefix: "hash" for images that are
equal byte by byte, so that the columns of another key can stand beside them. Counts are NaN for a
product without images; shares and what is computed from them also where no other product holds one.
"""

from dataclasses import dataclass

import numpy as np

from lib.data.catalog import Catalog
from lib.features.hashes.feature_kernels import fill_columns
from lib.features.hashes.hash_kernels import ImageLabelCounts
from lib.features.hashes.hash_lookup import ReferenceProducts, lookup_image_sets, lookup_images
from lib.features.network import POSITIONS
from lib.features.query import Query
from lib.features.table import Columns, scatter
from lib.utils.groups import group_sizes, group_starts

# Columns of a product, in the order in which `fill_columns` writes them.
SUMS = "count_sum share_sum pictures total classes entropy unanimous l1 placeholders clear_l1"


@dataclass(frozen=True)
class HashFeatures:
    """Class counts of a part's images [n] and of its products' sets of images [Q], by one key."""

    prefix: str
    images: ImageLabelCounts
    sets: ImageLabelCounts

    def columns(
        self, query: Query, query_row: np.ndarray, class_id: np.ndarray, raw: bool
    ) -> Columns:
        """All columns of candidate rows query_row int64 [R] and class_id int16 [R].

        raw: with the raw counts and classes of the first images.
        """
        columns = image_hash_features(query, self.images, query_row, class_id, self.prefix)
        columns |= image_set_features(query, self.sets, query_row, class_id, self.prefix)
        return columns | (
            raw_hash_features(query, self.images, query_row, self.prefix) if raw else {}
        )


def lookup_hash_features(
    prefix: str,
    references: ReferenceProducts,
    catalog: Catalog,
    query: Query,
    fold: np.ndarray,
    hash_k: int,
    leave_one_out: bool,
    key: np.ndarray | None = None,
) -> HashFeatures:
    """Look up the images of the query, and the sets of its products.

    catalog: of the query. fold: int8 [Q], of each query row.
    The other arguments are those of `lookup_images`.
    """
    image_fold = fold[query.query_row_of_image()]
    images = lookup_images(
        references, catalog, query.images, image_fold, hash_k, leave_one_out, key
    )
    sets = lookup_image_sets(references, catalog, query.products, fold, leave_one_out, key)
    return HashFeatures(prefix, images, sets)


def image_hash_features(
    query: Query,
    counts: ImageLabelCounts,
    query_row: np.ndarray,
    class_id: np.ndarray,
    prefix: str = "hash",
) -> Columns:
    """Counts and shares of the row's class in the first images, and sums over all images.

    {prefix}_l1: the row's class in the sum of the images' class distributions, normalised to 1.
    {prefix}_unanimous: number of images whose holders all have the row's class.
    {prefix}_clear_l1: l1 without placeholders. {prefix}_entropy: a mean over images, in nats.
    counts: of the images of the query; query_row: int64 [R]; class_id: int16 [R].
    """
    by_position = [f"{kind}_{at}" for at in range(POSITIONS) for kind in ("count", "share")]
    names = [f"{prefix}_{name}" for name in (*by_position, *SUMS.split())]
    columns = np.full((len(names), len(query_row)), np.nan, np.float32)
    fill_columns(columns, query_row, class_id, query.image_start, query.image_count, counts)
    return dict(zip(names, columns, strict=True))


def image_set_features(
    query: Query,
    counts: ImageLabelCounts,
    query_row: np.ndarray,
    class_id: np.ndarray,
    prefix: str = "hash",
) -> Columns:
    """Other products with exactly the product's images: of the row's class, its share, and all.

    counts: of the query rows, as `lookup_image_sets` returns them; query_row: int64 [R]; class_id:
    int16 [R].
    """
    has_image = np.where(query.image_count[query_row] > 0, 0.0, np.nan)
    count, total = counts.count_of(query_row, class_id), counts.total[query_row]
    share = np.divide(count, total, out=np.full(len(count), np.nan), where=total > 0)
    return {
        f"{prefix}_set_count": count + has_image,
        f"{prefix}_set_share": share,
        f"{prefix}_set_total": total + has_image,
    }


def raw_hash_features(
    query: Query, counts: ImageLabelCounts, query_row: np.ndarray, prefix: str = "hash"
) -> Columns:
    """The most frequent classes of a product's first images: 4 x hash_k counts, as many classes.

    counts: of the images of the query; query_row: int64 [R], ascending.
    Source: Cdiscount 5th-place write-up, half of its 80 raw columns.
    """
    columns: Columns = {}
    starts = group_starts(query_row)
    sizes = group_sizes(starts, len(query_row))  # rows of a product all have the same values
    for position in range(POSITIONS):
        image = query.image_at(query_row[starts], position)
        has_image = image >= 0
        for rank in range(counts.classes.shape[1]):
            classes = counts.classes[image[has_image], rank]
            count = counts.count_of(image[has_image], classes)
            columns[f"{prefix}_freq_{position}_{rank}"] = np.repeat(
                scatter(count, has_image), sizes
            )
            columns[f"{prefix}_class_{position}_{rank}"] = np.repeat(
                scatter(classes, has_image, -1), sizes
            )
    return columns
