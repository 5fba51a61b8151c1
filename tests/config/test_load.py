from pathlib import Path

import pytest

from lib.config.load import load
from lib.config.model import Loss, Model
from lib.errors import UserError
from lib.pipeline.experiment import load_experiment
from tests.conftest import ROOT

SHIPPED = sorted(ROOT.glob("configs/*.toml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_config_loads(path):
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


def test_a_later_set_wins(config_file):
    assert load(config_file, ["train.lr=0.5", "train.lr=0.25"]).models["a"].lr == 0.25


def test_set_replaces_a_whole_table(tmp_path):
    config = load(write(tmp_path, base=BASE), ["data.sha256={}", "train={lr=0.25}"])
    assert config.data.sha256 == {}
    assert (config.train.lr, config.train.epochs) == (0.25, Model().epochs)
    assert config.train.loss == Loss()


def test_a_word_without_quotes_is_a_string(config_file):
    assert load(config_file, ["data.test="]).data.test == ""
    assert load(config_file, ["train.optimizer=adamw"]).models["a"].optimizer == "adamw"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("models=3", "one table for each model"),
        ("models.a=3", "one table for each model"),
        ("train.lr", "write key=value"),
        ("=3", "write key=value"),
        ("seed.x.y=1", "seed is a value, not a table"),
        ("train=3", "--set train=3: train takes a table"),
        ("train.epochs=1.5", "--set train.epochs=1.5: train.epochs takes a whole number"),
        ("models.a.lrr=1", "--set models.a.lrr=1: unknown key models.a.lrr"),
    ],
)
def test_a_wrong_override_is_one_clear_line(config_file, override, words):
    config_file.write_text("seed = 1\n" + config_file.read_text())
    with pytest.raises(UserError) as error:
        load(config_file, [override])
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_and_broken_toml_are_user_errors(tmp_path):
    with pytest.raises(UserError, match="config not found; see configs/ for examples"):
        load(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("a = = 1")
    with pytest.raises(UserError, match="not a readable TOML"):
        load(tmp_path / "bad.toml")


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.toml").write_text(text)
    return folder / f"{next(iter(files))}.toml"


BASE = """
name = "base"
[train]
epochs = 3
loss.mixup_alpha = 0.2
[models.a]
lr = 0.5
[data.sha256]
one = "11"
"""


def test_extends_takes_over_what_the_file_does_not_set(tmp_path):
    child = """
    extends = "base.toml"
    [train]
    loss.label_smoothing = 0.1
    [models.b]
    epochs = 9
    [data.sha256]
    two = "22"
    """
    config = load(write(tmp_path, child=child, base=BASE), ["models.a.lr=0.25"])
    assert list(config.models) == ["a", "b"]
    assert (config.models["a"].epochs, config.models["b"].epochs) == (3, 9)
    assert config.models["a"].lr == 0.25
    assert config.models["b"].loss.mixup_alpha == 0.2
    assert config.models["a"].loss.label_smoothing == 0.1
    assert config.data.sha256 == {"one": "11", "two": "22"}


@pytest.mark.parametrize("own", ['input = "embedding"\nfusion.inputs = ["a"]', 'input = "text"'])
def test_a_model_without_images_takes_over_no_defaults_of_backbones(tmp_path, own):
    text = f"""
    [data]
    text_columns = ["title"]
    [train]
    epochs = 3
    freeze_until = 8
    unfreeze_schedule = [8, 4]
    aspect.num_clusters = 3
    [models.a]
    [models.b]
    {own}
    """
    config = load(write(tmp_path, base=text))
    assert config.models["a"].lowest_trainable_unit == 4
    b = config.models["b"]
    assert (b.epochs, b.lowest_trainable_unit, b.aspect.num_clusters) == (3, 0, 0)


def test_a_file_can_extend_one_that_extends_another(tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "middle.toml").write_text('extends = "../base.toml"\nseed = 5')
    config = load(write(tmp_path, child='extends = "other/middle.toml"', base=BASE))
    assert (config.seed, config.models["a"].lr) == (5, 0.5)


def test_the_name_is_not_inherited(tmp_path):
    assert load(write(tmp_path, child='extends = "base.toml"', base=BASE)).name == "experiment"


def test_a_cycle_of_extends_is_an_error(tmp_path):
    path = write(tmp_path, one='extends = "two.toml"', two='extends = "./one.toml"')
    with pytest.raises(UserError, match=r"two\.toml: extends = './one\.toml' is a cycle"):
        load(path)


@pytest.mark.parametrize(
    ("base", "words"),
    [
        ("[train]\nepoch = 1", "base.toml: unknown key train.epoch"),
        ("[train]\nbatch = 1", "base.toml: train.batch is now train.batch_size"),
        ("[models]\na = 1", "base.toml: models: write one table"),
    ],
)
def test_an_error_names_the_extended_file_that_it_is_in(tmp_path, base, words):
    with pytest.raises(UserError) as error:
        load(write(tmp_path, child='extends = "base.toml"', base=base))
    assert words in str(error.value)


def test_extends_takes_one_path(tmp_path):
    with pytest.raises(UserError, match="extends takes the path of one file"):
        load(write(tmp_path, child='extends = ["base.toml"]', base=BASE))
    with pytest.raises(UserError, match=r"none\.toml: config not found"):
        load(write(tmp_path, child='extends = "none.toml"'))


def test_the_second_round_of_fashion_repeats_the_first():
    first, second = (load(ROOT / f"configs/fashion_small{end}.toml") for end in ("", "_round2"))
    assert second.models == first.models
    assert (second.data, second.split, second.predict) == (first.data, first.split, first.predict)
    assert second.pseudo_label.teacher == "configs/fashion_small.toml"
    assert second.name != first.name


def test_without_a_test_file_only_the_locked_part_is_scored(config_file):
    assert load_experiment(config_file).scored_parts == ("locked", "test")
    assert load_experiment(config_file, ["data.test="]).scored_parts == ("locked",)
    assert load_experiment(config_file, ['data.test=""']).sides == ("train",)


@pytest.mark.parametrize(
    "text",
    [
        "a" + ".a" * 100_000 + " = 1",
        "[" + "a." * 100_000 + "a]",
        "x = {" + "a." * 50_000 + "a = 1}",
        "x = " + "[" * 5000,
        "x = " + "{a=" * 3000 + "1" + "}" * 3000,
        "a" + ".a" * 90 + " = 1",
    ],
    ids=range(6),
)
def test_deep_or_long_keys_are_one_line_and_take_no_time(text, tmp_path):
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(UserError, match=r"a\.toml"):
        load(tmp_path / "a.toml")
    (tmp_path / "b.toml").write_text("")
    with pytest.raises(UserError):
        load(tmp_path / "b.toml", [text.replace(" = ", "=", 1)])
