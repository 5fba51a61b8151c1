import tomllib
from dataclasses import replace

import pytest

from lib.config.convert import build
from lib.config.inputs.fusion import Fusion
from lib.config.inputs.mosaic import Mosaic
from lib.config.model import Backbone, Model
from lib.config.reference import tables
from lib.config.schema import (
    BOOSTERS,
    BOOSTERS_L2,
    BOOSTERS_L3,
    RANKERS,
    Config,
    Predict,
    Stack,
    as_dict,
    fold_names,
    network_names,
    network_of,
)
from lib.config.write import to_toml

TABLES = tables()


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.key)
def test_every_setting_has_one_sentence_of_meaning(table):
    assert table.description
    for setting in table.settings:
        assert setting.meaning.endswith(".")


def test_every_default_is_within_its_own_range():
    assert build(Config, tomllib.loads(to_toml(Config())), "defaults") == Config()


def test_every_default_booster_is_a_booster():
    assert set(BOOSTERS) >= {*BOOSTERS_L2, *BOOSTERS_L3, *RANKERS}
    assert len(set(BOOSTERS)) == len(BOOSTERS)


FOLDS = Model(n_folds=2)
FUSION = Model(input="embedding", n_folds=2, fusion=Fusion(inputs=("a", "frozen")))
CONFIG = Config(
    models={"a": FOLDS, "b": replace(FOLDS, blend_weight=3), "c": FUSION},
    backbones={"frozen": Backbone(), "unused": Backbone()},
)


def test_sources_keep_one_order_whatever_the_order_in_the_config():
    assert CONFIG.sources == ["mean", "a", "b", "c", "multi"]
    assert replace(CONFIG, stack=Stack(sources=("multi", "mean"))).sources == ["mean", "multi"]


def test_a_source_has_only_layers_with_boosters():
    config = replace(CONFIG, stack=Stack(l2=("xgboost",), l3=(), multi_l2=("lightgbm",)))
    assert config.layers("a") == config.layers("mean") == {"l2": ("xgboost",)}
    assert config.layers("multi") == {"l2": ("lightgbm",)}


def test_one_model_without_folds_moves_the_boosters_to_the_holdout():
    assert CONFIG.stack_part == "fit"
    assert replace(CONFIG, models={"a": FOLDS, "b": Model(n_folds=1)}).stack_part == "holdout"


def test_images_are_embedded_for_knn_and_for_fusions_only():
    assert CONFIG.fusion_inputs == {"a", "frozen"}
    assert CONFIG.embedding_models == ["frozen", "a"]
    knn = replace(CONFIG, predict=Predict(embed_models=("b",)))
    assert knn.embedding_models == ["frozen", "a", "b"]


def test_networks_are_named_by_the_fold_that_they_leave_out():
    assert CONFIG.network_names_of("a") == fold_names(FOLDS) == ["fold0", "fold1"]
    assert fold_names(Model(n_folds=1)) == ["full"]
    assert CONFIG.network_names_of("frozen") == ["frozen"]


def test_networks_of_a_split_mosaic_are_named_by_their_numbers_of_images_too():
    model = replace(FOLDS, input="mosaic", mosaic=Mosaic(split_at=(2, 4)))
    names = network_names(model)
    assert names == [f"fold{fold}-images{first}" for first in (1, 2, 4) for fold in (0, 1)]
    ranges = [(1, 1), (2, 3), (4, 0)]
    assert model.mosaic.groups == ranges
    for name, (low, high) in zip(names[::2], ranges, strict=True):
        assert network_of(model, name) == ("fold0", replace(model, mosaic=Mosaic(low, high)))
    assert network_of(FOLDS, "fold1") == ("fold1", FOLDS)


def test_weights_are_by_model():
    assert CONFIG.model_weights == {"a": 1.0, "b": 3.0, "c": 1.0}


def test_as_dict_leaves_out_what_is_skipped():
    assert as_dict(CONFIG.split, "locked") == {"holdout": 0.0, "n_folds": 4}
    assert as_dict(FOLDS)["loss"]["mixup_alpha"] == 0.0
