from pathlib import Path

import pytest

from lib.config.load import load
from lib.errors import UserError
from tests.conftest import ROOT

SMALL = """
[train]
epochs = 3
[models.a]
arch = "small"
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
    assert models["a"].arch == "small"


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
        ("predict.tta_views=3", "choose one of 1, 2, 5, 10"),
        ("models.a.n_folds=3", "a divisor of split.n_folds 4"),
        ("models.a.n_folds=1", "need split.holdout above 0"),
        ("models.mean.epochs=1", "this name is taken"),
        ("train.crop=[200,160]", "larger than resize"),
        ("split.locked=0.0", "a share between 0 and 1"),
        ('stack.l2=["xgboots"]', "choose one of xgboost"),
        ("features.top_k=50", "above predict.top_k"),
        ("data.source=cvs", "choose one of bson, csv, folders, npy, strokes, sample"),
        ("data.group_by=style", "names a column of a csv"),
        ("train.lr_schedule.num_cycles=0", "models.a.lr_schedule.num_cycles = 0: at least 1"),
        ("train.lr_schedule.warmup_fraction=3.0", "lr_schedule.warmup_fraction = 3.0: from 0 to 1"),
        ("train.loss.label_smoothing=1.5", "loss.label_smoothing = 1.5: from 0 to 0.99"),
        ("train.loss.mixup_alpha=-0.2", "loss.mixup_alpha = -0.2: at least 0"),
        ("train.epochs=-1", "epochs = -1: at least 0"),
        ("models.b.augment.max_rotation=200.0", "b.augment.max_rotation = 200.0: from 0 to 180"),
        ("predict.shard_size=0", "predict.shard_size = 0: at least 1"),
        ("run.predict_batch_size=0", "run.predict_batch_size = 0: at least 1"),
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
    once = load(config_file, ["split.holdout=0.1", "models.a.n_folds=1"])
    assert once.stack_part == "holdout"


def test_without_a_test_file_only_the_locked_part_is_scored(config_file):
    assert load(config_file).scored_parts == ("locked", "test")
    assert load(config_file, ["data.test="]).scored_parts == ("locked",)
    assert load(config_file, ['data.test=""']).sides == ("train",)


@pytest.mark.parametrize(
    "override", ["inference.top_k=0", *(f"inference.min_precision={x}" for x in (0.4, 1.0))]
)
def test_answers_about_new_products_need_a_sense(config_file, override):
    with pytest.raises(UserError, match=override.split("=")[0]):
        load(config_file, [override])


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["mosaic.min_images=0"], "models.b.mosaic.min_images = 0: at least 1"),
        (["mosaic.min_images=3", "mosaic.max_images=2"], "or from min_images 3 on"),
        (["mosaic.max_images=-1"], "max_images = -1"),
        (["crop=[90, 160]"], "more than half of resize"),
        (["resize=[40, 40]", "crop=[30, 40]"], "at least 32 pixels"),
        (["sampling.one_image_per_product=true"], "shows all of a product's pictures at once"),
        (['fusion.inputs=["a"]'], 'a model with input = "embedding" reads, and no other'),
        (["n_folds=2", "pseudo_label.teacher=none.toml"], "has n_folds = 2"),
    ],
)
def test_a_mosaic_that_makes_no_sense_is_one_clear_line(config_file, overrides, words):
    own = [one if one.startswith("pseudo_label") else f"models.b.{one}" for one in overrides]
    with pytest.raises(UserError) as error:
        load(config_file, ["models.b.input=mosaic", *own])
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_only_mosaics_have_settings_of_mosaics(config_file):
    with pytest.raises(UserError, match=r'a\.mosaic: settings of a model with input = "mosaic"'):
        load(config_file, ["models.a.mosaic.min_images=2"])


def test_a_mosaic_has_no_embeddings_of_pictures(config_file):
    mosaic = "models.b.input=mosaic"
    with pytest.raises(UserError, match=r"predict\.embed_models = 'b'; choose one of a"):
        load(config_file, [mosaic, 'predict.embed_models=["b"]'])
    fused = ["models.c.input=embedding", 'models.c.fusion.inputs=["b"]']
    with pytest.raises(UserError, match=r"fusion\.inputs = 'b'; choose one of a"):
        load(config_file, [mosaic, *fused])
