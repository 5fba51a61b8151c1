"""Scores of the three blends against their definition; whole runs cover the abstention rule."""

from dataclasses import replace

import numpy as np
import pytest

from lib.config.model import Model
from lib.config.schema import Blend, Config, Stack
from lib.errors import UserError
from lib.features import query
from lib.stages.blends.scores import (
    best_member,
    blend_names,
    fitted_weights,
    members_to_fit,
    scores_of_blend,
    submitted_scores,
)
from lib.stages.read import all_boosters, all_members, read_candidates, read_scores
from tests.stages.stored_scores import NUM_CANDIDATES, write_scores

MODELS = {"a": Model(n_folds=2), "b": Model(n_folds=2)}
STACK = Stack(
    sources=("mean", "per_model", "multi"),
    l2=("lightgbm",),
    l3=("xgboost", "lgbm_deep", "lgbm_extra"),
    l4=(),
    multi_l2=("xgboost",),
)


@pytest.fixture
def experiment(tmp_path):
    return write_scores(Config(work=str(tmp_path), models=MODELS, stack=STACK))


def with_stack(experiment, **changes):
    stack = replace(STACK, **changes)
    return replace(experiment, config=replace(experiment.config, stack=stack))


def shares(scores):
    """Scores of each product divided by their sum."""
    table = scores.reshape(-1, NUM_CANDIDATES).astype(np.float64)
    return (table / table.sum(1, keepdims=True)).ravel()


@pytest.mark.parametrize("part", ["fit", "locked", "test"])
def test_the_simple_blend_is_the_plain_mean_of_the_shares_of_all_boosters(experiment, part):
    members = all_boosters(experiment)
    expected = np.mean([shares(read_scores(experiment, m, part)) for m in members], axis=0)
    scores = scores_of_blend(experiment, "simple", part)
    np.testing.assert_allclose(shares(scores), expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["simple", "fitted", "published"])
def test_partitions_do_not_change_a_blend(experiment, monkeypatch, name):
    for part in ("fit", "test"):
        monkeypatch.undo()
        whole = scores_of_blend(experiment, name, part)
        monkeypatch.setattr(query, "PARTITION_ROWS", 4)
        assert scores_of_blend(experiment, name, part).tobytes() == whole.tobytes()


def test_the_fitted_blend_uses_the_fitted_weights_and_no_other_member(experiment):
    weights = fitted_weights(experiment)
    assert list(weights) == all_members(experiment)
    used = {member: weight for member, weight in weights.items() if weight > 0}
    assert 0 < len(used) < len(weights)
    total = sum(used.values())
    expected = sum(
        weight / total * shares(read_scores(experiment, member, "locked"))
        for member, weight in used.items()
    )
    scores = scores_of_blend(experiment, "fitted", "locked")
    np.testing.assert_allclose(shares(scores), expected, rtol=1e-5)


def test_networks_are_members_where_few_products_train_the_boosters(experiment, monkeypatch):
    rows = read_candidates(experiment, "fit")
    assert members_to_fit(experiment, rows) == all_members(experiment)
    monkeypatch.setattr("lib.stages.blends.scores.FEW", len(set(rows.product.tolist())))
    assert members_to_fit(experiment, rows) == all_boosters(experiment)


def test_the_published_blend_needs_its_members(experiment):
    assert blend_names(experiment) == ["simple", "fitted", "published"]
    for changes in ({"l3": ("xgboost",)}, {"multi_l2": ("lightgbm",)}, {"sources": ("mean",)}):
        assert blend_names(with_stack(experiment, **changes)) == ["simple", "fitted"]


@pytest.mark.parametrize("name", ["simple", "fitted", "published"])
def test_the_submitted_blend_is_that_of_the_config(experiment, name):
    config = replace(experiment.config, blend=Blend(submit=name))
    scores = submitted_scores(replace(experiment, config=config), "locked")
    np.testing.assert_array_equal(scores, scores_of_blend(experiment, name, "locked"))


def test_a_published_blend_without_its_members_is_a_user_error(experiment):
    lacking = with_stack(experiment, l3=("xgboost",))
    config = replace(lacking.config, blend=Blend(submit="published"))
    with pytest.raises(UserError, match="needs L3 xgboost, lgbm_deep and lgbm_extra"):
        submitted_scores(replace(lacking, config=config), "locked")


def test_the_best_member_has_the_least_out_of_fold_loss_of_its_layer(experiment):
    true = read_candidates(experiment, "fit").target == 1

    def log_loss(member):
        return -np.log(shares(read_scores(experiment, member, "fit"))[true]).mean()

    for layer in ("l2", "l3"):
        members = [member for member in all_members(experiment) if member.layer == layer]
        assert best_member(experiment, layer) == min(members, key=log_loss)
