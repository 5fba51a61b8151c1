import pytest

from lib.config.load import load
from lib.config.model import Backbone, Model
from lib.config.renamed import RENAMED_KEYS, RENAMED_TABLES, RENAMED_VALUES, check_renamed, new_path
from lib.config.schema import Config
from lib.config.setting import base_of, choices_of, items_of, settings_of
from lib.errors import UserError

MODEL_TABLES = settings_of(Model)
TABLES = {"model": Model, "backbone": Backbone} | {
    name: base_of(setting.type) for name, setting in {**settings_of(Config), **MODEL_TABLES}.items()
}


@pytest.mark.parametrize("table", RENAMED_KEYS)
def test_every_new_key_is_a_setting_and_no_old_key_is(table):
    known = settings_of(TABLES[table])
    for old, new in RENAMED_KEYS[table].items():
        assert new in known
        assert old not in known


def test_every_new_table_exists_and_no_old_one_does():
    known = settings_of(Config)
    assert set(RENAMED_TABLES.values()) <= set(known)
    assert not set(RENAMED_TABLES) & set(known)


@pytest.mark.parametrize("key", RENAMED_VALUES)
def test_every_new_value_is_a_choice_and_no_old_one_is(key):
    table, name = key.split(".")
    kind = settings_of(TABLES[table])[name].type
    choices = choices_of(kind) or choices_of(items_of(kind)[1][0])
    assert set(RENAMED_VALUES[key].values()) <= set(choices)
    assert not set(RENAMED_VALUES[key]) & set(choices)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("train.batch", "train.batch_size"),
        ("models.rate.rate.warm_up", "models.rate.lr_schedule.warmup_fraction"),
        ("models.a.lr_schedule.warm_up", "models.a.lr_schedule.warmup_fraction"),
        ("train.average.kind", "train.weight_average.kind"),
        ("backbones.network.network", "backbones.network.arch"),
        ("round.of", "pseudo_label.teacher"),
        ("round", "pseudo_label"),
        ("new.top", "inference.top_k"),
        ("stack.layer2", "stack.l2"),
        ("data.sha256.only", "data.sha256.only"),
        ("seed", "seed"),
    ],
)
def test_an_old_key_has_a_new_path(old, new):
    assert ".".join(new_path(tuple(old.split(".")))[0]) == new


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[train]\nbatch = 3", "x.toml: train.batch is now train.batch_size"),
        ("[round]\nhashes = false", "round.hashes is now pseudo_label.use_hashes"),
        ("[round]", "round is now pseudo_label"),
        ("[models.a]\nrate.kind = 'table'", "models.a.rate.kind is now models.a.lr_schedule.kind"),
        ("[models.a]\nrate.kind = 'table'", "lr_schedule.kind = 'table' is now 'multistep'"),
        ("[train]\ninput = 'fusion'", "train.input = 'fusion' is now 'embedding'"),
        ("[stack]\norders = [2]", "stack.sources = 2 is now 'per_model'"),
        ("[stack]\nl3 = ['lgbm_1']", "stack.l3 = 'lgbm_1' is now 'lgbm_deep'"),
        ("[stack]\nl4 = ['xgboost', 'lgbm_2']", "stack.l4 = 'lgbm_2' is now 'lgbm_extra'"),
        (
            "[predict]\nviews = 2\ndims = 9",
            "predict.views is now predict.tta_views, predict.dims is now predict.embedding_dim",
        ),
    ],
)
def test_an_old_name_in_a_file_is_one_line_with_the_new_one(tmp_path, text, words):
    (tmp_path / "x.toml").write_text(text)
    with pytest.raises(UserError) as error:
        load(tmp_path / "x.toml")
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_an_old_name_in_an_override_is_one_line_with_the_new_one(config_file):
    with pytest.raises(UserError, match=r"--set train\.batch=3: train\.batch is now train\.batch_"):
        load(config_file, ["train.batch=3"])


def test_present_names_pass():
    check_renamed({"train": {"input": "image"}, "stack": {"sources": ["mean"]}, "seed": 1}, "x")
