import numpy as np
import pytest

from lib.config.model import Augment, Model
from lib.data.image_reader import ImageReader
from lib.data.products.mosaic import MosaicReader
from lib.data.products.reader import ProductReader
from lib.runtime.distributed import ProcessGroup
from lib.training.loaders.image_loader import ImageLoader, shard_loader
from lib.training.loaders.product_loader import ProductLoader, create_loader
from tests.conftest import jpeg, product

COUNTS = [1, 3, 2, 4, 1, 2, 5, 1]
SIZE, CROP = (24, 20), (20, 16)
ROWS = np.array([3, 0, 6, 1, 7, 2, 5, 4])
MODEL = Model(
    input="product", resize=SIZE, crop=CROP, augment=Augment(brightness=0.5), head_only_epochs=0
)


@pytest.fixture
def catalog(index_products):
    numbers = iter(range(sum(COUNTS)))
    return index_products(
        [product(i, [jpeg(next(numbers)) for _ in range(n)], 7) for i, n in enumerate(COUNTS)]
    )


def train(loader):
    return list(loader.train_batches(ROWS, 3, np.random.SeedSequence(1), 0, 2))


def test_evaluation_shows_center_crops(catalog):
    with ProductReader(catalog, SIZE, 2) as reader, ImageReader(catalog, SIZE, 1) as images:
        for rows, inputs in ProductLoader(reader, MODEL).eval_batches(ROWS, 3):
            own = np.concatenate([catalog.images_of(rows[i : i + 1])[:4] for i in range(len(rows))])
            expected = np.stack([images.decode(i) for i in own.tolist()])[:, 2:22, 2:18]
            np.testing.assert_array_equal(inputs.images.transpose(0, 2, 3, 1), expected)
            assert inputs.count.sum() == len(own)


def test_every_image_is_changed_by_itself_and_the_seeds_decide(catalog):
    with ProductReader(catalog, SIZE, 2) as reader:
        loader = ProductLoader(reader, MODEL)
        first, again = train(loader), train(loader)
    assert [rows.tolist() for rows, _ in first] == [[3, 0, 6], [1, 7, 2], [5, 4]]
    for (_, one), (_, other) in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.images, other.images)
        assert one.images.shape == (one.count.sum(), 3, *CROP)
    with ImageReader(catalog, SIZE, 1) as images:
        plain = np.stack([images.decode(i) for i in catalog.images_of(ROWS[:1])])
    assert (np.abs(first[0][1].images[:4].mean((1, 2, 3)) - plain.mean((1, 2, 3))) > 1).any()


def test_ranks_divide_the_products_of_a_batch(catalog):
    with ProductReader(catalog, SIZE, 2) as reader:
        loader = ProductLoader(reader, MODEL)
        shards = [train(shard_loader(loader, ProcessGroup(rank, 2))) for rank in range(2)]
        for (rows, inputs), parts in zip(train(loader), zip(*shards, strict=True), strict=True):
            assert np.concatenate([part[0] for part in parts]).tolist() == rows.tolist()
            images = np.concatenate([part[1].images for part in parts])
            np.testing.assert_array_equal(images, inputs.images)


def test_the_reader_decides_the_loader(catalog):
    for reader in (ImageReader, MosaicReader, ProductReader):
        with reader(catalog, SIZE, 1) as opened:
            loader = create_loader(opened, MODEL)
            assert type(loader) is (ProductLoader if reader is ProductReader else ImageLoader)
