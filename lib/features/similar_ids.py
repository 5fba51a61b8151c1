"""Features of candidate rows: do the products with the nearest ids also have similar images?

Sellers list their products in runs of few classes. The share of a class among the nearest products
shows which classes a run has; the similarity of their images to the row's shows which of these is
the row's class.
Each of the `window` reference products nearest by id counts for its class with the similarity
((1 + cos) / 2) ** power of the two images, one of either product, that are most similar.

References and queries are those of `FoldIndex`: no row sees its own label, nor its fold's.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lib.data.catalog import Catalog
from lib.features.embedding_knn import FoldIndex
from lib.features.id_priors import IdIndex, build_id_index
from lib.features.query import Query
from lib.features.table import Columns
from lib.utils.compiled import njit

CHUNK = 50_000  # products at a time, in the order of their ids
CHUNK_NEAR = 200_000  # products near any of them, at most, unless one alone has more
SOFT, SHARP = 8, 35  # powers of the similarity; 35 is that of `knn.py`
COLUMNS = ("cos", "score", "share_soft", "share_sharp")


@dataclass(frozen=True)
class ProductEmbeddings:
    """Embeddings of the images of a catalog's products, by one network.

    embeddings: float [I, d], one for each image of the catalog.
    first_image: int64 [P] and image_count: int [P], the rows of each product.
    """

    embeddings: np.ndarray
    first_image: np.ndarray
    image_count: np.ndarray

    def unit_vectors(self, products: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Unit vectors of the products' images, float32 [n, d], and bounds of each, int64 [p + 1].

        products: int64 [p]. A zero vector stays zero.
        """
        count = self.image_count[products].astype(np.int64)
        bounds = np.concatenate([[0], np.cumsum(count)])
        row = np.arange(bounds[-1]) + np.repeat(self.first_image[products] - bounds[:-1], count)
        vectors = self.embeddings[row].astype(np.float32)
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors / np.where(length > 0, length, 1), bounds


@dataclass(frozen=True)
class IdReferences:
    """Reference products in the order of their ids, and their embeddings.

    index: of the products; products: int64 [N], row in `embeddings` of each, in that order.
    """

    index: IdIndex
    products: np.ndarray
    embeddings: ProductEmbeddings


@dataclass(frozen=True)
class IdQueries:
    """Queried products, their embeddings and candidate rows.

    ids: int64 [q]; products: int64 [q], row in `embeddings` of each.
    bounds: int64 [q + 1], candidate rows of each; class_id: int16 [R], of each row.
    """

    ids: np.ndarray
    products: np.ndarray
    embeddings: ProductEmbeddings
    bounds: np.ndarray
    class_id: np.ndarray


def similar_id_features(
    indexes: Sequence[FoldIndex],
    labelled: Catalog,
    catalog: Catalog,
    query: Query,
    query_row: np.ndarray,
    class_id: np.ndarray,
    windows: tuple[int, ...],
    name: str,
) -> Columns:
    """Similarity of the products with the nearest ids, by one model: means over its networks.

    indexes: the networks of the model.
    labelled: catalog of the references.
    catalog: of the query.
    query_row: int64 [R], ascending, and class_id: int16 [R]: the candidate rows of the query.
    windows: numbers of nearest products, each with columns of its own.
    name: of the model, with which the columns start.
    Products whose id is no number are near no other: NaN for them.
    """
    indexes = _only_numbers(indexes, labelled, catalog, query)
    bounds = np.searchsorted(query_row, np.arange(len(query.products) + 1))
    columns: Columns = {}
    shape = (len(windows), len(query_row), len(COLUMNS))
    totals, counts = np.zeros(shape, np.float32), np.zeros(shape, np.int8)
    for index in indexes if windows else ():
        rows = _rows_of(index.query_rows, bounds)
        references = _references(index, labelled)
        queries = _queries(index, catalog, query, bounds, class_id[rows])
        for window, total, count in zip(windows, totals, counts, strict=True):
            values = similarity_by_class(references, queries, window)
            total[rows] += np.nan_to_num(values)
            count[rows] += ~np.isnan(values)
    for window, total, count in zip(windows, totals, counts, strict=True):
        mean = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
        for number, column in enumerate(COLUMNS):
            columns[f"{name}_similar_id_{window}_{column}"] = mean[:, number]
    return columns


def similarity_by_class(references: IdReferences, queries: IdQueries, window: int) -> np.ndarray:
    """Similarity of each query to the products of each row's class: float32 [R, 4], as COLUMNS.

    cos: largest cosine to a near product of the class, NaN if there is none. score: sum of the
    similarities to the power of 35 over the near products of the class; share_sharp: its share in
    the sum over all near products; share_soft: the same to the power of 8. NaN for products without
    images; near products without images do not count.
    """
    values = np.full((len(queries.class_id), len(COLUMNS)), np.nan, np.float32)
    window = min(window, len(references.products))
    low, high = references.index.nearest_range(queries.ids, window)
    by_id = np.argsort(queries.ids, kind="stable")
    start = 0
    while start < len(by_id):
        left = low[by_id[start]]
        reach = high[by_id[start : start + CHUNK]]  # ascending, as `low` is
        stop = start + max(1, int(np.searchsorted(reach, left + CHUNK_NEAR, "right")))
        some, start = by_id[start:stop], stop
        right = high[some[-1]]
        near, near_bounds = references.embeddings.unit_vectors(references.products[left:right])
        own, own_bounds = queries.embeddings.unit_vectors(queries.products[some])
        _fill_values(
            values,
            own,
            own_bounds,
            near,
            near_bounds,
            references.index.labels[left:right],
            low[some] - left,
            high[some] - left,
            queries.bounds[:-1][some],
            queries.bounds[1:][some],
            queries.class_id,
        )
    return values


