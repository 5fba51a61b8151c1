from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from lib.config.model import Loss, WeightAveraging
from lib.config.schema import Run
from lib.data.image_reader import ImageReader
from lib.errors import UserError
from lib.models import factory
from lib.training.evaluate import evaluate
from lib.training.loaders.image_loader import ImageLoader
from lib.training.losses import Losses
from lib.training.trainer import train_model
from tests.image_catalog import folder_of
from tests.training.training_runs import (
    TRAIN,
    VALID,
    assert_same_weights,
    history,
    load,
    train,
    training_set,
)


def trained_model(folder, cfg):
    net = factory.create_from_config(cfg, 3, "none").eval()
    net.load_state_dict(load(folder)["model"])
    return net


def images_of(reader, rows):
    return np.stack([reader.decode(row) for row in rows]).transpose(0, 3, 1, 2)


def changed_weights(folder, build):
    """Keys of the weights that differ from those of a new model of the same seed."""
    torch.manual_seed(1)
    initial, trained = build().state_dict(), load(folder)["model"]
    return {key for key in initial if not torch.equal(initial[key], trained[key])}


def test_colors_are_learned(tmp_path, model, reader, labels):
    facts = train(tmp_path, replace(model, epochs=8), reader, labels)
    assert facts["last_accuracy"] > 0.9  # one of the 18 is corrupt
    assert facts["images"] == len(TRAIN)
    lines = history(tmp_path)
    assert [line["phase"] for line in lines] == ["head"] + ["body"] * 8
    assert [line["epoch"] for line in lines] == list(range(1, 10))
    assert lines[-1]["valid_accuracy"] == facts["last_accuracy"]
    assert lines[-1]["loss"] < lines[0]["loss"]
    names = ["_times.jsonl", "history.jsonl", "last.pt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_the_callback_gets_every_step_of_every_epoch(tmp_path, model, reader, labels):
    steps = []
    train(
        tmp_path,
        model,
        reader,
        labels,
        on_step=lambda state, step: steps.append((state.progress.epoch, step)),
    )
    assert steps == [(epoch, step) for epoch in range(3) for step in range(5)]


def test_the_validation_metrics_are_those_of_the_saved_model(tmp_path, model, reader, labels):
    facts = train(tmp_path, model, reader, labels)
    targets = torch.from_numpy(labels[VALID].astype(np.int64))
    net = trained_model(tmp_path, model)
    center = np.ascontiguousarray(images_of(reader, VALID)[:, :, 2:22, 2:18])
    with torch.inference_mode():
        logits = net(net.normalise(torch.from_numpy(center)))
    accuracy = float((logits.argmax(1) == targets).float().mean())
    assert facts["last_accuracy"] == pytest.approx(accuracy)
    loss = float(nn.functional.cross_entropy(logits, targets))
    assert history(tmp_path)[-1]["valid_loss"] == pytest.approx(loss, rel=1e-4)


def test_the_training_accuracy_is_that_of_the_training_batches(tmp_path, model, reader, labels):
    """With a model that does not change, on images without augmentation."""
    cfg = replace(
        model,
        arch="squeezenet1_1",
        lr=1e-12,
        head_only_epochs=0,
        epochs=1,
        batch_size=14,
        grad_accum_steps=2,
        flip=False,
        resize=(36, 36),
        crop=(36, 36),
    )
    labels = np.searchsorted([4, 7], np.arange(len(labels)) % 10, "right").astype(np.int16)
    with ImageReader(reader.catalog, (36, 36), 1) as large:
        train(tmp_path, cfg, large, labels)
        net, images = trained_model(tmp_path, cfg), images_of(large, TRAIN).copy()
    with torch.inference_mode():
        predicted = net(net.normalise(torch.from_numpy(images))).argmax(1).numpy()
    (line,) = history(tmp_path)
    assert line["accuracy"] == pytest.approx((predicted == labels[TRAIN]).mean(), abs=1e-6)


def test_another_seed_gives_another_model(tmp_path, model, reader, labels):
    folders = [folder_of(tmp_path, str(seed)) for seed in (1, 2)]
    for seed, folder in enumerate(folders):
        train(folder, model, reader, labels, seed=seed)
    a, b = (load(folder)["model"]["head.weight"] for folder in folders)
    assert not torch.equal(a, b)


def test_validation_labels_never_reach_the_weights(tmp_path, model, reader, labels):
    true, wrong = folder_of(tmp_path, "true"), folder_of(tmp_path, "wrong")
    train(true, model, reader, labels)
    changed = labels.copy()
    changed[VALID] = (changed[VALID] + 1) % 3
    train(wrong, model, reader, changed)
    assert_same_weights(load(true)["model"], load(wrong)["model"])


def test_head_only_epochs_do_not_change_the_body(tmp_path, model, reader, labels):
    train(tmp_path, replace(model, epochs=0, head_only_epochs=2), reader, labels)
    changed = changed_weights(tmp_path, lambda: factory.create_model("small", 3, "none"))
    assert changed == {"head.weight", "head.bias"}


def test_units_before_freeze_until_do_not_change(tmp_path, model, reader, labels):
    train(tmp_path, replace(model, freeze_until=2), reader, labels)
    changed = changed_weights(tmp_path, lambda: factory.create_model("small", 3, "none"))
    assert {key.split(".")[1] for key in changed} == {"2", "3", "4", "weight", "bias"}


def test_the_unfreeze_schedule_frees_units_by_epoch(tmp_path, model, reader, labels):
    num_frozen = {}

    def count_frozen(state, step):
        first_params = [next(m.parameters()) for unit in state.model.units for m in unit]
        num_frozen.setdefault(state.progress.epoch, set()).add(
            sum(not p.requires_grad for p in first_params)
        )

    train(tmp_path, replace(model, unfreeze_schedule=(4, 1)), reader, labels, on_step=count_frozen)
    assert num_frozen == {0: {5}, 1: {4}, 2: {1}}


def test_bf16_trains_on_a_cpu(tmp_path, model, catalog, labels):
    model = replace(model, resize=(48, 40), crop=(44, 36))
    float32 = folder_of(tmp_path, "float32")
    with ImageReader(catalog, model.resize, 1) as reader:
        train(tmp_path, replace(model, precision="bf16"), reader, labels)
        train(float32, model, reader, labels)
    rounded, exact = (load(folder)["model"]["head.weight"] for folder in (tmp_path, float32))
    assert rounded.dtype == torch.float32
    assert not torch.equal(rounded, exact)


def test_fewer_images_than_a_batch_still_train(tmp_path, model, reader, labels):
    facts = train(tmp_path, replace(model, batch_size=500), reader, labels)
    assert facts["epochs"] == 3


def test_a_gpu_that_is_absent_is_refused(tmp_path, model, reader, labels, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    data = training_set(reader, model, labels)
    with pytest.raises(UserError, match="torch sees no GPU"):
        train_model(tmp_path, model, data, 1, Run(device="cuda"))


def test_micro_batches_give_the_gradient_of_the_batch(tmp_path, model, reader, labels):
    """Without trainable batch norms and random crops, which differ by micro-batch."""
    model = replace(model, head_only_epochs=1, epochs=0, crop=model.resize, flip=False)
    full, accumulated = folder_of(tmp_path, "full"), folder_of(tmp_path, "accumulated")
    train(full, model, reader, labels)
    train(accumulated, replace(model, grad_accum_steps=4), reader, labels)
    a, b = (load(folder)["model"]["head.weight"] for folder in (full, accumulated))
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pieces", [4, 20])  # 11, 11, 11, 9 rows; 14 times 3
def test_micro_batches_that_do_not_divide_a_batch_weigh_their_rows_alike(
    tmp_path, model, reader, labels, pieces
):
    """SGD on the head alone: AdamW would hide a wrong size of the gradient."""
    model = replace(
        model,
        head_only_epochs=0,
        freeze_until=5,
        batch_size=500,
        crop=model.resize,
        flip=False,
        clip_grad_norm=0.0,
    )
    full, accumulated = folder_of(tmp_path, "full"), folder_of(tmp_path, "accumulated")
    train(full, model, reader, labels)
    train(accumulated, replace(model, grad_accum_steps=pieces), reader, labels)
    a, b = (load(folder)["model"]["head.weight"] for folder in (full, accumulated))
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    for expected, line in zip(history(full), history(accumulated), strict=True):
        assert line["loss"] == pytest.approx(expected["loss"], rel=1e-5)
        assert line["accuracy"] == pytest.approx(expected["accuracy"])


@pytest.mark.parametrize(
    "average", [WeightAveraging("ema", ema_decay=0.99), WeightAveraging("swa", swa_start=0.0)]
)
@pytest.mark.parametrize("unfreeze_schedule", [(), (0, 3)])
def test_averaged_weights_are_evaluated_and_saved(
    tmp_path, model, reader, labels, average, unfreeze_schedule
):
    """Also units that are frozen after they trained: their average differs from their weights."""
    model = replace(model, weight_average=average, unfreeze_schedule=unfreeze_schedule)
    last_step = {}

    def keep_weights(state, step):
        last_step["head"] = state.model.head.weight.detach().clone()

    facts = train(tmp_path, model, reader, labels, on_step=keep_weights)
    targets = torch.from_numpy(labels.astype(np.int64))
    loader, net = ImageLoader(reader, model), trained_model(tmp_path, model)
    metrics = evaluate(net, model, loader, VALID, targets, Losses(Loss()), 8)
    assert not torch.equal(net.head.weight, last_step["head"])
    assert metrics["valid_accuracy"] == facts["last_accuracy"]
    assert metrics["valid_loss"] == pytest.approx(history(tmp_path)[-1]["valid_loss"], rel=1e-5)


def test_swa_measures_batch_norms_on_full_batches(tmp_path, model, reader, labels):
    calls = []

    class RecordingLoader(ImageLoader):
        def train_batches(self, rows, batch_size, *arguments):
            sizes = []
            calls.append(sizes)
            for batch_rows, inputs in super().train_batches(rows, batch_size, *arguments):
                sizes.append(len(batch_rows))
                yield batch_rows, inputs

    cfg = replace(model, weight_average=WeightAveraging("swa"), batch_size=9)
    data = replace(training_set(reader, cfg, labels), loader=RecordingLoader(reader, cfg))
    facts = train_model(tmp_path, cfg, data, 1, Run())
    assert facts["images"] % 9
    num_epochs, num_averages = 3, 2  # at the end of the last epoch, and at the end of the run
    assert calls == [[9, 9, 9, 9]] * (num_epochs + num_averages)


def test_every_epoch_logs_the_accuracy_of_each_level(tmp_path, model, reader, labels):
    data = training_set(reader, model, labels, levels=[np.array([0, 0, 1])])
    train_model(tmp_path, model, data, 1, Run())
    for line in history(tmp_path):
        assert 0 < line["valid_accuracy_level1"] <= 1
    assert "valid_accuracy_level2" not in line


def raising(error):
    def on_step(state, step):
        raise error

    return on_step


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA"), RuntimeError("DefaultCPUAllocator: not enough")]
)
def test_out_of_memory_names_the_setting_to_lower(tmp_path, model, reader, labels, error):
    with pytest.raises(UserError, match=r"out of memory at batch_size = 8.*grad_accum_steps = 2"):
        train(tmp_path, model, reader, labels, on_step=raising(error))


def test_other_errors_are_not_reported_as_out_of_memory(tmp_path, model, reader, labels):
    error = RuntimeError("a size does not match")
    with pytest.raises(RuntimeError, match="does not match"):
        train(tmp_path, model, reader, labels, on_step=raising(error))
