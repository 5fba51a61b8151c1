"""Which labels the rows of each part may see."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from lib.config.schema import Features
from lib.features.visibility import (
    LabelVisibility,
    PartInputs,
    build_visibility,
    visible_labels,
)
from tests.features.toy_catalog import random_topk
from tests.features.toy_features import SETTINGS, small_data

PARTS = {"fit": 0, "holdout": 1, "locked": 2}


def visibility_of(inputs: PartInputs) -> LabelVisibility:
    return build_visibility(inputs, visible_labels(inputs))


def reference_ids(part: str, features: Features = SETTINGS, unlabelled: int = 0) -> set[int]:
    data = small_data(3)
    data.labelled.label[:unlabelled] = -1
    return set(visibility_of(data.inputs(part, features)).id_index.ids.tolist())


def ids_of(*parts: str) -> set[int]:
    data = small_data(3)
    return set(data.labelled.product_id[data.splits.products(*parts)].tolist())


@pytest.mark.parametrize("part", ["fit", "holdout", "locked"])
def test_labelled_parts_see_labels_of_fit_and_holdout(part: str) -> None:
    assert reference_ids(part) == ids_of("fit", "holdout")


def test_test_rows_see_locked_labels_only_if_configured() -> None:
    unlocked = replace(SETTINGS, test_uses_locked=False)
    assert reference_ids("test", unlocked) == ids_of("fit", "holdout")
    assert reference_ids("test") == ids_of("fit", "holdout", "locked")


def test_products_without_a_class_are_no_references() -> None:
    data = small_data(3)
    unlabelled = set(data.labelled.product_id[:10].tolist())
    assert reference_ids("test", unlabelled=10) == ids_of(*PARTS) - unlabelled


@pytest.mark.parametrize("part", ["fit", "holdout"])
def test_each_row_of_a_training_part_can_leave_itself_out(part: str) -> None:
    visibility = visibility_of(small_data(3).inputs(part))
    assert visibility.reference_row is not None
    position = visibility.id_index.position[visibility.reference_row]
    np.testing.assert_array_equal(visibility.id_index.ids[position], visibility.ids)


def test_locked_rows_are_no_references() -> None:
    visibility = visibility_of(small_data(3).inputs("locked"))
    assert visibility.reference_row is not None
    assert (visibility.reference_row == -1).all()
    assert (visibility.fold == -1).all()


def test_a_catalog_with_groups_leaves_out_whole_folds() -> None:
    data = small_data(3)
    data.labelled = replace(data.labelled, group=np.zeros(60, np.int32))
    visibility = visibility_of(data.inputs("fit"))
    assert visibility.reference_row is None
    for rows, index, reference_row in visibility.id_indexes(np.arange(len(visibility.ids))):
        assert reference_row is None
        assert not np.isin(visibility.ids[rows], index.ids).any()


@pytest.mark.parametrize("part", ["fit", "holdout", "locked", "test"])
def test_indexes_without_folds_cover_every_row_once(part: str) -> None:
    data = small_data(3)
    visibility = visibility_of(data.inputs(part))
    query_row = np.repeat(np.arange(len(visibility.ids)), 2)
    times = np.zeros(len(query_row), int)
    labels_of_other_parts = data.splits.part != PARTS.get(part, -1)
    for rows, index in visibility.id_indexes_without_fold(query_row):
        times[rows] += 1
        fold = np.unique(visibility.fold[query_row[rows]])
        assert len(fold) == 1
        is_visible = labels_of_other_parts | (data.splits.fold != fold[0])
        assert is_visible[np.isin(data.labelled.product_id, index.ids)].all()
    assert (times == 1).all()


def test_sources_propose_under_their_names() -> None:
    data = small_data(3)
    inputs = data.inputs("fit")
    keys = data.labelled.md5
    nearest = np.zeros((len(inputs.topks[0].image), 2), np.int16)
    inputs = replace(inputs, perceptual_hashes=(keys, keys), knn_classes=[nearest])
    visibility = visibility_of(inputs)
    proposals = visibility.proposals(SETTINGS, inputs.topks, inputs.knn_classes)
    assert proposals.names == ["networks", "hash", "phash", "neighbors", "ids"]
    for by_md5, by_phash in zip(
        visibility.hashes[0].images[:-1], visibility.hashes[1].images[:-1], strict=True
    ):
        np.testing.assert_array_equal(by_md5, by_phash)


def test_texts_propose_classes_of_products_without_images() -> None:
    data = small_data(3)
    inputs = data.inputs("fit")
    visibility = visibility_of(inputs)
    alone = np.flatnonzero(visibility.query.image_count == 0)
    rng = np.random.default_rng(0)
    texts, _ = random_topk(rng, visibility.query.products[alone], 3)
    topks = [inputs.topks[0], replace(inputs.topks[1], imageless=texts)]
    proposed = visibility.proposals(SETTINGS, topks, ()).by_product["texts"]
    kept = min(3, SETTINGS.top_k)
    np.testing.assert_array_equal(proposed[alone, :kept], texts.classes[:, :kept])
    assert (np.delete(proposed, alone, axis=0) == -1).all()
    assert len(alone) > 0
    assert "texts" not in visibility.proposals(SETTINGS, inputs.topks, ()).by_product


def test_a_name_among_numbers_is_near_no_other_id() -> None:
    data = small_data(3)
    keys = [str(number) for number in data.test.product_id]
    keys[4] = "007"
    data.test = replace(data.test, keys=pa.chunked_array([keys]))
    visibility = visibility_of(data.inputs("test"))
    assert np.flatnonzero(~visibility.has_id).tolist() == [4]
    proposed = visibility.proposals(SETTINGS, [], []).select("ids").by_product["ids"]
    assert (proposed[4] == -1).all()
    assert (np.delete(proposed, 4, axis=0) >= 0).all()


def test_a_labelled_product_with_a_name_is_no_reference() -> None:
    data = small_data(3)
    before = visibility_of(data.inputs("fit"))
    row = data.splits.products("fit")[5]
    keys = [str(number) for number in data.labelled.product_id]
    keys[row] = "MH01"
    data.labelled = replace(data.labelled, keys=pa.chunked_array([keys]))
    visibility = visibility_of(data.inputs("fit"))
    odd_id = data.labelled.product_id[row]
    assert set(before.id_index.ids) - set(visibility.id_index.ids) == {odd_id}
    assert visibility.reference_row is not None
    assert visibility.reference_row[5] == -1
    others = np.delete(np.arange(len(visibility.ids)), 5)
    position = visibility.id_index.position[visibility.reference_row[others]]
    np.testing.assert_array_equal(visibility.id_index.ids[position], visibility.ids[others])
