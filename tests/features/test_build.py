"""Candidate rows and feature tables against loops."""

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.config.schema import Features
from lib.features import table as table_module
from lib.features.build import recall_table
from lib.features.table import FeatureTable
from tests.features.toy_catalog import CLASSES, random_catalog, random_topk
from tests.features.toy_features import SETTINGS, build, build_source_table, small_data


def test_rows_are_sorted_and_targets_and_recall_are_right(tmp_path: Path) -> None:
    data = small_data(7)
    built = build(tmp_path, data, "fit")
    key = built.product.astype(np.int64) * CLASSES + built.class_id
    assert (np.diff(key) > 0).all()
    np.testing.assert_array_equal(np.unique(built.product), data.splits.products("fit"))
    target = np.load(tmp_path / "target.npy")
    np.testing.assert_array_equal(target, built.class_id == data.labelled.label[built.product])
    np.testing.assert_array_equal(built.fold, data.splits.fold[built.product])
    assert built.facts["recall"] == pytest.approx(target.sum() / len(np.unique(built.product)))
    assert built.facts["rows"] == len(key)
    dtypes = [
        np.load(tmp_path / f"{n}.npy").dtype for n in ("product", "class_id", "fold", "target")
    ]
    assert dtypes == [np.int32, np.int16, np.int8, np.int8]


def test_only_the_part_that_trains_boosters_has_folds(tmp_path: Path) -> None:
    data = small_data(7)
    assert (build(tmp_path / "a", data, "locked").fold == -1).all()
    assert (build(tmp_path / "b", data, "test").fold == -1).all()
    assert (build(tmp_path / "c", data, "fit", stack_part="holdout").fold == -1).all()
    assert (build(tmp_path / "d", data, "holdout", stack_part="holdout").fold >= 0).all()


def test_every_candidate_is_proposed_by_a_source_or_a_fallback(tmp_path: Path) -> None:
    """A network or a copy of an image lists the class, or the product has no image."""
    data = small_data(11)
    features = Features(top_k=2, id_neighbors=0, id_windows=(4,))
    built = build(tmp_path, data, "locked", features)
    query_images = data.topks["locked"][0].image
    for product in np.unique(built.product):
        images = np.flatnonzero(data.labelled.image_product[query_images] == product)
        listed = {int(c) for t in data.topks["locked"] for c in t.classes[images, :2].ravel()}
        rows = built.product == product
        under_hash = set(built.class_id[rows & (built.column("hash_count_sum") > 0)].tolist())
        if len(images):
            assert set(built.class_id[rows].tolist()) == listed | under_hash
        else:
            assert rows.sum() == 5


def test_columns_by_position_are_nan_without_an_image(tmp_path: Path) -> None:
    data = small_data(13)
    columns = build_source_table(tmp_path, data, "fit", ["small"])
    built = build(tmp_path / "candidates", data, "fit")
    count = data.labelled.image_count[built.product]
    assert {0, 5} <= set(count.tolist())  # products without and with many images
    for position in range(4):
        for values in (
            built.column(f"hash_count_{position}"),
            columns.values[:, columns.names.index(f"small_prob_{position}")],
        ):
            np.testing.assert_array_equal(np.isnan(values), count <= position)
    for name in ("mean", "max", "geometric", "rank", "of_best", "rest"):
        values = columns.values[:, columns.names.index(f"small_{name}")]
        np.testing.assert_array_equal(np.isnan(values), count == 0)


