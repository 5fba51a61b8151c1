from pathlib import Path

import pytest

from lib.config.load import load
from lib.errors import UserError
from tests.conftest import ROOT

SMALL = """
[train]
epochs = 3
[models.a]
network = "small"
[models.b]
epochs = 7
"""


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    path = tmp_path / "x.toml"
    path.write_text(SMALL)
    return path


@pytest.mark.parametrize("path", sorted(ROOT.glob("configs/*.toml")), ids=lambda p: p.stem)
def test_every_ready_config_loads(path):
    assert load(path).name == path.stem


def test_models_inherit_the_train_table(config_file):
    models = load(config_file).models
    assert (models["a"].epochs, models["b"].epochs) == (3, 7)
    assert models["a"].network == "small"


def test_set_reaches_the_models_through_train(config_file):
    config = load(config_file, ["train.epochs=4", "models.b.crop=[32, 48]", "name=other"])
    assert config.models["a"].epochs == 4
    assert config.models["b"].epochs == 7
    assert config.models["b"].crop == (32, 48)
    assert config.name == "other"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("train.epoch=1", "unknown key train.epoch; did you mean train.epochs?"),
        ("models.a.learning=1", "unknown key models.a.learning"),
        ("train.epochs=1.5", "takes a whole number, not 1.5"),
        ("train.flip=1", "takes true or false"),
        ("train.crop=[1,2,3]", "takes 2 values"),
        ("train=3", "takes a table"),
        ("models=3", "one table for each model"),
        ("train.lr", "write key=value"),
        ("seed.x.y=1", "is a value, not a table"),
        ("predict.views=3", "choose one of 1, 2, 5, 10"),
        ("models.a.folds=3", "a divisor of split.folds 4"),
        ("models.a.folds=1", "need split.holdout above 0"),
        ("models.mean.epochs=1", "this name is taken"),
        ("train.crop=[200,160]", "larger than resize"),
        ("split.locked=0.0", "a share between 0 and 1"),
        ('stack.layer2=["xgboots"]', "choose one of xgboost"),
        ("features.top_k=50", "above predict.top_k"),
        ("data.source=cvs", "choose one of bson, csv, folders, npy, strokes, sample"),
        ("data.group_by=style", "names a column of a csv"),
        ("train.rate.cycles=0", "models.a.rate.cycles = 0: at least 1"),
        ("train.rate.warm_up=3.0", "models.a.rate.warm_up = 3.0: from 0 to 1"),
        ("train.loss.smoothing=1.5", "loss.smoothing = 1.5: from 0 to 0.99"),
        ("train.loss.mixup=-0.2", "loss.mixup = -0.2: at least 0"),
        ("train.epochs=-1", "epochs = -1: at least 0"),
        ("models.b.augment.rotate=200.0", "models.b.augment.rotate = 200.0: from 0 to 180"),
        ("predict.shard=0", "predict.shard = 0: at least 1"),
        ("run.predict_batch=0", "run.predict_batch = 0: at least 1"),
    ],
)
def test_a_bad_setting_is_one_clear_line(config_file, override, words):
    if override.startswith("seed.x"):
        config_file.write_text("seed = 1\n" + SMALL)
    with pytest.raises(UserError) as error:
        load(config_file, [override])
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_and_a_broken_file(tmp_path):
    with pytest.raises(UserError, match="no such config"):
        load(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("a = = 1")
    with pytest.raises(UserError, match="not a readable TOML"):
        load(tmp_path / "bad.toml")


def test_one_network_fitted_once_moves_the_boosters_to_the_holdout(config_file):
    assert load(config_file).stack_part == "fit"
    once = load(config_file, ["split.holdout=0.1", "models.a.folds=1"])
    assert once.stack_part == "holdout"


def test_without_a_test_file_only_the_locked_part_is_scored(config_file):
    assert load(config_file).scored_parts == ("locked", "test")
    assert load(config_file, ["data.test="]).scored_parts == ("locked",)
    assert load(config_file, ['data.test=""']).sides == ("train",)


@pytest.mark.parametrize("override", ["new.top=0", "new.precision=0.4", "new.precision=1.0"])
def test_answers_about_new_products_need_a_sense(config_file, override):
    with pytest.raises(UserError, match=override.split("=")[0]):
        load(config_file, [override])


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["mosaic.least_images=0"], "models.b.mosaic.least_images = 0: at least 1"),
        (["mosaic.least_images=3", "mosaic.most_images=2"], "or from least_images 3 on"),
        (["mosaic.most_images=-1"], "most_images = -1"),
        (["crop=[90, 160]"], "more than half of resize"),
        (["resize=[40, 40]", "crop=[30, 40]"], "at least 32 pixels"),
        (["sampling.one_of_product=true"], "shows all of a product's pictures at once"),
        (['fusion.of=["a"]'], 'a model of kind "fusion" reads, and no other'),
        (["folds=2", "round.of=none.toml"], "no model of kind network has folds = 2"),
    ],
)
def test_a_mosaic_that_makes_no_sense_is_one_clear_line(config_file, overrides, words):
    own = [one if one.startswith("round") else f"models.b.{one}" for one in overrides]
    with pytest.raises(UserError) as error:
        load(config_file, ["models.b.kind=mosaic", *own])
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_only_mosaics_have_settings_of_mosaics(config_file):
    with pytest.raises(UserError, match=r'models\.a\.mosaic: settings of a model of kind "mosaic"'):
        load(config_file, ["models.a.mosaic.least_images=2"])


def test_a_mosaic_has_no_embeddings_of_pictures(config_file):
    mosaic = "models.b.kind=mosaic"
    with pytest.raises(UserError, match=r"predict\.embeddings = 'b'; choose one of a"):
        load(config_file, [mosaic, 'predict.embeddings=["b"]'])
    fused = ["models.c.kind=fusion", 'models.c.fusion.of=["b"]']
    with pytest.raises(UserError, match=r"fusion\.of = 'b'; choose one of a"):
        load(config_file, [mosaic, *fused])
