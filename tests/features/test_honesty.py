"""No training row sees its own label, and no row sees a label of a locked product."""

from dataclasses import replace
from pathlib import Path

import lightgbm
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from lib.config.schema import Features
from lib.data.catalog import Splits
from lib.features import build as module
from lib.features import id_priors
from lib.features.hashes import hash_lookup
from lib.features.visibility import LabelVisibility
from tests.features.toy_catalog import CLASSES, random_catalog, random_topk, splits, with_labels
from tests.features.toy_features import SmallData, build, small_data

slow_folder = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
seeds = st.integers(0, 2**32 - 1)


@slow_folder
@given(seeds)
def test_labels_of_locked_rows_reach_no_feature(tmp_path: Path, seed: int) -> None:
    """Neither their own features nor those of training rows."""
    data = small_data(seed)
    rng = np.random.default_rng(seed)
    label = data.labelled.label.copy()
    locked = data.splits.products("locked")
    label[locked] = rng.permutation(label[locked])
    other = SmallData(with_labels(data.labelled, label), data.splits, data.test, data.topks)
    for part in ("fit", "holdout", "locked"):
        before, after = build(tmp_path / "a", data, part), build(tmp_path / "b", other, part)
        np.testing.assert_array_equal(before.class_id, after.class_id)
        np.testing.assert_array_equal(before.columns.values, after.columns.values)


@slow_folder
@given(seeds, st.sampled_from(["fit", "holdout"]))
def test_a_training_row_never_sees_its_own_label(tmp_path: Path, seed: int, part: str) -> None:
    data = small_data(seed)
    rng = np.random.default_rng(seed)
    products = data.splits.products(part)
    assume(len(products))
    changed = int(rng.choice(products))
    label = data.labelled.label.copy()
    label[changed] = (label[changed] + rng.integers(1, CLASSES)) % CLASSES
    other = SmallData(with_labels(data.labelled, label), data.splits, data.test, data.topks)
    before = build(tmp_path / "a", data, part, stack_part=part).of(changed)
    after = build(tmp_path / "b", other, part, stack_part=part).of(changed)
    assert before[0] == after[0]
    np.testing.assert_array_equal(before[1], after[1])


def grouped(seed: int) -> SmallData:
    """Products in groups, each of one part and fold; images are shared."""
    data = small_data(seed)
    rng = np.random.default_rng(seed)
    group = rng.integers(0, 20, len(data.labelled.label)).astype(np.int32)
    _, first, member = np.unique(group, return_index=True, return_inverse=True)
    parts = Splits(data.splits.part[first][member], data.splits.fold[first][member])
    topks = dict(data.topks)
    for part in ("fit", "holdout", "locked"):
        topks[part] = [random_topk(rng, data.labelled.images_of(parts.products(part)))[0]]
    return SmallData(replace(data.labelled, group=group), parts, data.test, topks)


@slow_folder
@given(seeds, st.sampled_from(["fit", "holdout", "locked"]))
def test_a_row_never_sees_labels_of_its_own_group(tmp_path: Path, seed: int, part: str) -> None:
    data = grouped(seed)
    rng = np.random.default_rng(seed)
    products = data.splits.products(part)
    assume(len(products))
    own = np.flatnonzero(data.labelled.group == data.labelled.group[rng.choice(products)])
    label = data.labelled.label.copy()
    label[own] = rng.integers(0, CLASSES, len(own))
    other = SmallData(with_labels(data.labelled, label), data.splits, data.test, data.topks)
    before = build(tmp_path / "a", data, part, stack_part=part)
    after = build(tmp_path / "b", other, part, stack_part=part)
    for product in own.tolist():
        assert before.of(product)[0] == after.of(product)[0]
        np.testing.assert_array_equal(before.of(product)[1], after.of(product)[1])


def test_without_groups_a_row_sees_labels_of_its_siblings(tmp_path: Path) -> None:
    """Proof that the test above can fail: the same rows without groups."""
    data = grouped(3)
    blind = SmallData(replace(data.labelled, group=None), data.splits, data.test, data.topks)
    label = data.labelled.label.copy()
    own = data.splits.products("fit")
    own = own[data.splits.fold[own] == data.splits.fold[own[0]]]
    label[own] = (label[own] + 1) % CLASSES
    other = SmallData(with_labels(blind.labelled, label), blind.splits, blind.test, blind.topks)
    before, after = build(tmp_path / "a", blind, "fit"), build(tmp_path / "b", other, "fit")
    same = [
        before.of(p)[0] == after.of(p)[0]
        and np.array_equal(before.of(p)[1], after.of(p)[1], equal_nan=True)
        for p in own.tolist()
    ]
    assert not all(same)