def _only_numbers(
    indexes: Sequence[FoldIndex], labelled: Catalog, catalog: Catalog, query: Query
) -> list[FoldIndex]:
    """The indexes without references and queries whose id is a name."""
    is_number, has_id = labelled.id_is_number(), catalog.id_is_number()[query.products]
    return [
        replace(
            index,
            reference_products=index.reference_products[is_number[index.reference_products]],
            query_rows=index.query_rows[has_id[index.query_rows]],
        )
        for index in indexes
    ]


def _rows_of(query_rows: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Candidate rows of some query rows: int64 [r]; bounds: int64 [Q + 1], of all query rows."""
    sizes = np.diff(bounds)[query_rows]
    ends = np.concatenate([[0], np.cumsum(sizes)])
    return np.arange(ends[-1]) + np.repeat(bounds[query_rows] - ends[:-1], sizes)


def _references(index: FoldIndex, labelled: Catalog) -> IdReferences:
    ids = labelled.product_id[index.reference_products]
    by_id = index.reference_products[np.argsort(ids, kind="stable")]
    return IdReferences(
        build_id_index(labelled.product_id[by_id], labelled.label[by_id]),
        by_id,
        _product_embeddings(index.labelled_embeddings, labelled),
    )


def _queries(
    index: FoldIndex, catalog: Catalog, query: Query, bounds: np.ndarray, class_id: np.ndarray
) -> IdQueries:
    """The query of one network; class_id: int16 [r], of its candidate rows alone."""
    products = query.products[index.query_rows]
    sizes = np.diff(bounds)[index.query_rows]
    return IdQueries(
        catalog.product_id[products].astype(np.int64),
        products,
        _product_embeddings(index.query_embeddings, catalog),
        np.concatenate([[0], np.cumsum(sizes)]),
        class_id,
    )


def _product_embeddings(embeddings: np.ndarray, catalog: Catalog) -> ProductEmbeddings:
    return ProductEmbeddings(embeddings, catalog.first_image, catalog.image_count)


@njit(cache=True, nogil=True)
def _fill_values(
    values: np.ndarray,
    own: np.ndarray,
    own_bounds: np.ndarray,
    near: np.ndarray,
    near_bounds: np.ndarray,
    labels: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    class_id: np.ndarray,
) -> None:
    """Fill the rows of the products that have images.

    values: float32 [R, 4], all NaN.
    own: float32 [m, d], unit vectors of the queried products' images.
    own_bounds: int64 [q + 1], rows of `own` of each queried product.
    near: float32 [n, d], unit vectors of the reference products' images.
    near_bounds: int64 [p + 1], rows of `near` of each reference product.
    labels: int16 [p], class of each reference product.
    low, high: int64 [q], range of reference products near each queried product.
    starts, ends: int64 [q], candidate rows of each queried product.
    class_id: int16 [R], of each row.
    """
    for i in range(len(low)):
        if own_bounds[i] == own_bounds[i + 1]:
            continue
        size = high[i] - low[i]
        cosine = np.full(size, np.nan)
        soft, sharp = np.zeros(size), np.zeros(size)
        for neighbor in range(size):
            product = low[i] + neighbor
            best = -2.0
            for a in range(own_bounds[i], own_bounds[i + 1]):
                for b in range(near_bounds[product], near_bounds[product + 1]):
                    dot = 0.0
                    for d in range(own.shape[1]):
                        dot += own[a, d] * near[b, d]
                    best = max(best, dot)
            if best > -1.5:
                cosine[neighbor] = best
                similarity = max(0.0, (1 + best) / 2)
                soft[neighbor], sharp[neighbor] = similarity**SOFT, similarity**SHARP
        soft_sum, sharp_sum = soft.sum(), sharp.sum()
        for row in range(starts[i], ends[i]):
            best, class_soft, class_sharp = np.nan, 0.0, 0.0
            for neighbor in range(size):
                same_class = labels[low[i] + neighbor] == class_id[row]
                if same_class and not np.isnan(cosine[neighbor]):
                    if not best >= cosine[neighbor]:
                        best = cosine[neighbor]
                    class_soft += soft[neighbor]
                    class_sharp += sharp[neighbor]
            values[row, 0] = best
            values[row, 1] = class_sharp
            values[row, 2] = class_soft / soft_sum if soft_sum > 0 else np.nan
            values[row, 3] = class_sharp / sharp_sum if sharp_sum > 0 else np.nan
