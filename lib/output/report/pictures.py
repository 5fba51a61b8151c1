"""Pictures of products inside of a page: small JPEGs as data URIs."""

import base64
from collections.abc import Sequence

import cv2
import numpy as np

from lib.data.catalog import Catalog
from lib.data.image_reader import ThumbnailReader
from lib.utils.prefetch import prefetch

SIDE, QUALITY = 112, 72  # pixels of the longer side, and of JPEG; about 3 kB a picture
PER_PRODUCT = 4


class Pictures:
    """Data URIs of the images of a catalog, decoded and encoded again.

    An original file may hold a place, a name or a comment; a picture here has pixels alone. Where
    the originals are gone, as they may be with `--new`, no product has a picture.
    """

    def __init__(self, catalog: Catalog, threads: int, side: int = SIDE) -> None:
        self._catalog = catalog
        self._reader = ThumbnailReader(catalog, side) if catalog.path.exists() else None
        self._threads = threads
        self._uris: dict[int, str] = {}

    def close(self) -> None:
        """Close the files of the catalog."""
        if self._reader is not None:
            self._reader.close()

    @property
    def has_originals(self) -> bool:
        """Whether the originals are where they were."""
        return self._reader is not None

    def __enter__(self) -> "Pictures":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def of_products(self, products: Sequence[int], most: int = PER_PRODUCT) -> list[list[str]]:
        """The first `most` images of each product (row of the catalog); none where it has none."""
        rows = [self.rows_of(product, most) for product in products]
        self._load([row for image_rows in rows for row in image_rows])
        return [
            [self._uris[row] for row in image_rows if self.has_originals] for image_rows in rows
        ]

    def of_images(self, rows: Sequence[int]) -> list[str]:
        """The images in these rows of the catalog; "" where the originals are gone."""
        self._load(rows)
        return [self._uris.get(row, "") for row in rows]

    def rows_of(self, product: int, most: int = PER_PRODUCT) -> list[int]:
        """The rows of a product's first images."""
        first, count = int(self._catalog.first_image[product]), self._catalog.image_count[product]
        return list(range(first, first + min(most, int(count))))

    def _load(self, rows: Sequence[int]) -> None:
        from concurrent.futures import ThreadPoolExecutor

        if self._reader is None:
            return
        new = [row for row in dict.fromkeys(rows) if row not in self._uris]
        with ThreadPoolExecutor(max(1, self._threads)) as pool:
            for row, uri in prefetch(pool, iter(new), self._encode, 4 * max(1, self._threads)):
                self._uris[row] = uri

    def _encode(self, row: int) -> tuple[int, str]:
        assert self._reader is not None
        return row, data_uri(self._reader.decode(row))


def data_uri(image: np.ndarray) -> str:
    """A picture, uint8 [h, w, 3] RGB, as a JPEG in a data URI."""
    flags = [cv2.IMWRITE_JPEG_QUALITY, QUALITY, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
    jpeg = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), flags)[1]
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg.tobytes()).decode()}"
