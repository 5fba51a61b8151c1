"""Event files of a training, read by TensorBoard itself where it is installed."""

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from lib.config.schema import Run
from lib.errors import UserError
from lib.training.events import check_tensorboard, events_folder
from tests.training.training_runs import history, train


@pytest.mark.skipif(find_spec("tensorboard") is not None, reason="tensorboard is installed")
def test_a_missing_package_is_named_before_a_network_trains():
    check_tensorboard(Run())
    with pytest.raises(UserError, match=r"run\.tensorboard = true: .*pip install tensorboard=="):
        check_tensorboard(Run(tensorboard=True))


def test_events_lie_beside_the_artifacts():
    folder = events_folder(Path("work/mine/cnn/small/fold0.partial"))
    assert folder == Path("work/mine/tensorboard/small/fold0")


def test_every_epoch_has_its_figures(tmp_path, model, reader, labels):
    reading = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator",
        reason="tensorboard is not installed",
    )
    folder = tmp_path / "cnn" / "small" / "fold0.partial"
    folder.mkdir(parents=True)
    run = Run(device="cpu", tensorboard=True)
    train(folder, replace(model, epochs=2), reader, labels, run=run)
    events = reading.EventAccumulator(str(tmp_path / "tensorboard" / "small" / "fold0"))
    events.Reload()
    for name, key in (("loss/train", "loss"), ("accuracy/valid", "valid_accuracy")):
        points = [(e.step, e.value) for e in events.Scalars(name)]
        expected = [(line["epoch"], pytest.approx(line[key])) for line in history(folder)]
        assert points == expected
    assert len(events.Scalars("images per second")) == 3
    assert sorted(p.name for p in folder.iterdir()) == ["_times.jsonl", "history.jsonl", "last.pt"]
