from dataclasses import replace

import numpy as np
import pytest
import torch

from lib.errors import UserError
from lib.training import checkpoint, saving, schedule
from tests.training.training_runs import (
    Stop,
    assert_finite,
    assert_same_weights,
    history,
    load,
    stop_after,
    train,
)

LAST_STEP = 4  # of an epoch of 42 images in batches of 8


def test_final_checkpoints_hold_only_weights(tmp_path, model, reader, labels):
    train(tmp_path, model, reader, labels)
    for name in ("last.pt", "best.pt"):
        saved = load(tmp_path, name)
        assert saved.keys() == {"network", "classes", "model"}
        assert (saved["network"], saved["classes"]) == ("small", 3)


def test_without_validation_images_best_is_last(tmp_path, model, reader, labels):
    facts = train(tmp_path, model, reader, labels, valid=np.arange(0))
    assert facts["best_accuracy"] is None
    assert_same_weights(load(tmp_path)["model"], load(tmp_path, "best.pt")["model"])


def test_best_is_the_epoch_of_the_highest_accuracy(tmp_path, model, reader, labels):
    """The last step makes the model predict the wrong classes."""
    weights, model = [], replace(model, epochs=6)

    def on_step(state, step):
        head = state.model.head.weight.detach()
        if (state.progress.epoch, step) == (6, LAST_STEP):
            head.copy_(head.roll(1, 0))
        if step == LAST_STEP:
            weights.append(head.clone())

    facts = train(tmp_path, model, reader, labels, on_step=on_step)
    accuracies = [line["valid_accuracy"] for line in history(tmp_path)]
    best = int(np.argmax(accuracies))
    assert 0 < best < 6
    assert accuracies[best] > accuracies[6]
    assert facts["best_accuracy"] == accuracies[best]
    assert facts["last_accuracy"] == accuracies[6]
    assert torch.equal(load(tmp_path, "best.pt")["model"]["head.weight"], weights[best])
    assert torch.equal(load(tmp_path)["model"]["head.weight"], weights[6])


@pytest.mark.parametrize(("seconds", "chunk"), [(-1.0, 1), (3600.0, 0)])
def test_a_checkpoint_within_an_epoch_is_written_if_the_last_one_is_old_enough(
    tmp_path, model, reader, labels, monkeypatch, seconds, chunk
):
    monkeypatch.setattr(schedule, "CHUNK_STEPS", 2)
    monkeypatch.setattr(saving, "SAVE_SECONDS", seconds)
    with pytest.raises(Stop):
        train(tmp_path, model, reader, labels, on_step=stop_after(8))
    progress = load(tmp_path)["progress"]
    assert (progress["epoch"], progress["chunk"]) == (1, chunk)


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_epoch(
    tmp_path, model, reader, labels
):
    def on_step(state, step):
        if state.progress.epoch == 1:
            state.model.head.bias.detach().fill_(float("nan"))

    with pytest.raises(UserError, match=r"the loss is nan in epoch 2.*lower lr.*copy .*last\.pt"):
        train(tmp_path, model, reader, labels, on_step=on_step)
    assert load(tmp_path)["progress"]["epoch"] == 1
    assert_finite(tmp_path)


@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_weights_that_are_not_finite_are_never_saved(tmp_path, model, reader, labels, epoch):
    """Only the last step of an epoch makes them infinite, so no loss shows it."""

    def on_step(state, step):
        if (state.progress.epoch, step) == (epoch, LAST_STEP):
            state.model.head.weight.detach()[0, 0] = float("inf")

    with pytest.raises(UserError, match=rf"non-finite weights in epoch {epoch + 1}, step 5 of 5"):
        train(tmp_path, model, reader, labels, on_step=on_step)
    assert_finite(tmp_path)
    assert (tmp_path / "last.pt").exists() == (epoch > 0)
    assert not checkpoint.is_finished(tmp_path)


def test_weights_that_are_not_finite_are_not_saved_within_an_epoch(
    tmp_path, model, reader, labels, monkeypatch
):
    monkeypatch.setattr(schedule, "CHUNK_STEPS", 2)
    monkeypatch.setattr(saving, "SAVE_SECONDS", -1.0)

    def on_step(state, step):
        if (state.progress.epoch, step) == (1, 1):
            state.model.head.weight.detach()[0, 0] = float("inf")

    with pytest.raises(UserError, match="non-finite weights in epoch 2, step 2 of 5"):
        train(tmp_path, model, reader, labels, on_step=on_step)
    assert load(tmp_path)["progress"]["epoch"] == 1
    assert_finite(tmp_path)