def test_network_features_equal_a_loop(tmp_path: Path) -> None:
    data = small_data(17)
    columns = build_source_table(tmp_path, data, "locked", ["first", "second"])
    product = np.load(tmp_path / "candidates" / "product.npy")
    class_id = np.load(tmp_path / "candidates" / "class_id.npy")
    for name, topk in zip(("first", "second"), data.topks["locked"], strict=True):
        table = {
            column: columns.values[:, columns.names.index(f"{name}_{column}")]
            for column in ("mean", "max", "geometric", "rank", "of_best", "rest", "prob_1")
        }
        for some in np.unique(product):
            rows = np.flatnonzero(product == some)
            images = np.flatnonzero(data.labelled.image_product[topk.image] == some)
            if not len(images):
                continue
            probs = np.empty((len(rows), len(images)))
            for i, row in enumerate(rows):
                for j, image in enumerate(images):
                    at = np.flatnonzero(topk.classes[image] == class_id[row])
                    floor = min(topk.rest[image] / (CLASSES - 5), topk.probs[image, -1])
                    probs[i, j] = topk.probs[image, at[0]] if len(at) else floor
            average = probs.mean(axis=1)
            order = np.argsort(-average, kind="stable")
            np.testing.assert_allclose(table["mean"][rows], average, rtol=1e-5)
            np.testing.assert_allclose(table["max"][rows], probs.max(axis=1), rtol=1e-5)
            geometric = np.exp(np.log(np.maximum(probs, 1e-7)).mean(axis=1))
            np.testing.assert_allclose(table["geometric"][rows], geometric, rtol=1e-4)
            np.testing.assert_array_equal(table["rank"][rows][order], np.arange(len(rows)))
            np.testing.assert_allclose(table["of_best"][rows], average / average.max(), rtol=1e-4)
            np.testing.assert_allclose(table["rest"][rows], topk.rest[images].mean(), rtol=1e-5)
            if len(images) > 1:
                np.testing.assert_allclose(table["prob_1"][rows], probs[:, 1], rtol=1e-5)


