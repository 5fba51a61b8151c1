"""Batches of drawings, and networks that train on them."""

import json

import numpy as np
import pytest
import torch

from lib.config.model import Model
from lib.config.schema import Run
from lib.data.byte_reader import ByteReader
from lib.data.sources.quickdraw import list_strokes
from lib.data.strokes import rasterize
from lib.errors import UserError
from lib.models.quickdraw_models import StrokeNetwork
from lib.training.dataset import TrainingSet
from lib.training.loaders.stroke_loader import StrokeLoader, drawing_bitmap, drawing_points
from lib.training.trainer import train_model
from tests.data.source_index import index_source

L = [np.array([[0, 0], [0, 255], [100, 255]], np.int16)]
CROSS = [np.array([[0, 0], [255, 255]], np.int16), np.array([[255, 0], [0, 255]], np.int16)]


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    """Two classes: strokes to the right, and strokes down, each at a random place."""
    folder = tmp_path_factory.mktemp("strokes")
    (folder / "train").mkdir()
    rng = np.random.default_rng(1)
    for name, turned in (("down", True), ("right", False)):
        lines = []
        for number in range(60):
            long, short = sorted(rng.integers(1, 256, 2).tolist(), reverse=True)
            stroke = [[0, short] if turned else [0, long], [0, long] if turned else [0, short]]
            lines.append(json.dumps({"key_id": str(number + 100 * turned), "drawing": [stroke]}))
        (folder / "train" / f"{name}.ndjson").write_text("\n".join(lines))
    source = folder / "train"
    return index_source(folder / "index", source, source, list_strokes(source, True, 28))[1]


def test_points_are_padded_or_evenly_thinned():
    points = drawing_points(CROSS, 6)
    assert points[:4].tolist() == [[0, 0, 0], [255, 255, 1], [255, 0, 0], [0, 255, 1]]
    assert (points[4:] == -1).any(1).all()
    assert drawing_points(CROSS, 3).tolist() == [[0, 0, 0], [255, 255, 1], [0, 255, 1]]


def test_bitmaps_have_three_equal_channels():
    bitmap = drawing_bitmap(L, 28)
    assert bitmap.shape == (3, 28, 28)
    np.testing.assert_array_equal(bitmap[2], rasterize(L, 28))


def test_the_seeds_decide_the_shares_and_batches_keep_the_order_of_rows(catalog):
    loader = StrokeLoader(
        ByteReader(catalog), lambda drawing: drawing_points(drawing, 4), (0.2, 0.8), 0.5, 2
    )
    rows = np.array([7, 3, 100, 50, 8])

    def batches(seed: int) -> list[tuple[list[int], np.ndarray]]:
        seeds = np.random.SeedSequence(seed)
        return [(r.tolist(), x) for r, x in loader.train_batches(rows, 2, seeds, 0, 1)]

    first, again, other = batches(1), batches(1), batches(2)
    assert [r for r, _ in first] == [[7, 3], [100, 50], [8]]
    for (_, one), (_, two) in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)
    assert any((a[1] != b[1]).any() for a, b in zip(first, other, strict=True))
    evaluated = np.concatenate([x for _, x in loader.eval_batches(rows, 3)])
    assert evaluated.shape == (5, 4, 3)
    assert (evaluated[:, :2, :2].max((1, 2)) == 255).all()  # a drawing that is cut off is enlarged


def test_padding_does_not_change_the_logits():
    torch.manual_seed(0)
    net = StrokeNetwork(3).eval()
    short, long = (torch.from_numpy(np.stack([drawing_points(CROSS, n)])) for n in (8, 40))
    with torch.inference_mode():
        torch.testing.assert_close(net(net.normalise(short)), net(net.normalise(long)))
        inputs = net.normalise(short)[0]
    assert inputs.shape == (6, 8)
    assert inputs[:, 4:].abs().max() == 0
    assert inputs[2:4, 1].tolist() == [255 / 32, 255 / 32]
    assert inputs[4, :4].tolist() == [0, 1, 0, 1]


def test_a_network_learns_from_points(catalog, tmp_path):
    loader = StrokeLoader(ByteReader(catalog), lambda drawing: drawing_points(drawing, 4))
    rows = np.arange(len(catalog.label))
    data = TrainingSet(
        loader, lambda _: StrokeNetwork(2), catalog.label, rows, rows[::2], rows[1::2], 2
    )
    model = Model(
        arch="strokes",
        head_only_epochs=0,
        epochs=12,
        batch_size=16,
        lr=0.01,
        optimizer="adamw",
        crop=(1, 1),
    )
    facts = train_model(tmp_path, model, data, 1, Run(threads=1, device="cpu"))
    assert facts["last_accuracy"] > 0.9


def test_a_stroke_network_cannot_be_frozen_by_parts():
    with pytest.raises(UserError, match="trains as a whole"):
        StrokeNetwork(2).freeze_until(1)
