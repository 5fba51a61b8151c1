"""Top-k files of a predictor that reads a table; test_predictor.py has real predictors."""

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.config.schema import Predict
from lib.inference.predictor import BatchProbs
from lib.inference.topk import TopK
from lib.inference.topk_writer import write_topk
from lib.runtime.distributed import ProcessGroup
from tests.conftest import ROOT
from tests.image_catalog import folder_of

NUM_CLASSES, NUM_MODELS, NUM_IMAGES = 5, 2, 40


@dataclass
class TablePredictor:
    """Predicts table[view, model, row]; `calls` lists (rows, models). Each 7th image is corrupt.

    It has the fold models of two groups; without `group_of_row` only the first are asked.
    A batch is best of rows of one shape; every `num_shapes`-th row has the same.
    """

    row_of_image: np.ndarray | None = None
    batch_size: int = 3
    num_classes: int = NUM_CLASSES
    num_models: int = NUM_MODELS
    num_shapes: int = 1
    multi_label: bool = False
    group_of_row: np.ndarray | None = None
    calls: list = field(default_factory=list)

    def __post_init__(self):
        weights = np.random.default_rng(0).random((2, 2 * NUM_MODELS, NUM_IMAGES, NUM_CLASSES))
        self.table = weights / weights.sum(-1, keepdims=True)
        self.corrupt = np.zeros(NUM_IMAGES, bool)

    def batch_order(self, rows):
        return np.argsort(rows % self.num_shapes, kind="stable")

    def predict_batches(self, rows, models):
        self.calls.append((rows.tolist(), list(models)))
        for start in range(0, len(rows), self.batch_size):
            batch = rows[start : start + self.batch_size]
            self.corrupt[batch] |= batch % 7 == 0
            yield BatchProbs(
                *(torch.from_numpy(view[list(models)][:, batch].mean(0)) for view in self.table)
            )


def run(folder, predictor, images, models=None, center_view=True, **settings):
    settings = Predict(**({"top_k": 3, "shard_size": 4} | settings))
    return write_topk(folder, predictor, settings, images, models, center_view)


class Rank(ProcessGroup):
    """One of several processes that run one after the other, the first last."""

    def barrier(self):
        pass


@pytest.mark.parametrize("world", [2, 3, 50])
def test_processes_share_the_shards_and_the_first_merges_them(tmp_path, world):
    images = np.arange(NUM_IMAGES)
    models = np.arange(NUM_IMAGES, dtype=np.int8) // 5 % NUM_MODELS
    alone, shared = (folder_of(tmp_path, name) for name in ("alone", "shared"))
    num_corrupt = run(alone, TablePredictor(), images, models)
    predicted = []
    for rank in reversed(range(world)):
        predictor, settings = TablePredictor(), Predict(top_k=3, shard_size=7)
        group = Rank(rank, world)
        returned = write_topk(shared, predictor, settings, images, models, True, group)
        assert returned == (0 if rank else num_corrupt)
        predicted += [row for rows, _ in predictor.calls for row in rows]
    assert sorted(predicted) == images.tolist()
    assert_same_files(alone, shared)


def assert_topk(topk, images, probs):
    order = np.argsort(-probs, axis=1)[:, :3]
    np.testing.assert_array_equal(topk.image, images)
    np.testing.assert_array_equal(topk.classes, order)
    np.testing.assert_allclose(topk.probs, np.take_along_axis(probs, order, 1), atol=1e-3)
    np.testing.assert_allclose(topk.rest, 1 - topk.probs.sum(1), atol=2e-3)
    assert (topk.rest >= 0).all()


@settings(max_examples=30, deadline=None)
@given(
    images=st.sets(st.integers(0, NUM_IMAGES - 1)),
    seed=st.integers(0, 9),
    of_products=st.booleans(),
    by_fold=st.booleans(),
    by_group=st.booleans(),
    shard_size=st.integers(1, 50),
    batch_size=st.integers(1, 9),
    num_shapes=st.integers(1, 3),
)
def test_each_image_has_the_top_k_of_its_row_by_its_models(
    images, seed, of_products, by_fold, by_group, shard_size, batch_size, num_shapes
):
    images = np.array(sorted(images), np.int64)
    counts = np.random.default_rng(seed).integers(0, 7, NUM_IMAGES)  # of each product
    product = np.repeat(np.arange(NUM_IMAGES), counts)[:NUM_IMAGES]
    rows = product[images] if of_products else images
    model = (product[images] % 2).astype(np.int8)
    predictor = TablePredictor(product if of_products else None, batch_size)
    predictor.num_shapes = num_shapes
    group = counts % 2 if by_group else np.zeros(NUM_IMAGES, int)
    predictor.group_of_row = group if by_group else None
    with TemporaryDirectory() as folder:
        path, models = Path(folder), model if by_fold else None
        num_corrupt = run(path, predictor, images, models, shard_size=shard_size)
        for view, prefix in enumerate(("tta", "center")):
            in_first = group[rows][:, None] == 0
            first, second = np.split(predictor.table[view][:, rows], 2)
            table = np.where(in_first, first, second)
            by_model = np.where(model[:, None] == 0, table[0], table[1])
            assert_topk(TopK.load(path, prefix), images, by_model if by_fold else table.mean(0))
        assert len(list(Path(folder).iterdir())) == 7
    if not of_products:
        assert num_corrupt == (images % 7 == 0).sum()
    predicted = [row for batch, _ in predictor.calls for row in batch]
    assert sorted(predicted) == np.unique(rows).tolist()  # no row twice, whatever the shards
    for batch, _ in predictor.calls:  # rows of one shape are side by side
        assert (np.diff(np.array(batch) % num_shapes) >= 0).all()


