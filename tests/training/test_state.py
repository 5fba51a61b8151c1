"""A run that is stopped and resumed ends like one that was not."""

from dataclasses import replace

import pytest
import torch

from lib.config.model import Loss, LRSchedule, Sampling, WeightAveraging
from lib.errors import UserError
from lib.training import saving, schedule
from tests.image_catalog import folder_of
from tests.training.training_runs import (
    Stop,
    assert_same_run,
    history,
    load,
    stop_after,
    train,
)

SETTINGS = {
    "mixup": {"loss": Loss(label_smoothing=0.1, mixup_alpha=0.4)},
    "ema": {"weight_average": WeightAveraging("ema", ema_decay=0.9)},
    "swa": {"weight_average": WeightAveraging("swa", swa_start=0.4)},
    "hard": {
        "sampling": Sampling(class_balance=0.5, one_image_per_product=True, hard_example_weight=2.0)
    },
    "unfreeze": {"unfreeze_schedule": (4, 2), "optimizer": "adamw", "lr": 0.002},
    "batch_size": {"batch_size_schedule": ((1, 16),), "lr_schedule": LRSchedule("constant")},
    "accumulate": {"grad_accum_steps": 4},
    "plateau": {"lr_schedule": LRSchedule("plateau", warmup_fraction=0.0), "epochs": 3},
    "one_cycle": {
        "lr_schedule": LRSchedule("one_cycle"),
        "loss": Loss(focal_gamma=2.0, hierarchy_weight=0.5),
    },
}


@pytest.fixture
def short_chunks(monkeypatch):
    """A checkpoint after every 2 of the 5 steps of an epoch."""
    monkeypatch.setattr(schedule, "CHUNK_STEPS", 2)
    monkeypatch.setattr(saving, "SAVE_SECONDS", -1.0)


@pytest.fixture
def model(model):
    """A model that draws random numbers in every step."""
    return replace(model, dropout=0.2)


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
    write = saving.checkpoint.write

    def stop_at_final_weights(path, content):
        if path.name == "last.pt" and "progress" not in content:
            raise Stop
        write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(saving.checkpoint, "write", stop_at_final_weights)
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
