import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from lib.config.model import Loss, LRSchedule, Sampling, WeightAveraging
from lib.config.schema import Run
from lib.data.image_reader import ImageReader
from lib.errors import UserError
from lib.models import factory
from lib.training import checkpoint, weight_averaging
from lib.training import trainer as training
from lib.training.dataset import TrainingSet
from lib.training.evaluate import spread, watch
from lib.training.loader import ImageLoader
from lib.training.losses import Losses
from tests.image_catalog import folder_of

TRAIN, VALID = np.arange(0, 42), np.arange(42, 60)


class Stop(Exception):
    """Stands for a kill in the middle of a step."""


def run(folder, model, reader, labels, valid=VALID, classes=3, seed=1):
    lesson = lesson_of(reader, model, labels, TRAIN, valid, classes)
    return training.train(folder, model, lesson, seed, Run())


def lesson_of(reader, model, labels, train=TRAIN, valid=VALID, classes=3, levels=()):
    product = np.arange(len(labels))
    feed = ImageLoader(reader, model)

    def build(weights):
        return factory.create_from_config(model, classes, weights)

    return TrainingSet(feed, build, labels, product, train, valid, classes, levels)


def state_of(folder, name="last.pt"):
    return torch.load(folder / name, weights_only=True)


def history(folder):
    lines = (folder / "history.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def assert_same(one, other):
    assert one.keys() == other.keys()
    for key in one:
        assert torch.equal(one[key], other[key]), key


def stop_after(monkeypatch, steps):
    """Raise once in the middle of training, after this many steps."""
    whole, taken = training._Training._step, 0

    def counted(self, *arguments):
        nonlocal taken
        if taken == steps:
            taken += 1
            raise Stop
        taken += 1
        return whole(self, *arguments)

    monkeypatch.setattr(training._Training, "_step", counted)


@pytest.fixture
def with_dropout(monkeypatch):
    """A body that draws random numbers in every step."""
    plain = factory.create_model

    def build(*arguments):
        net = plain(*arguments)
        net.body.add_module("dropout", nn.Dropout(0.2))
        net.units.append([net.body.get_submodule("dropout")])
        return net

    monkeypatch.setattr(factory, "build", build)


def test_colours_are_learnt(tmp_path, model, reader, labels):
    facts = run(tmp_path, replace(model, epochs=8), reader, labels)
    assert facts["last_accuracy"] > 0.9  # one of the 18 is rotten
    assert facts["images"] == len(TRAIN)
    lines = history(tmp_path)
    assert [line["phase"] for line in lines] == ["head"] + ["body"] * 8
    assert [line["epoch"] for line in lines] == list(range(1, 10))
    assert lines[-1]["valid_accuracy"] == facts["last_accuracy"]
    assert lines[-1]["loss"] < lines[0]["loss"]
    names = ["_times.jsonl", "best.pt", "history.jsonl", "last.pt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_the_accuracy_is_that_of_the_stored_network(tmp_path, model, reader, labels):
    facts = run(tmp_path, model, reader, labels)
    truth = torch.from_numpy(labels[VALID].astype(np.int64))
    net = factory.create_model("small", 3, "none").eval()
    net.load_state_dict(state_of(tmp_path)["model"])
    pictures = np.stack([reader.decode(row) for row in VALID]).transpose(0, 3, 1, 2)
    middle = torch.from_numpy(np.ascontiguousarray(pictures[:, :, 2:22, 2:18]))
    with torch.inference_mode():
        logits = net(net.normalise(middle))
    accuracy = float((logits.argmax(1) == truth).float().mean())
    assert facts["last_accuracy"] == pytest.approx(accuracy)
    loss = float(nn.functional.cross_entropy(logits, truth))
    assert history(tmp_path)[-1]["valid_loss"] == pytest.approx(loss, rel=1e-4)


def test_the_training_accuracy_is_what_was_met(tmp_path, model, reader, labels):
    """A network that does not move, on pictures that are not altered."""
    still = replace(
        model,
        arch="squeezenet1_1",
        lr=1e-12,
        head_only_epochs=0,
        batch_size=14,
        grad_accum_steps=2,
        flip=False,
    )
    labels = np.searchsorted([4, 7], np.arange(len(labels)) % 10, "right").astype(np.int16)
    still = replace(still, resize=(36, 36), crop=(36, 36), epochs=1)
    with ImageReader(reader.catalog, (36, 36), 1) as whole:
        run(tmp_path, still, whole, labels)
        net = factory.create_from_config(still, 3, "none").eval()
        net.load_state_dict(state_of(tmp_path)["model"])
        pictures = np.stack([whole.decode(row) for row in TRAIN]).transpose(0, 3, 1, 2)
    with torch.inference_mode():
        answers = net(net.normalise(torch.from_numpy(pictures.copy()))).argmax(1).numpy()
    (line,) = history(tmp_path)
    assert line["accuracy"] == pytest.approx((answers == labels[TRAIN]).mean(), abs=1e-6)


def test_final_files_hold_weights_alone(tmp_path, model, reader, labels):
    run(tmp_path, model, reader, labels)
    for name in ("last.pt", "best.pt"):
        saved = state_of(tmp_path, name)
        assert saved.keys() == {"network", "classes", "model"}
        assert (saved["network"], saved["classes"]) == ("small", 3)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("steps", [0, 3, 5, 7, 12, 14])
def test_a_stopped_run_ends_as_if_it_had_not_been(
    tmp_path, model, reader, labels, monkeypatch, with_dropout, steps, optimizer
):
    """5 steps an epoch in segments of 2; stops in the head, between epochs and within them."""
    monkeypatch.setattr(training, "SEGMENT_STEPS", 2)
    monkeypatch.setattr(training, "SAVE_SECONDS", -1.0)
    model = replace(model, optimizer=optimizer, lr=0.02 if optimizer == "sgd" else 0.002)
    whole, stopped = folder_of(tmp_path, "whole"), folder_of(tmp_path, "stopped")
    run(whole, model, reader, labels)
    stop_after(monkeypatch, steps)
    with pytest.raises(Stop):
        run(stopped, model, reader, labels)
    torch.manual_seed(999)
    run(stopped, model, reader, labels)
    assert_same(state_of(whole)["model"], state_of(stopped)["model"])
    assert_same(state_of(whole, "best.pt")["model"], state_of(stopped, "best.pt")["model"])
    assert history(whole) == history(stopped)


def test_a_resume_does_not_start_from_the_beginning(tmp_path, model, reader, labels, monkeypatch):
    stop_after(monkeypatch, 7)
    with pytest.raises(Stop):
        run(tmp_path, model, reader, labels)
    epochs = []
    whole = training._Training._run_epoch
    monkeypatch.setattr(
        training._Training,
        "_run_epoch",
        lambda self, bar: (epochs.append(self.progress.epoch), whole(self, bar)),
    )
    run(tmp_path, model, reader, labels)
    assert epochs == [1, 2]


def test_what_is_finished_is_not_trained_again(tmp_path, model, reader, labels, monkeypatch):
    facts = run(tmp_path, model, reader, labels)
    stop_after(monkeypatch, 0)
    assert run(tmp_path, model, reader, labels) == facts


def test_another_seed_gives_another_network(tmp_path, model, reader, labels):
    folders = [folder_of(tmp_path, str(seed)) for seed in (1, 2)]
    for seed, folder in enumerate(folders):
        run(folder, model, reader, labels, seed=seed)
    one, other = (state_of(folder)["model"]["head.weight"] for folder in folders)
    assert not torch.equal(one, other)


def test_watched_labels_never_reach_the_weights(tmp_path, model, reader, labels):
    honest, lying = folder_of(tmp_path, "honest"), folder_of(tmp_path, "lying")
    run(honest, model, reader, labels)
    wrong = labels.copy()
    wrong[VALID] = (wrong[VALID] + 1) % 3
    run(lying, model, reader, wrong)
    assert_same(state_of(honest)["model"], state_of(lying)["model"])


def test_without_watched_pictures_best_is_last(tmp_path, model, reader, labels):
    facts = run(tmp_path, model, reader, labels, valid=np.arange(0))
    assert facts["best_accuracy"] is None
    assert_same(state_of(tmp_path)["model"], state_of(tmp_path, "best.pt")["model"])


def test_best_is_the_epoch_of_the_highest_accuracy(tmp_path, model, reader, labels, monkeypatch):
    accuracies = iter([0.2, 0.9, 0.4])
    seen = {}

    def watch(self):
        accuracy = next(accuracies)
        seen[accuracy] = self.net.head.weight.detach().clone()
        return {"valid_loss": 1.0, "valid_accuracy": accuracy}

    monkeypatch.setattr(training._Training, "_watch", watch)
    facts = run(tmp_path, model, reader, labels)
    assert facts["best_accuracy"] == 0.9
    assert torch.equal(state_of(tmp_path, "best.pt")["model"]["head.weight"], seen[0.9])
    assert torch.equal(state_of(tmp_path)["model"]["head.weight"], seen[0.4])


def test_the_head_epochs_leave_the_body_alone(tmp_path, model, reader, labels):
    torch.manual_seed(1)
    fresh = factory.create_model("small", 3, "none").state_dict()
    run(tmp_path, replace(model, epochs=0, head_only_epochs=2), reader, labels)
    trained = state_of(tmp_path)["model"]
    changed = {k for k in fresh if not torch.equal(fresh[k], trained[k])}
    assert changed == {"head.weight", "head.bias"}


def test_units_before_trainable_from_stay_as_loaded(tmp_path, model, reader, labels):
    torch.manual_seed(1)
    fresh = factory.create_model("small", 3, "none").state_dict()
    run(tmp_path, replace(model, freeze_until=2), reader, labels)
    trained = state_of(tmp_path)["model"]
    changed = {k.split(".")[1] for k in fresh if not torch.equal(fresh[k], trained[k])}
    assert changed == {"2", "3", "4", "weight", "bias"}


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_good_epoch(
    tmp_path, model, reader, labels, monkeypatch
):
    whole = training._Training._step

    def spoilt(self, *arguments):
        loss = whole(self, *arguments)
        return loss * float("nan") if self.progress.epoch == 1 else loss

    monkeypatch.setattr(training._Training, "_step", spoilt)
    with pytest.raises(UserError, match=r"the loss is nan in epoch 2.*lower lr"):
        run(tmp_path, model, reader, labels)
    saved = state_of(tmp_path)
    assert saved["progress"]["epoch"] == 1
    assert all(torch.isfinite(v).all() for v in saved["model"].values())


@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_weights_that_are_no_numbers_are_never_saved(
    tmp_path, model, reader, labels, monkeypatch, epoch
):
    """The last step of an epoch spoils them: no loss has told of it yet."""
    whole = training._Training._end_epoch

    def spoilt(self, bar):
        if self.progress.epoch == epoch:
            self.net.state_dict()["head.weight"][0, 0] = float("inf")
        whole(self, bar)

    monkeypatch.setattr(training._Training, "_end_epoch", spoilt)
    with pytest.raises(UserError, match=rf"weights are no numbers .* in epoch {epoch + 1}"):
        run(tmp_path, model, reader, labels)
    for path in tmp_path.glob("*.pt"):
        saved = torch.load(path, weights_only=True)
        assert all(torch.isfinite(v).all() for v in saved["model"].values())
    assert (tmp_path / "last.pt").exists() == (epoch > 0)
    assert not checkpoint.finished(tmp_path)


def test_swa_measures_batch_norms_on_whole_batches(tmp_path, model, reader, labels, monkeypatch):
    sizes = []

    def measured(net, batches, ranks):
        sizes.extend(len(batch) for batch in batches)

    monkeypatch.setattr(weight_averaging, "measure_batch_norms", measured)
    facts = run(
        tmp_path,
        replace(model, weight_average=WeightAveraging("swa"), batch_size=9),
        reader,
        labels,
    )
    assert facts["images"] % 9
    assert set(sizes) == {9}


def test_bf16_trains_on_a_cpu(tmp_path, model, known, labels):
    model = replace(model, resize=(48, 40), crop=(44, 36))
    plain = folder_of(tmp_path, "plain")
    with ImageReader(known, model.resize, 1) as reader:
        run(tmp_path, replace(model, precision="bf16"), reader, labels)
        run(plain, model, reader, labels)
    rounded, full = (state_of(f)["model"]["head.weight"] for f in (tmp_path, plain))
    assert rounded.dtype == torch.float32
    assert not torch.equal(rounded, full)


def test_fewer_pictures_than_a_batch_still_train(tmp_path, model, reader, labels):
    facts = run(tmp_path, replace(model, batch_size=500), reader, labels)
    assert facts["epochs"] == 3


def test_pictures_without_a_class_are_refused(tmp_path, model, reader, labels):
    labels = labels.copy()
    labels[5] = -1
    with pytest.raises(ValueError, match="picture row 5 has no class"):
        run(tmp_path, model, reader, labels)


def test_nothing_to_train_on_is_refused(tmp_path, model, reader, labels):
    lesson = lesson_of(reader, model, labels, TRAIN[:1])
    with pytest.raises(UserError, match="1 pictures are left to train on"):
        training.train(tmp_path, model, lesson, 1, Run())


def test_a_gpu_that_is_not_there_is_refused(tmp_path, model, reader, labels, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    lesson = lesson_of(reader, model, labels)
    with pytest.raises(UserError, match="torch sees no GPU"):
        training.train(tmp_path, model, lesson, 1, Run(device="cuda"))


def test_watched_rows_are_spread_evenly():
    rows = np.arange(1000)
    assert spread(rows, 2000) is rows
    few = spread(rows, 10)
    assert len(few) == len(set(few.tolist())) == 10
    assert few[0] == 0
    assert few[-1] == 999


SETTINGS = {
    "mixup": {"loss": Loss(label_smoothing=0.1, mixup_alpha=0.4)},
    "ema": {"weight_average": WeightAveraging("ema", ema_decay=0.9)},
    "swa": {"weight_average": WeightAveraging("swa", swa_start=0.4)},
    "hard": {
        "sampling": Sampling(class_balance=0.5, one_image_per_product=True, hard_example_weight=2.0)
    },
    "unfreeze": {"unfreeze_schedule": (4, 2), "optimizer": "adamw", "lr": 0.002},
    "batches": {"batch_size_schedule": ((1, 16),), "lr_schedule": LRSchedule("constant")},
    "accumulate": {"grad_accum_steps": 4},
    "plateau": {"lr_schedule": LRSchedule("plateau", warmup_fraction=0.0), "epochs": 3},
    "one_cycle": {
        "lr_schedule": LRSchedule("one_cycle"),
        "loss": Loss(focal_gamma=2.0, hierarchy_weight=0.5),
    },
}


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_learns_and_resumes_to_the_last_bit(
    tmp_path, model, reader, labels, monkeypatch, with_dropout, name
):
    monkeypatch.setattr(training, "SEGMENT_STEPS", 2)
    monkeypatch.setattr(training, "SAVE_SECONDS", -1.0)
    plain = run(folder_of(tmp_path, "plain"), model, reader, labels)
    model = replace(model, **SETTINGS[name])
    whole, stopped = folder_of(tmp_path, "whole"), folder_of(tmp_path, "stopped")
    facts = run(whole, model, reader, labels)
    assert facts["images"] == plain["images"]
    assert history(whole) != history(tmp_path / "plain")  # the setting is heard
    for steps in (8, 2):
        stop_after(monkeypatch, steps)
        with pytest.raises(Stop):
            run(stopped, model, reader, labels)
    run(stopped, model, reader, labels)
    assert_same(state_of(whole)["model"], state_of(stopped)["model"])
    assert_same(state_of(whole, "best.pt")["model"], state_of(stopped, "best.pt")["model"])
    assert history(whole) == history(stopped)


def test_a_batch_in_pieces_is_the_same_batch(tmp_path, model, reader, labels, monkeypatch):
    """Without batch norms in training mode and random cuts, which differ by piece."""
    model = replace(model, head_only_epochs=1, epochs=0, crop=model.resize, flip=False)
    whole, pieces = folder_of(tmp_path, "whole"), folder_of(tmp_path, "pieces")
    run(whole, model, reader, labels)
    run(pieces, replace(model, grad_accum_steps=4), reader, labels)
    one, other = (state_of(folder)["model"]["head.weight"] for folder in (whole, pieces))
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_the_averaged_network_is_watched_and_kept(tmp_path, model, reader, labels):
    model = replace(model, weight_average=WeightAveraging("ema", ema_decay=0.99))
    facts = run(tmp_path, model, reader, labels)
    net = factory.create_model("small", 3, "none").eval()
    net.load_state_dict(state_of(tmp_path)["model"])
    truth = torch.from_numpy(labels.astype(np.int64))
    levels = watch(net, model, ImageLoader(reader, model), VALID, truth, Losses(Loss()), 8)
    assert levels["valid_accuracy"] == facts["last_accuracy"]
    assert levels["valid_loss"] == pytest.approx(history(tmp_path)[-1]["valid_loss"], rel=1e-5)


def test_levels_are_watched(tmp_path, model, reader, labels):
    lesson = lesson_of(reader, model, labels, levels=[np.array([0, 0, 1])])
    training.train(tmp_path, model, lesson, 1, Run())
    for line in history(tmp_path):
        assert 0 < line["valid_accuracy_level1"] <= 1
    assert "valid_accuracy_level2" not in line


def test_units_thaw_by_epoch(tmp_path, model, reader, labels, monkeypatch):
    frozen = []
    whole = training._Training._run_epoch

    def watched(self, bar):
        units = self.net.units
        frozen.append([not next(m.parameters()).requires_grad for unit in units for m in unit])
        whole(self, bar)

    monkeypatch.setattr(training._Training, "_run_epoch", watched)
    run(tmp_path, replace(model, unfreeze_schedule=(4, 1)), reader, labels)
    assert [row.count(True) for row in frozen] == [5, 4, 1]


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA"), RuntimeError("DefaultCPUAllocator: not enough")]
)
def test_too_little_memory_names_what_to_lower(tmp_path, model, reader, labels, monkeypatch, error):
    def full(*_):
        raise error

    monkeypatch.setattr(training._Training, "_step", full)
    with pytest.raises(UserError, match=r"out of memory at batch_size = 8.*grad_accum_steps = 2"):
        run(tmp_path, model, reader, labels)


def test_other_errors_are_not_about_memory(tmp_path, model, reader, labels, monkeypatch):
    def broken(*_):
        raise RuntimeError("a size does not match")

    monkeypatch.setattr(training._Training, "_step", broken)
    with pytest.raises(RuntimeError, match="does not match"):
        run(tmp_path, model, reader, labels)