def test_hash_features_of_a_product_equal_a_loop(tmp_path: Path) -> None:
    data = small_data(19)
    built = build(tmp_path, data, "test")
    labelled_catalog, test = data.labelled, data.test
    words = [tuple(word) for word in labelled_catalog.md5.tolist()]
    for row in range(len(built.class_id)):
        images = np.flatnonzero(test.image_product == built.product[row])
        counts, shares, totals, distinct = [], [], [], []
        for image in images:
            held = [i for i, word in enumerate(words) if word == tuple(test.md5[image].tolist())]
            label = (
                labelled_catalog.label[np.unique(labelled_catalog.image_product[held])]
                if held
                else np.empty(0)
            )
            counts.append(int((label == built.class_id[row]).sum()))
            totals.append(len(label))
            distinct.append(len(np.unique(label)))
            if len(label):
                shares.append(counts[-1] / len(label))
        names = ("count_sum", "share_sum", "total", "pictures", "classes")
        found = [float(built.column(f"hash_{name}")[row]) for name in names]
        if not len(images):
            assert np.isnan(found).all()
            continue
        share = sum(shares) if shares else np.nan
        expected = [sum(counts), share, sum(totals), len(shares), max(distinct)]
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_shares_of_nearest_ids_use_the_limited_window(tmp_path: Path) -> None:
    data = small_data(23)
    built = build(tmp_path, data, "locked")
    references = int((data.splits.part != 2).sum())
    assert built.facts["windows"] == {"4": 4, "50000": references // 4}
    rows = np.flatnonzero(data.splits.part != 2)
    ids, label = data.labelled.product_id, data.labelled.label
    for row in range(len(built.class_id)):
        gap = np.abs(ids[rows] - ids[built.product[row]])
        by_distance = rows[np.lexsort((ids[rows], gap))]
        for window, size in ((4, 4), (50_000, references // 4)):
            share = np.mean(label[by_distance[:size]] == built.class_id[row])
            assert built.column(f"id_window_{window}_share")[row] == pytest.approx(share)


def test_raw_features_have_80_columns(tmp_path: Path) -> None:
    """4 images x (5 probabilities + 5 hash frequencies), and as many classes."""
    data, features = small_data(29), Features()
    columns = build_source_table(tmp_path, data, "fit", ["mean"], features)
    common = FeatureTable.load(tmp_path / "candidates")
    names = common.names + columns.names
    raw = [n for n in names if "_top_" in n or n.startswith(("hash_freq_", "hash_class_"))]
    assert len(raw) == 80
    assert len(set(names)) == len(names)
    categorical = [n for n in common.categorical + columns.categorical if n in raw]
    assert len(categorical) == 40
    assert "candidate_class" in common.categorical
    # Their values are the top-k lists of the product's first image.
    product = np.load(tmp_path / "candidates" / "product.npy")
    topk = data.topks["fit"][0]
    has = data.labelled.image_count[product] > 0
    at = np.searchsorted(topk.image, data.labelled.first_image[product[has]])
    for rank in range(5):
        probs = columns.values[has, columns.names.index(f"mean_top_prob_0_{rank}")]
        classes = columns.values[has, columns.names.index(f"mean_top_class_0_{rank}")]
        np.testing.assert_array_equal(probs, topk.probs[at, rank])
        np.testing.assert_array_equal(classes, topk.classes[at, rank])
        missing = columns.values[~has, columns.names.index(f"mean_top_class_0_{rank}")]
        assert (missing == -1).all()


def test_raw_features_can_be_switched_off(tmp_path: Path) -> None:
    data = small_data(29)
    columns = build_source_table(tmp_path, data, "fit", ["mean"], Features(use_raw_topk=False))
    common = FeatureTable.load(tmp_path / "candidates")
    assert not [n for n in columns.names + common.names if "_top_" in n or "_freq_" in n]
    assert common.categorical == ["candidate_class"]


def test_without_hashes_there_are_no_hash_features_and_candidates(tmp_path: Path) -> None:
    data = small_data(11)
    features = replace(SETTINGS, use_md5=False, id_neighbors=0)
    built = build(tmp_path, data, "locked", features)
    assert not [name for name in built.columns.names if "hash" in name]
    assert "recall_hash" not in built.facts
    images = data.topks["locked"][0].image
    for product in np.unique(data.labelled.image_product[images]):
        own = data.labelled.image_product[images] == product
        listed = {int(c) for t in data.topks["locked"] for c in t.classes[own, :3].ravel()}
        assert set(built.of(product)[0]) == listed


def test_without_windows_the_global_prior_is_the_only_one(tmp_path: Path) -> None:
    data = small_data(11)
    built = build(tmp_path, data, "locked", replace(SETTINGS, id_windows=(), id_neighbors=0))
    assert not [name for name in built.columns.names if name.startswith("id_")]
    assert "global_prior" in built.columns.names
    assert "recall_ids" not in built.facts
    assert built.facts["windows"] == {}


def test_a_cap_reports_the_recall_it_costs(tmp_path: Path) -> None:
    data = small_data(7, products=150)
    whole = build(tmp_path / "a", data, "fit", SETTINGS)
    capped = build(tmp_path / "b", data, "fit", replace(SETTINGS, max_candidates=2))
    assert capped.facts["recall_without_cap"] == whole.facts["recall"]
    assert capped.facts["rows_without_cap"] == whole.facts["rows"]
    assert capped.facts["recall"] < whole.facts["recall"]
    assert np.bincount(capped.product).max() == 2
    target = np.load(tmp_path / "b" / "target.npy")
    np.testing.assert_array_equal(target, capped.class_id == data.labelled.label[capped.product])


def test_recall_by_k_equals_that_of_rows_built_with_this_k(tmp_path: Path) -> None:
    """Each row of the table against candidates built with its k."""
    data = small_data(7)
    table = recall_table(data.inputs("fit"), max_k=4)
    assert [(row["source"], row["k"]) for row in table] == [
        (source, k) for source in ("networks", "hash", "ids") for k in (1, 2, 3, 4)
    ]
    setting = {"networks": "top_k", "hash": "hash_k", "ids": "id_neighbors"}
    for row in table:
        features = replace(SETTINGS, **{setting[row["source"]]: row["k"]})
        built = build(tmp_path / f"{row['source']}{row['k']}", data, "fit", features)
        assert built.facts["recall"] == pytest.approx(row["recall"], abs=1e-6)
        assert built.facts["rows_per_product"] == pytest.approx(row["rows_per_product"], abs=1e-3)
        alone = built.facts[f"recall_{row['source']}"]
        assert alone == pytest.approx(row["recall_alone"], abs=1e-6)


def test_lists_shorter_than_top_k_leave_raw_columns_empty(tmp_path: Path) -> None:
    """Lists of two classes still give five raw ranks."""
    data = small_data(31)
    rng = np.random.default_rng(0)
    data.topks["fit"] = [random_topk(rng, data.topks["fit"][0].image, k=2)[0]]
    columns = build_source_table(tmp_path, data, "fit", ["mean"], Features())
    lost = [columns.names.index(f"mean_top_{kind}_0_4") for kind in ("prob", "class")]
    assert np.isnan(columns.values[:, lost[0]]).all()
    assert (columns.values[:, lost[1]] == -1).all()


def test_chunk_sizes_do_not_change_the_features(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = small_data(37)
    whole = build_source_table(tmp_path / "a", data, "fit", ["x", "y"])
    monkeypatch.setattr(table_module, "BLOCK", 5)
    pieces = build_source_table(tmp_path / "b", data, "fit", ["x", "y"])
    np.testing.assert_array_equal(whole.values, pieces.values)
    one, other = (FeatureTable.load(tmp_path / side / "candidates").values for side in "ab")
    np.testing.assert_array_equal(one, other)


@settings(max_examples=12, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(["fit", "holdout", "locked", "test"]),
    st.sampled_from([1, 7, 1000]),
    st.sampled_from([0, 3]),
)
def test_partitions_write_the_bytes_of_the_whole(
    seed: int, part: str, size: int, max_candidates: int
) -> None:
    """Files, and the facts of the manifest."""
    data, features = small_data(seed), replace(SETTINGS, max_candidates=max_candidates)
    with tempfile.TemporaryDirectory() as folder:
        sides = [Path(folder) / name for name in ("whole", "partitions")]
        for side, products in zip(sides, (10**6, size), strict=True):
            build_source_table(side, data, part, ["x", "y"], features, products)
        files = [sorted(p.relative_to(side) for p in side.rglob("*.*")) for side in sides]
        assert files[0] == files[1]
        for name in files[0]:
            assert (sides[0] / name).read_bytes() == (sides[1] / name).read_bytes(), name
        facts = [
            build(Path(folder), data, part, features, size=products).facts
            for products in (10**6, size)
        ]
        assert facts[0] == facts[1]


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    for side in "ab":
        build_source_table(tmp_path / side, small_data(41), "fit", ["x"])
    for path in sorted((tmp_path / "a").rglob("*.*")):
        twin = tmp_path / "b" / path.relative_to(tmp_path / "a")
        assert path.read_bytes() == twin.read_bytes(), path


def test_a_test_catalog_without_products_or_images_has_features(tmp_path: Path) -> None:
    data = small_data(43)
    rng = np.random.default_rng(0)
    for products, max_images, side in ((0, 3, "a"), (4, 0, "b")):
        data.test = random_catalog(rng, products, 5, max_images=max_images)
        data.topks["test"] = [random_topk(rng, np.empty(0, np.int64))[0]]
        columns = build_source_table(tmp_path / side, data, "test", ["x"], Features())
        assert len(columns.values) == products * 5


def test_a_saved_table_loads_unchanged(tmp_path: Path) -> None:
    columns = FeatureTable(np.array([[1, np.nan]], np.float32), ["a", "b"], ["b"])
    columns.save(tmp_path)
    back = FeatureTable.load(tmp_path)
    np.testing.assert_array_equal(back.values, columns.values)
    assert (back.names, back.categorical) == (["a", "b"], ["b"])
    assert json.loads((tmp_path / "columns.json").read_text())["names"] == ["a", "b"]
