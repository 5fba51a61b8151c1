"""What later stages read of candidate rows and scores; whole runs cover catalogs and top-k."""

from dataclasses import replace

import numpy as np
import pytest

from lib.config.model import Model
from lib.config.schema import Config, Stack
from lib.errors import UserError
from lib.features.query import make_query
from lib.inference.topk import TopK
from lib.stages.read import (
    Member,
    Partition,
    all_boosters,
    all_members,
    catalog_of_part,
    read_candidates,
    read_scores,
    topks_of_partition,
)
from tests.stages.stored_scores import write_scores

MODELS = {"a": Model(n_folds=2), "b": Model(n_folds=2)}
STACK = Stack(
    sources=("mean", "per_model", "multi"),
    l2=("lightgbm", "xgboost"),
    l3=("xgboost",),
    l4=(),
    multi_l2=("xgboost",),
)


@pytest.fixture
def experiment(tmp_path):
    return write_scores(Config(work=str(tmp_path), models=MODELS, stack=STACK))


def test_members_are_the_networks_and_the_boosters_of_every_source_and_layer(experiment):
    per_source = [("l2", "lightgbm"), ("l2", "xgboost"), ("l3", "xgboost")]
    expected = [(source, *member) for source in ("mean", "a", "b") for member in per_source]
    boosters = [*expected, ("multi", "l2", "xgboost")]
    assert all_boosters(experiment) == boosters
    networks = [("a", "l1", "network"), ("b", "l1", "network")]
    assert all_members(experiment) == networks + boosters


def test_rows_of_the_test_part_have_no_target(experiment):
    rows = read_candidates(experiment, "test")
    assert (rows.target == -1).all()
    labelled = read_candidates(experiment, "locked")
    assert set(labelled.target.tolist()) == {0, 1}
    assert (np.bincount(labelled.product, labelled.target) == 1).all()


def test_scores_are_out_of_fold_on_the_part_that_trains_the_boosters(experiment):
    member = Member("a", "l2", "xgboost")
    oof = np.load(experiment.path("stack/a/l2/xgboost") / "oof.npy")
    np.testing.assert_array_equal(read_scores(experiment, member, "fit"), oof)


@pytest.mark.parametrize("part", ["fit", "locked", "test"])
def test_scores_of_a_network_are_its_probabilities_of_the_candidates(experiment, part):
    """Every product has one image, and its three candidates are all classes."""
    topk = TopK.load(experiment.path(f"predictions/b/{part}"))
    expected = np.take_along_axis(topk.probs, np.argsort(topk.classes, axis=1), axis=1)
    read = read_scores(experiment, Member("b", "l1", "network"), part)
    np.testing.assert_allclose(read, np.maximum(expected, 1e-7).ravel(), rtol=1e-5)


@pytest.mark.parametrize("part", ["locked", "test"])
def test_scores_of_other_parts_are_the_column_of_the_booster(experiment, part):
    scores = np.load(experiment.path(f"scores/a/l2/{part}") / "scores.npy")
    for column, booster in enumerate(("lightgbm", "xgboost")):
        read = read_scores(experiment, Member("a", "l2", booster), part)
        np.testing.assert_array_equal(read, scores[:, column])


def test_with_a_network_trained_once_the_boosters_train_on_the_holdout_part(experiment):
    config = replace(experiment.config, models=MODELS | {"b": Model(n_folds=1)})
    once, member = replace(experiment, config=config), Member("a", "l2", "xgboost")
    oof = np.load(experiment.path("stack/a/l2/xgboost") / "oof.npy")
    np.testing.assert_array_equal(read_scores(once, member, "holdout"), oof)


@pytest.mark.parametrize(
    ("images", "num_images", "words"),
    [
        (slice(0, 10), 29, "predictions of b cover 30 images, but the part has 29"),
        (slice(1, 11), 30, "predictions of b cover 10 images, but the part has 10, or others"),
        (slice(25, 35), 30, "predictions of b cover 5 images, but the part has 10"),
    ],
)
def test_a_partition_refuses_predictions_of_other_images(experiment, images, num_images, words):
    catalog = catalog_of_part(experiment, "test")
    query = make_query(catalog, np.arange(10))
    right = Partition(catalog, query, slice(0, 10), 30)
    assert len(topks_of_partition(experiment, ["b"], "test", right)[0].image) == 10
    with pytest.raises(UserError, match=words):
        topks_of_partition(
            experiment, ["b"], "test", right._replace(images=images, num_images=num_images)
        )