def test_an_image_without_a_fold_model_is_refused(tmp_path):
    for model in (-1, NUM_MODELS):
        with pytest.raises(ValueError, match="does not exist"):
            run(tmp_path, TablePredictor(), np.arange(4), np.full(4, model, np.int8))


def run_interrupted(folder, images, after, **settings):
    """A run that is interrupted in the middle of a shard."""
    predictor = TablePredictor()
    predict_batches = predictor.predict_batches

    def failing(rows, models):
        if len(predictor.calls) == after:
            raise KeyboardInterrupt
        yield from predict_batches(rows, models)

    predictor.predict_batches = failing
    with pytest.raises(KeyboardInterrupt):
        run(folder, predictor, images, **settings)


def assert_same_files(one, other):
    assert sorted(path.name for path in one.iterdir()) == sorted(p.name for p in other.iterdir())
    for path in one.iterdir():
        assert path.read_bytes() == (other / path.name).read_bytes(), path.name


IMAGES = np.arange(3, 14)


def test_an_interrupted_run_resumes_after_its_last_shard(tmp_path):
    whole, resumed = (folder_of(tmp_path, name) for name in ("whole", "resumed"))
    predictor = TablePredictor()
    run(whole, TablePredictor(), IMAGES)
    run_interrupted(resumed, IMAGES, after=2)
    assert len(list(resumed.glob("shard-*.npz"))) == 2
    assert run(resumed, predictor, IMAGES) == 1  # image 7, in a shard that is not predicted again
    assert predictor.calls == [([11, 12, 13], [0, 1])]
    assert_same_files(whole, resumed)


def test_shards_of_another_size_are_not_used(tmp_path):
    whole, resumed = (folder_of(tmp_path, name) for name in ("whole", "resumed"))
    predictor = TablePredictor()
    run(whole, TablePredictor(), IMAGES)
    run_interrupted(resumed, IMAGES, after=2)
    (resumed / ".shard-000000008-000000011.npz.tmp").touch()
    run(resumed, predictor, IMAGES, shard_size=6)
    assert len(predictor.calls) == 2
    assert_same_files(whole, resumed)


def test_without_the_center_view_only_the_mean_is_written(tmp_path):
    run(tmp_path, TablePredictor(), IMAGES, center_view=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "image.npy",
        "tta_class.npy",
        "tta_prob.npy",
        "tta_rest.npy",
    ]


def test_k_is_at_most_the_number_of_classes(tmp_path):
    run(tmp_path, TablePredictor(), IMAGES, top_k=20)
    topk = TopK.load(tmp_path)
    assert (np.sort(topk.classes, 1) == np.arange(NUM_CLASSES)).all()
    np.testing.assert_allclose(topk.rest, 0, atol=2e-3)


def test_no_images_give_empty_arrays(tmp_path):
    assert run(tmp_path, TablePredictor(), IMAGES[:0]) == 0
    assert TopK.load(tmp_path).classes.shape == (0, 3)


MANY_CLASSES, MANY_ROWS = 20_000, 2000
PRINT_PEAKS = f"""
import sys
from pathlib import Path
import numpy as np
import torch
from lib.config.inputs.fusion import Fusion
from lib.config.model import Model
from lib.config.schema import Predict, Run
from lib.inference.topk_writer import write_topk
from lib.training.loaders.embedding_loader import EmbeddingLoader
from lib.models.fusion import FusionModel
from lib.inference.predictor import FusionPredictor

def peak():
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024

torch.set_num_threads(1)
folder, rows = Path(sys.argv[1]), np.arange({MANY_ROWS})
model = Model(input="embedding", fusion=Fusion(inputs=("a",), hidden_sizes=(4,)))
net = FusionModel(model.fusion, 3, {MANY_CLASSES})
checkpoint = {{"network": "-", "classes": {MANY_CLASSES}, "model": net.state_dict()}}
torch.save(checkpoint, folder / "net.pt")
embeddings = np.random.default_rng(0).normal(size=(len(rows), 3)).astype(np.float16)
loader = EmbeddingLoader([embeddings], rows, np.ones(len(rows)))
settings, run = Predict(shard_size=500), Run(predict_batch_size=50)
predictor = FusionPredictor(model, settings, [folder / "net.pt"], [loader], run, rows)
for images in (rows[:200], rows):
    write_topk(folder, predictor, settings, images, None, True)
    print(peak())
"""


def test_memory_does_not_grow_with_images_times_classes(tmp_path):
    """Peak memory with 200 images of 20,000 classes, and with ten times as many."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.run(
        [sys.executable, "-c", PRINT_PEAKS, str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    few, many = map(int, process.stdout.split())
    dense = MANY_ROWS * MANY_CLASSES * 4  # bytes, float32
    assert many - few < dense / 4
