from dataclasses import replace
from pathlib import Path

import pytest

from lib.config.load import load
from lib.config.model import Augment, Model
from lib.pipeline.experiment import Experiment, load_experiment
from lib.stages.rehearsal.derive import (
    EPOCHS,
    config_path,
    rehearsal_of,
    rehearse_model,
    write_config,
)

CONFIGS = sorted(str(path) for path in Path("configs").glob("*.toml"))
SAME = ("arch", "weights", "head", "n_folds", "resize", "crop", "precision", "input", "fusion")


@pytest.mark.parametrize("config", CONFIGS)
def test_every_config_has_a_rehearsal_with_the_same_networks_and_columns(tmp_path, config):
    experiment = load_experiment(config, [f"work={tmp_path}"])
    rehearsal = rehearsal_of(experiment, 500)
    before, after = experiment.config, load(write_config(rehearsal))
    assert Experiment(after).folder == tmp_path / "rehearsal" / before.name == rehearsal.folder
    assert after.data.draw == 500
    assert after.stack_part == before.stack_part
    for name, model in before.models.items():
        for key in SAME:
            assert getattr(after.models[name], key) == getattr(model, key)
        assert after.models[name].epochs <= EPOCHS
    assert (after.features, after.backbones) == (before.features, before.backbones)
    assert after.sources == before.sources
    assert [after.layers(s) for s in after.sources] == [before.layers(s) for s in before.sources]


def test_a_second_round_is_rehearsed_on_the_rehearsal_of_its_first(tmp_path):
    experiment = load_experiment("configs/fashion_small_round2.toml", [f"work={tmp_path}"])
    rehearsal = rehearsal_of(experiment, 100)
    path = write_config(rehearsal)
    assert path == config_path(rehearsal) == tmp_path / "rehearsal" / "fashion_small_round2.toml"
    again = load_experiment(path)
    assert again.teacher is not None
    assert again.teacher.folder == tmp_path / "rehearsal" / "fashion_small"
    assert again.teacher.config.data.draw == 100
    assert experiment.teacher is not None
    assert experiment.teacher.config.data.draw == 0


@pytest.mark.parametrize("products", [40, 2000, 20_000])
def test_a_piece_of_a_batch_is_as_large_as_the_largest_of_the_training(products):
    model = Model(
        batch_size=64,
        batch_size_schedule=((1, 512), (2, 2048)),
        grad_accum_steps=4,
        unfreeze_schedule=(5, 2),
        augment=Augment(ramp_epochs=3, max_rotation=10.0),
        warm_start="work/mine",
    )
    short = rehearse_model(model, products)
    assert short.warm_start == ""  # a run of other products
    assert short.batch_size // short.grad_accum_steps == 512
    assert short.grad_accum_steps == {40: 1, 2000: 1, 20_000: 4}[products]
    assert (short.freeze_until, short.unfreeze_schedule) == (2, ())
    assert short.augment == replace(model.augment, ramp_epochs=0)