def test_other_rows_see_a_changed_label(tmp_path: Path) -> None:
    """Otherwise the tests above would pass for features that see no label."""
    data = small_data(5)
    changed = int(data.splits.products("fit")[0])
    label = data.labelled.label.copy()
    label[changed] = (label[changed] + 1) % CLASSES
    other = SmallData(with_labels(data.labelled, label), data.splits, data.test, data.topks)
    before, after = build(tmp_path / "a", data, "locked"), build(tmp_path / "b", other, "locked")
    assert (before.column("global_prior") != after.column("global_prior")).any()


def test_global_shares_come_from_other_folds(tmp_path: Path) -> None:
    data = small_data(2)
    label, part, fold = data.labelled.label, data.splits.part, data.splits.fold
    built = build(tmp_path, data, "fit")
    prior = built.column("global_prior")
    for row in range(len(prior)):
        own = fold[built.product[row]]
        counted = (part == 1) | ((part == 0) & (fold != own))
        assert prior[row] == pytest.approx(np.mean(label[counted] == built.class_id[row]), rel=1e-5)


def test_local_shares_of_training_rows_come_from_other_folds(tmp_path: Path) -> None:
    data = small_data(21)
    built = build(tmp_path, data, "fit")
    ids, label, part, fold = (
        data.labelled.product_id,
        data.labelled.label,
        data.splits.part,
        data.splits.fold,
    )
    for row in range(len(built.class_id)):
        product = built.product[row]
        rows = np.flatnonzero((part == 1) | ((part == 0) & (fold != fold[product])))
        near = rows[np.lexsort((ids[rows], np.abs(ids[rows] - ids[product])))][:4]
        share = np.mean(label[near] == built.class_id[row])
        assert built.column("id_window_4_share")[row] == pytest.approx(share)


def out_of_fold_auc(folder: Path, data: SmallData) -> float:
    """AUC of a booster on the common features of `fit`; 0.5 is chance."""
    built = build(folder, data, "fit", Features())
    values = np.asarray(built.columns.values)
    target = (data.labelled.label[built.product] == built.class_id).astype(int)
    score = np.zeros(len(target))
    for left_out in np.unique(built.fold):
        held = built.fold == left_out
        booster = lightgbm.LGBMClassifier(
            n_estimators=60, num_leaves=31, verbose=-1, n_jobs=1, random_state=0
        )
        booster.fit(values[~held], target[~held])
        score[held] = booster.booster_.predict(values[held])
    return float(roc_auc_score(target, score))


def noise() -> SmallData:
    """2,000 products with random labels, a placeholder on 15 % of the images."""
    rng = np.random.default_rng(0)
    labelled = random_catalog(rng, 2000, 1500, max_images=3, placeholder=0.15)
    parts = splits(rng, 2000, folds=4)
    topk, _ = random_topk(rng, labelled.images_of(parts.products("fit")))
    return SmallData(labelled, parts, labelled, {"fit": [topk]})


def test_random_labels_give_an_auc_of_chance(tmp_path: Path) -> None:
    assert abs(out_of_fold_auc(tmp_path, noise()) - 0.5) < 0.05


@pytest.mark.parametrize("leak", ["placeholder", "window"])
def test_leaving_out_only_the_own_product_gives_more_than_chance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leak: str
) -> None:
    """Why folds are left out, and proof that the test above can fail."""
    if leak == "placeholder":
        monkeypatch.setattr(hash_lookup, "CROWD", 10**9)
    else:
        monkeypatch.setattr(module, "_id_window_share", share_without_the_own_product)
    assert out_of_fold_auc(tmp_path, noise()) > 0.57


def share_without_the_own_product(
    visibility: LabelVisibility, query_row: np.ndarray, class_id: np.ndarray, window: int
) -> np.ndarray:
    size = id_priors.limit_window(window, len(visibility.id_index.ids))
    assert visibility.reference_row is not None
    own, ids = visibility.reference_row[query_row], visibility.ids[query_row]
    return visibility.id_index.nearest_counts(ids, class_id, size, own) / size


def test_locked_labels_count_for_test_rows_only_if_configured(tmp_path: Path) -> None:
    data = small_data(3)
    with_locked = build(tmp_path / "a", data, "test", Features(test_uses_locked=True))
    without = build(tmp_path / "b", data, "test", Features(test_uses_locked=False))
    assert with_locked.facts["references"] == len(data.labelled.label)
    assert without.facts["references"] == (data.splits.part != 2).sum()
    assert not (tmp_path / "a" / "target.npy").exists()
