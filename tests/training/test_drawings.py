"""Networks on strokes: what they are fed with, and that they learn (Q8)."""

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
from lib.training import trainer
from lib.training.dataset import TrainingSet
from lib.training.stroke_loader import StrokeLoader, pixels, points
from tests.data.source_index import index_source

L = [np.array([[0, 0], [0, 255], [100, 255]], np.int16)]
CROSS = [np.array([[0, 0], [255, 255]], np.int16), np.array([[255, 0], [0, 255]], np.int16)]


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """Two classes: strokes to the right, and strokes down, each at its own place."""
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
    return index_source(folder / "i", source, source, list_strokes(source, True, 28))[1]


def test_points():
    found = points(CROSS, 6)
    assert found[:4].tolist() == [[0, 0, 0], [255, 255, 1], [255, 0, 0], [0, 255, 1]]
    assert (found[4:] == -1).any(1).all()
    assert points(CROSS, 3).tolist() == [[0, 0, 0], [255, 255, 1], [0, 255, 1]]


def test_pixels_are_three_equal_channels():
    seen = pixels(L, 28)
    assert seen.shape == (3, 28, 28)
    np.testing.assert_array_equal(seen[2], rasterize(L, 28))


def test_shares_follow_the_seeds_and_the_order_the_rows(known):
    feed = StrokeLoader(ByteReader(known), lambda drawing: points(drawing, 4), (0.2, 0.8), 0.5, 2)
    rows = np.array([7, 3, 100, 50, 8])

    def shown(seed: int) -> list[tuple[list[int], np.ndarray]]:
        seeds = np.random.SeedSequence(seed)
        return [(r.tolist(), x) for r, x in feed.altered(rows, 2, seeds, 0, 1)]

    first, again, other = shown(1), shown(1), shown(2)
    assert [r for r, _ in first] == [[7, 3], [100, 50], [8]]
    for (_, one), (_, two) in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)
    assert any((a[1] != b[1]).any() for a, b in zip(first, other, strict=True))
    plain = np.concatenate([x for _, x in feed.plain(rows, 3)])
    assert plain.shape == (5, 4, 3)
    assert (plain[:, :2, :2].max((1, 2)) == 255).all()  # what has begun is enlarged


def test_neither_padding_nor_empty_places_change_the_answer():
    torch.manual_seed(0)
    net = StrokeNetwork(3).eval()
    short, long = (torch.from_numpy(np.stack([points(CROSS, n)])) for n in (8, 40))
    with torch.inference_mode():
        torch.testing.assert_close(net(net.normalise(short)), net(net.normalise(long)))
        seen = net.normalise(short)[0]
    assert seen.shape == (6, 8)
    assert seen[:, 4:].abs().max() == 0
    assert seen[2:4, 1].tolist() == [255 / 32, 255 / 32]
    assert seen[4, :4].tolist() == [0, 1, 0, 1]


def test_it_learns_by_the_one_loop(known, tmp_path):
    feed = StrokeLoader(ByteReader(known), lambda drawing: points(drawing, 4))
    rows = np.arange(len(known.label))
    lesson = TrainingSet(
        feed, lambda _: StrokeNetwork(2), known.label, rows, rows[::2], rows[1::2], 2
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
    facts = trainer.train(tmp_path, model, lesson, 1, Run(threads=1, device="cpu"))
    assert facts["last_accuracy"] > 0.9


def test_nothing_is_frozen_by_parts():
    with pytest.raises(UserError, match="trains as a whole"):
        StrokeNetwork(2).freeze_until(1)
