"""Dumps of a scorer that says what is written in a table; real ones are in test_scorers.py."""

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
from lib.inference import dumps
from lib.inference.dumps import BatchProbs
from lib.inference.topk import read
from lib.runtime.distributed import ProcessGroup
from tests.conftest import ROOT
from tests.image_catalog import folder_of

CLASSES, NETS, PICTURES = 5, 2, 40


@dataclass
class Told:
    """Says table[kind, net, row], in batches; `asked` lists (rows, nets)."""

    whose: np.ndarray | None = None
    batch: int = 3
    classes: int = CLASSES
    nets: int = NETS
    asked: list = field(default_factory=list)

    def __post_init__(self):
        weights = np.random.default_rng(0).random((2, NETS, PICTURES, CLASSES))
        self.table = weights / weights.sum(-1, keepdims=True)
        self.rotten = np.zeros(PICTURES, bool)

    def said(self, rows, nets):
        self.asked.append((rows.tolist(), list(nets)))
        for start in range(0, len(rows), self.batch):
            some = rows[start : start + self.batch]
            self.rotten[some] |= some % 7 == 0
            yield BatchProbs(
                *(torch.from_numpy(kind[list(nets)][:, some].mean(0)) for kind in self.table)
            )


def run(folder, scorer, rows, nets=None, plain=True, **settings):
    settings = Predict(**({"top_k": 3, "shard_size": 4} | settings))
    return dumps.write(folder, scorer, settings, rows, nets, plain)


class Rank(ProcessGroup):
    """One of several that come one after the other, the first last."""

    def meet(self):
        pass


@pytest.mark.parametrize("world", [2, 3, 50])
def test_ranks_share_the_shards_and_the_first_puts_them_together(tmp_path, world):
    rows, nets = np.arange(PICTURES), np.arange(PICTURES, dtype=np.int8) // 5 % NETS
    alone, shared = (folder_of(tmp_path, name) for name in ("alone", "shared"))
    rotten = run(alone, Told(), rows, nets)
    scored = []
    for rank in reversed(range(world)):
        scorer = Told()
        found = dumps.write(
            shared, scorer, Predict(top_k=3, shard_size=7), rows, nets, True, Rank(rank, world)
        )
        assert found == (0 if rank else rotten)
        scored += [row for some, _ in scorer.asked for row in some]
    assert sorted(scored) == rows.tolist()
    assert {path.name for path in shared.iterdir()} == {path.name for path in alone.iterdir()}
    for path in alone.iterdir():
        assert path.read_bytes() == (shared / path.name).read_bytes()


def assert_top(found, rows, probs):
    order = np.argsort(-probs, axis=1)[:, :3]
    np.testing.assert_array_equal(found.image, rows)
    np.testing.assert_array_equal(found.classes, order)
    np.testing.assert_allclose(found.probs, np.take_along_axis(probs, order, 1), atol=1e-3)
    np.testing.assert_allclose(found.rest, 1 - found.probs.sum(1), atol=2e-3)
    assert (found.rest >= 0).all()


@settings(max_examples=30, deadline=None)
@given(
    rows=st.sets(st.integers(0, PICTURES - 1)),
    counted=st.integers(0, 9),
    of_products=st.booleans(),
    by_fold=st.booleans(),
    shard=st.integers(1, 50),
    batch=st.integers(1, 9),
)
def test_each_picture_has_what_its_row_says_by_its_networks(
    rows, counted, of_products, by_fold, shard, batch
):
    rows = np.array(sorted(rows), np.int64)
    counts = np.random.default_rng(counted).integers(0, 7, PICTURES)  # of each product
    owner = np.repeat(np.arange(PICTURES), counts)[:PICTURES]
    speaking = owner[rows] if of_products else rows
    own = (owner[rows] % 2).astype(np.int8)
    scorer = Told(owner if of_products else None, batch)
    with TemporaryDirectory() as folder:
        rotten = run(Path(folder), scorer, rows, own if by_fold else None, shard_size=shard)
        for number, prefix in enumerate(("top", "plain")):
            table = scorer.table[number][:, speaking]
            one = np.where(own[:, None] == 0, table[0], table[1])
            assert_top(read(Path(folder), prefix), rows, one if by_fold else table.mean(0))
        assert len(list(Path(folder).iterdir())) == 7
    if not of_products:
        assert rotten == (rows % 7 == 0).sum()
    spoken = [row for some, _ in scorer.asked for row in some]
    assert sorted(spoken) == np.unique(speaking).tolist()  # no row twice, whatever the shards


