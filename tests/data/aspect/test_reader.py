"""Images that keep their ratio, in batches of one aspect cluster."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lib.config.model import Model
from lib.data.aspect.clusters import BatchShape
from lib.data.aspect.reader import AspectReader, batch_shapes
from lib.data.image_reader import GRAY, ImageReader

TALL, WIDE = BatchShape((60, 30), (56, 28)), BatchShape((30, 60), (28, 56))
CLUSTER = np.array([0, 1, 1, 0, 1, 0, 0, 1], np.int8)


def gradient(height, width):
    """A picture that is dark at the top left and light at the bottom right, nowhere gray alone."""
    rows, columns = np.linspace(0, 1, height), np.linspace(0, 1, width)
    red = np.broadcast_to(rows[:, None], (height, width))
    green = np.broadcast_to(columns[None], (height, width))
    return (255 * np.stack([red, green, np.zeros((height, width))], 2)).astype(np.uint8)


@pytest.fixture
def catalog(index_products):
    """Pictures of 1:2 or 2:1, one of 1:6, one of a single row of pixels, one that is damaged."""
    images = [gradient(*((80, 40), (40, 80))[cluster]) for cluster in CLUSTER]
    images[5], images[7] = gradient(120, 20), gradient(1, 90)
    encoded = []
    for image in images:
        sink = io.BytesIO()
        Image.fromarray(image).save(sink, "PNG")
        encoded.append(sink.getvalue())
    encoded[6] = b"no image"
    return index_products([[image] for image in encoded])


@pytest.fixture(params=["pad", "crop"])
def reader(catalog, request):
    with AspectReader(catalog, [TALL, WIDE], CLUSTER, request.param, 2) as opened:
        yield opened


def test_a_batch_has_one_cluster_and_its_size(reader):
    rows = np.array([0, 3, 5, 1, 2, 4, 0, 3])
    batches = list(reader.batches(rows, 2))
    assert [batch.tolist() for batch, _ in batches] == [[0, 3], [5], [1, 2], [4], [0, 3]]
    for batch, images in batches:
        assert images.shape[2:] == (TALL, WIDE)[reader.shape_of(batch)].resize


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 7), max_size=30), st.integers(1, 9))
def test_batches_in_order_are_as_few_as_possible(rows, batch_size):
    reader = AspectReader.__new__(AspectReader)
    reader.cluster, rows = CLUSTER, np.array(rows, np.int64)
    order = reader.batch_order(rows)
    assert sorted(order.tolist()) == list(range(len(rows)))
    batches = [rows[order][batch] for batch in reader._split(rows[order], batch_size)]
    assert [row for batch in batches for row in batch] == rows[order].tolist()
    assert all(len(np.unique(CLUSTER[batch])) == 1 for batch in batches)
    assert len(batches) == sum(-(-int(n) // batch_size) for n in np.bincount(CLUSTER[rows]) if n)


def test_an_image_of_the_cluster_s_ratio_fills_the_whole_size(catalog, reader):
    with ImageReader(catalog, TALL.resize, 1) as plain:
        np.testing.assert_array_equal(reader.decode(0), plain.decode(0))


def test_an_image_of_another_ratio_is_not_distorted(reader):
    """1:6 in 1:2: with bars the whole of it is a third as wide; cropped, its middle third shows."""
    image = reader.decode(5).astype(int)
    assert image.shape == (60, 30, 3)
    if reader.fill == "crop":
        assert image[0, 0, 0] == pytest.approx(85, abs=6)
        assert image[-1, -1, 0] == pytest.approx(170, abs=6)
        assert image[0, -1, 1] > 245
        return
    assert (image[:, :10] == GRAY).all()
    assert (image[:, 20:] == GRAY).all()
    assert image[0, 10, 0] < 10
    assert image[-1, 19, 0] > 245
    assert image[0, 19, 1] > 225


def test_a_row_of_pixels_and_a_damaged_image_have_their_size(reader):
    assert reader.decode(7).shape == (30, 60, 3)
    assert (reader.decode(6) == GRAY).all()
    assert reader.decode(6).shape == (60, 30, 3)


def test_without_clusters_the_shapes_are_those_of_the_model(catalog, reader):
    model = Model(resize=(36, 20), crop=(32, 16))
    assert batch_shapes(reader, model) == [TALL, WIDE]
    with ImageReader(catalog, model.resize, 1) as plain:
        assert batch_shapes(plain, model) == [BatchShape((36, 20), (32, 16))]
        assert plain.cluster is None
