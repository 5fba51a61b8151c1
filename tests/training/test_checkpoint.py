import json
from dataclasses import replace

import pytest
import torch

from lib.config.inputs.fusion import Fusion
from lib.config.model import Model
from lib.errors import UserError
from lib.models.fusion import FusionModel
from lib.training import checkpoint

CPU = torch.device("cpu")
FUSED = Model(input="embedding", fusion=Fusion(inputs=("a",), hidden_sizes=(7,)))


@pytest.fixture
def fused(tmp_path):
    net = FusionModel(FUSED.fusion, 6, 5)
    torch.save({"network": "-", "classes": 5, "model": net.state_dict()}, tmp_path / "fused.pt")
    return tmp_path / "fused.pt"


def test_a_loaded_network_has_the_saved_weights_and_is_frozen(model, checkpoints):
    saved = torch.load(checkpoints[0], weights_only=True)["model"]
    net = checkpoint.load_classifier(checkpoints[0], model, CPU)
    assert not net.training
    assert not any(weight.requires_grad for weight in net.body.parameters())
    assert all(torch.equal(value, saved[key]) for key, value in net.state_dict().items())


def test_a_missing_or_damaged_checkpoint_is_named(tmp_path, model, fused):
    for load in (
        checkpoint.load_classifier,
        lambda path, _, cpu: checkpoint.load_fusion_model(path, FUSED, 6, cpu),
    ):
        with pytest.raises(UserError, match=r"absent\.pt: no such checkpoint"):
            load(tmp_path / "absent.pt", model, CPU)
        (tmp_path / "damaged.pt").write_bytes(fused.read_bytes()[:1000])
        with pytest.raises(UserError, match=r"damaged\.pt: not a readable checkpoint"):
            load(tmp_path / "damaged.pt", model, CPU)


def test_a_checkpoint_of_other_settings_is_named(model, checkpoints, fused):
    with pytest.raises(UserError, match="holds small, the config says resnet18"):
        checkpoint.load_classifier(checkpoints[0], replace(model, arch="resnet18"), CPU)
    other = replace(FUSED, fusion=replace(FUSED.fusion, hidden_sizes=(8,)))
    for wrong, width in ((other, 6), (FUSED, 7)):
        with pytest.raises(UserError, match="another fusion than the config says"):
            checkpoint.load_fusion_model(fused, wrong, width, CPU)


HISTORY = [
    {"epoch": 1, "phase": "head", "loss": 3.0, "valid_loss": 2.5, "valid_accuracy": 0.2},
    {"epoch": 2, "phase": "body", "loss": 2.0, "valid_loss": 1.5, "valid_accuracy": 0.6},
    {"epoch": 3, "phase": "body", "loss": 1.0, "valid_loss": None, "valid_accuracy": None},
]
TIMES = {"images_per_second": 40.0, "seconds": 2.0, "cpu_seconds": 3.0}


def test_progress_knows_the_best_accuracy_and_the_losses_of_the_body():
    progress = checkpoint.Progress(history=HISTORY)
    assert progress.best_accuracy == 0.6
    assert progress.losses == [1.5, 1.0]  # the training loss where nothing validates
    assert checkpoint.Progress().best_accuracy == -1


def test_the_next_epoch_begins_without_figures_of_the_last_one():
    progress = checkpoint.Progress(3, 7, 1.0, 2.0, 3.0, 4.0, HISTORY)
    progress.begin_next_epoch()
    assert progress == checkpoint.Progress(epoch=4, history=HISTORY)


def test_history_holds_no_times_so_that_two_runs_write_the_same(tmp_path):
    checkpoint.write_history(tmp_path, [line | TIMES for line in HISTORY])
    lines = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert lines == HISTORY
    times = [json.loads(line) for line in (tmp_path / "_times.jsonl").read_text().splitlines()]
    assert times == [{"epoch": epoch} | TIMES for epoch in (1, 2, 3)]
    assert checkpoint.facts(tmp_path, 42) == {
        "images": 42,
        "epochs": 3,
        "last_accuracy": 0.6,
        "best_accuracy": 0.6,
        "images_per_second": 40.0,
    }


def test_a_run_is_finished_when_last_holds_no_progress(tmp_path):
    assert checkpoint.read(tmp_path / "last.pt") is None
    assert not checkpoint.is_finished(tmp_path)
    weights = {"network": "resnet18", "classes": 2, "model": {}}
    checkpoint.write(tmp_path / "last.pt", weights | {"progress": {"epoch": 1}})
    assert not checkpoint.is_finished(tmp_path)
    checkpoint.write(tmp_path / "last.pt", weights)
    assert checkpoint.is_finished(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]


def test_progress_of_another_version_is_refused(tmp_path):
    path = tmp_path / "last.pt"
    assert checkpoint.read_progress(path, {"progress": {"epoch": 2}}).epoch == 2
    with pytest.raises(UserError, match=r"last\.pt: written by another version"):
        checkpoint.read_progress(path, {"progress": {"segment": 2}})