def test_a_row_without_a_network_is_refused(tmp_path):
    for number in (-1, NETS):
        with pytest.raises(ValueError, match="not there"):
            run(tmp_path, Told(), np.arange(4), np.full(4, number, np.int8))


def stopped(folder, rows, after, **settings):
    """A run that is killed in the middle of a shard."""
    scorer = Told()
    said = scorer.said

    def failing(rows, nets):
        if len(scorer.asked) == after:
            raise KeyboardInterrupt
        yield from said(rows, nets)

    scorer.said = failing
    with pytest.raises(KeyboardInterrupt):
        run(folder, scorer, rows, **settings)


def assert_same_files(one, other):
    assert sorted(path.name for path in one.iterdir()) == sorted(p.name for p in other.iterdir())
    for path in one.iterdir():
        assert path.read_bytes() == (other / path.name).read_bytes(), path.name


ROWS = np.arange(3, 14)


def test_a_stopped_run_goes_on_from_its_last_shard(tmp_path):
    whole, later, scorer = folder_of(tmp_path, "whole"), folder_of(tmp_path, "later"), Told()
    run(whole, Told(), ROWS)
    stopped(later, ROWS, after=2)
    assert len(list(later.glob("shard-*.npz"))) == 2
    assert run(later, scorer, ROWS) == 1  # 7, in a shard that is not read again
    assert scorer.asked == [([11, 12, 13], [0, 1])]
    assert_same_files(whole, later)


def test_shards_of_another_size_are_not_taken_up(tmp_path):
    whole, later, scorer = folder_of(tmp_path, "whole"), folder_of(tmp_path, "later"), Told()
    run(whole, Told(), ROWS)
    stopped(later, ROWS, after=2)
    (later / ".shard-000000008-000000011.npz.tmp").touch()
    run(later, scorer, ROWS, shard_size=6)
    assert len(scorer.asked) == 2
    assert_same_files(whole, later)


def test_without_plain_only_the_mean_is_written(tmp_path):
    run(tmp_path, Told(), ROWS, plain=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "image.npy",
        "top_class.npy",
        "top_prob.npy",
        "top_rest.npy",
    ]


def test_fewer_classes_than_k(tmp_path):
    run(tmp_path, Told(), ROWS, top_k=20)
    top = read(tmp_path)
    assert (np.sort(top.classes, 1) == np.arange(CLASSES)).all()
    np.testing.assert_allclose(top.rest, 0, atol=2e-3)


def test_no_rows_give_empty_arrays(tmp_path):
    assert run(tmp_path, Told(), ROWS[:0]) == 0
    assert read(tmp_path).classes.shape == (0, 3)


MANY, ROWS_OF_MANY = 20_000, 2000
PEAK = f"""
import sys
from pathlib import Path
import numpy as np
import torch
from lib.config.model import Fusion, Model
from lib.config.schema import Predict, Run
from lib.inference import dumps
from lib.training.embedding_loader import EmbeddingLoader
from lib.models.fusion import FusionModel
from lib.inference.predictor import FusionPredictor

def peak():
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024

torch.set_num_threads(1)
folder, rows = Path(sys.argv[1]), np.arange({ROWS_OF_MANY})
model = Model(input="embedding", fusion=Fusion(inputs=("a",), hidden_sizes=(4,)))
net = FusionModel(model.fusion, 3, {MANY})
torch.save({{"network": "-", "classes": {MANY}, "model": net.state_dict()}}, folder / "net.pt")
seen = np.random.default_rng(0).normal(size=(len(rows), 3)).astype(np.float16)
feed = EmbeddingLoader([seen], rows, np.ones(len(rows)))
settings, run = Predict(shard_size=500), Run(predict_batch_size=50)
scorer = FusionPredictor(model, settings, [folder / "net.pt"], [feed], run, rows)
for some in (rows[:200], rows):
    dumps.write(folder, scorer, settings, some, None, True)
    print(peak())
"""


def test_memory_does_not_grow_with_pictures_times_classes(tmp_path):
    """The most that a process has held: by 200 pictures of 20,000 classes, and by ten times it."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    told = subprocess.run(
        [sys.executable, "-c", PEAK, str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    few, many = map(int, told.stdout.split())
    dense = ROWS_OF_MANY * MANY * 4  # bytes, float32
    assert many - few < dense / 4
