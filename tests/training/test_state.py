"""Runs that stop and resume, and the checkpoints that they write."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lib.config.inputs.segmentation import Segmentation
from lib.config.model import Aspect, Augment, Loss, LRSchedule, Sampling, WeightAveraging
from lib.errors import UserError
from lib.training import checkpoint, schedule, state
from tests.image_catalog import folder_of
from tests.training.training_runs import (
    Stop,
    assert_finite,
    assert_same_run,
    assert_same_weights,
    history,
    load,
    stop_after,
    train,
)

LAST_STEP = 4  # of an epoch of 42 images in batches of 8
SETTINGS = {
    "mixup": {"loss": Loss(label_smoothing=0.1, mixup_alpha=0.4)},
    "ema": {"weight_average": WeightAveraging("ema", ema_decay=0.9)},
    "swa": {"weight_average": WeightAveraging("swa", swa_start=0.4)},
    "hard": {
        "sampling": Sampling(class_balance=0.5, one_image_per_product=True, hard_example_weight=2.0)
    },
    "published_9th": {  # the head by Adam, then by SGD, then all of it in cycles
        "head_only_epochs": 2,
        "head_lr_milestones": ((0, 1e-3), (1, 1e-4)),
        "epochs": 3,
        "unfreeze_schedule": (5, 0),
        "lr_schedule": LRSchedule("multistep", milestones=((0, 1e-3), (1, 1e-2), (2, 1e-3))),
        "sampling": Sampling(one_image_per_product=True, hard_example_weight=1.0),
        "augment": Augment(max_rotation=10.0, no_aug_epochs=1),
    },
    "product": {"input": "product", "image_pooling": "max", "loss": Loss(focal_gamma=1.0)},
    "unfreeze": {"unfreeze_schedule": (4, 2), "optimizer": "adamw", "lr": 0.002},
    "batch_size": {"batch_size_schedule": ((1, 16),), "lr_schedule": LRSchedule("constant")},
    "oversample": {"sampling": Sampling(oversample=1.0), "aspect": Aspect(2)},
    "light_augment": {"augment": Augment(image_fraction=0.25, max_rotation=20.0, brightness=0.2)},
    "aspect": {"aspect": Aspect(3)},
    "aspect_swa": {
        "aspect": Aspect(3),
        "grad_accum_steps": 2,
        "weight_average": WeightAveraging("swa", swa_start=0.4),
        "sampling": Sampling(class_balance=0.5, hard_example_weight=2.0),
    },
    "cyclical": {"lr_schedule": LRSchedule("cyclical", num_cycles=2)},
    "accumulate": {"grad_accum_steps": 4},
    "plateau": {"lr_schedule": LRSchedule("plateau", warmup_fraction=0.0), "epochs": 3},
    "one_cycle": {
        "lr_schedule": LRSchedule("one_cycle"),
        "loss": Loss(focal_gamma=2.0, hierarchy_weight=0.5),
    },
    "segmentation": {
        "kind": "segmentation",
        "segmentation": Segmentation(core=0.5, stride=4, width=8),
        "augment": Augment(min_area=0.6),
        "sampling": Sampling(class_balance=0.5),
    },
}


@pytest.fixture
def short_chunks(monkeypatch):
    """A checkpoint after every 2 of the 5 steps of an epoch."""
    monkeypatch.setattr(schedule, "CHUNK_STEPS", 2)
    monkeypatch.setattr(state, "SAVE_SECONDS", -1.0)


@pytest.fixture
def model(model):
    """A model that draws random numbers in every step, and keeps its best epoch too."""
    return replace(model, dropout=0.2, checkpoint="best")


@pytest.mark.usefixtures("short_chunks")
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("num_steps", [1, 3, 4, 5, 6, 8, 13, 15])
def test_a_stopped_run_resumes_to_the_last_bit(
    tmp_path, model, reader, labels, num_steps, optimizer
):
    """Stops in the head-only epoch, at the end of epochs, at their start and within them."""
    model = replace(model, optimizer=optimizer, lr=0.02 if optimizer == "sgd" else 0.002)
    full, stopped = folder_of(tmp_path, "full"), folder_of(tmp_path, "stopped")
    train(full, model, reader, labels)
    with pytest.raises(Stop):
        train(stopped, model, reader, labels, on_step=stop_after(num_steps))
    torch.manual_seed(999)
    train(stopped, model, reader, labels)
    assert_same_run(full, stopped)


@pytest.mark.usefixtures("short_chunks")
@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_has_an_effect_and_resumes_to_the_last_bit(
    tmp_path, model, reader, labels, name
):
    default = train(folder_of(tmp_path, "default"), model, reader, labels)
    model = replace(model, **SETTINGS[name])
    full, stopped = folder_of(tmp_path, "full"), folder_of(tmp_path, "stopped")
    facts = train(full, model, reader, labels)
    assert facts["images"] == default["images"]
    assert history(full) != history(tmp_path / "default")
    for num_steps in (9, 3):
        with pytest.raises(Stop):
            train(stopped, model, reader, labels, on_step=stop_after(num_steps))
    train(stopped, model, reader, labels)
    assert_same_run(full, stopped)


@pytest.mark.usefixtures("short_chunks")
def test_a_run_that_was_stopped_before_its_final_weights_resumes_to_the_last_bit(
    tmp_path, model, reader, labels, monkeypatch
):
    """SWA measures batch norms again at the end, of the units that the last epoch trained."""
    model = replace(
        model,
        epochs=3,
        unfreeze_schedule=(2, 1, 3),
        weight_average=WeightAveraging("swa", swa_start=0.0),
    )
    full, stopped = folder_of(tmp_path, "full"), folder_of(tmp_path, "stopped")
    train(full, model, reader, labels)
    write = state.checkpoint.write

    def stop_at_final_weights(path, content):
        if path.name == "last.pt" and "progress" not in content:
            raise Stop
        write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(state.checkpoint, "write", stop_at_final_weights)
        with pytest.raises(Stop):
            train(stopped, model, reader, labels)
    assert load(stopped)["progress"]["epoch"] == 4
    train(stopped, model, reader, labels)
    assert_same_run(full, stopped)


def test_a_resumed_run_repeats_no_finished_epoch(tmp_path, model, reader, labels):
    with pytest.raises(Stop):
        train(tmp_path, model, reader, labels, on_step=stop_after(8))
    epochs = []
    train(
        tmp_path,
        model,
        reader,
        labels,
        on_step=lambda state, step: epochs.append(state.progress.epoch),
    )
    assert epochs == [1] * 5 + [2] * 5


def test_a_finished_run_is_not_trained_again(tmp_path, model, reader, labels):
    facts = train(tmp_path, model, reader, labels)
    assert train(tmp_path, model, reader, labels, on_step=stop_after(1)) == facts


def test_a_checkpoint_of_another_version_is_refused(tmp_path, model, reader, labels):
    with pytest.raises(Stop):
        train(tmp_path, model, reader, labels, on_step=stop_after(6))
    saved = load(tmp_path)
    saved["progress"]["segment"] = saved["progress"].pop("chunk")
    torch.save(saved, tmp_path / "last.pt")
    with pytest.raises(UserError, match=r"last\.pt: written by another version.*delete"):
        train(tmp_path, model, reader, labels)


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


def test_without_a_choice_of_the_best_epoch_only_the_last_is_kept(tmp_path, model, reader, labels):
    train(tmp_path, replace(model, checkpoint="last"), reader, labels)
    assert [path.name for path in tmp_path.glob("*.pt")] == ["last.pt"]


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
    monkeypatch.setattr(state, "SAVE_SECONDS", seconds)
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
    monkeypatch.setattr(state, "SAVE_SECONDS", -1.0)

    def on_step(state, step):
        if (state.progress.epoch, step) == (1, 1):
            state.model.head.weight.detach()[0, 0] = float("inf")

    with pytest.raises(UserError, match="non-finite weights in epoch 2, step 2 of 5"):
        train(tmp_path, model, reader, labels, on_step=on_step)
    assert load(tmp_path)["progress"]["epoch"] == 1
    assert_finite(tmp_path)
