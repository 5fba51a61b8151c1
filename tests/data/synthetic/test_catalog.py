"""Every setting of the sample catalog is measured on the bytes that were written."""

import csv
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import bson
import cv2
import numpy as np
import pytest

from lib.config.data import Sample
from lib.config.schema import as_dict
from lib.data.synthetic.catalog import generate
from lib.data.synthetic.plan import measure_plan, plan_catalog
from lib.errors import UserError

SETTINGS = Sample(train_products=1600, test_products=400, num_classes=30, image_size=24)


def read_records(path: Path) -> list[dict]:
    with path.open("rb") as file:
        return list(bson.decode_file_iter(file))


def read_test_labels(folder: Path) -> dict[int, int]:
    with (folder / "test_labels.csv").open(newline="") as file:
        return {int(row["_id"]): int(row["category_id"]) for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sample")
    generate(folder, SETTINGS, 1)
    return folder


@pytest.fixture(scope="module")
def train(folder) -> list[dict]:
    return read_records(folder / "train.bson")


@pytest.fixture(scope="module")
def test(folder) -> list[dict]:
    return read_records(folder / "test.bson")


def labels_by_image(train: list[dict]) -> dict[bytes, set[int]]:
    labels: dict[bytes, set[int]] = defaultdict(set)
    for record in train:
        for image in record["imgs"]:
            labels[image["picture"]].add(record["category_id"])
    return labels


def test_records_have_the_format_of_cdiscount(train, test, folder, shared_data):
    real = read_records(shared_data / "cdiscount" / "train_example.bson")[0]
    assert list(train[0]) == list(real)
    assert list(train[0]["imgs"][0]) == list(real["imgs"][0])
    assert list(test[0]) == [key for key in real if key != "category_id"]
    header = (folder / "category_names.csv").read_text().splitlines()[0]
    assert header == "category_id,category_level1,category_level2,category_level3"


def test_counts_ids_and_labels_are_consistent(train, test, folder):
    assert (len(train), len(test)) == (1600, 400)
    ids = [record["_id"] for record in train + test]
    assert len(set(ids)) == 2000
    assert ids != sorted(ids)
    with (folder / "category_names.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 30
    assert len({row["category_level1"] for row in rows}) < len({r["category_level2"] for r in rows})
    assert {record["category_id"] for record in train} <= {int(r["category_id"]) for r in rows}
    assert set(read_test_labels(folder)) == {record["_id"] for record in test}


def test_images_decode_at_their_size(train):
    for record in train[:50]:
        for image in record["imgs"]:
            decoded = cv2.imdecode(np.frombuffer(image["picture"], np.uint8), cv2.IMREAD_COLOR)
            assert decoded is not None
            assert decoded.shape == (24, 24, 3)


def test_fractions_of_the_bytes_are_those_of_the_settings(train, test, folder):
    num_images = [len(record["imgs"]) for record in train]
    weights = np.array(SETTINGS.image_count_weights) / sum(SETTINGS.image_count_weights)
    assert np.bincount(num_images)[1:] / 1600 == pytest.approx(weights, abs=0.03)
    labels = labels_by_image(train)
    duplicates = 1 - len(labels) / sum(num_images)
    assert duplicates == pytest.approx(SETTINGS.duplicate_fraction, abs=0.01)
    conflicting = {image for image, of_image in labels.items() if len(of_image) > 1}
    conflicts = len(conflicting) / len(labels)
    assert conflicts == pytest.approx(SETTINGS.conflict_fraction, abs=0.003)
    shared = [r for r in test if any(i["picture"] in labels for i in r["imgs"])]
    ambiguous = [r for r in shared if any(i["picture"] in conflicting for i in r["imgs"])]
    unambiguous = (len(shared) - len(ambiguous)) / 400
    assert len(shared) / 400 == pytest.approx(SETTINGS.test_shared_fraction, abs=0.01)
    assert unambiguous == pytest.approx(SETTINGS.test_unambiguous_fraction, abs=0.01)
    num_labels = sorted((len(of_image) for of_image in labels.values()), reverse=True)
    assert min(num_labels[: SETTINGS.num_placeholders]) >= 9


def test_an_unambiguous_image_tells_the_class_of_its_product(train, test, folder):
    labels, test_labels = labels_by_image(train), read_test_labels(folder)
    pairs = [
        (next(iter(labels[image["picture"]])), test_labels[record["_id"]])
        for record in test
        for image in record["imgs"]
        if len(labels.get(image["picture"], ())) == 1
    ]
    assert np.mean([shared == own for shared, own in pairs]) > 0.95


def test_a_copy_has_the_same_bytes_in_another_product(train):
    products = defaultdict(set)
    for record in train:
        for image in record["imgs"]:
            products[image["picture"]].add(record["_id"])
    assert len([of_image for of_image in products.values() if len(of_image) > 1]) > 100


def test_the_facts_are_those_of_the_files(folder, train):
    facts = measure_plan(plan_catalog(SETTINGS, 1))
    labels = labels_by_image(train)
    assert facts["train_images"] == sum(len(record["imgs"]) for record in train)
    assert facts["duplicate_fraction"] == round(1 - len(labels) / facts["train_images"], 4)
    assert facts["label_noise"] == pytest.approx(SETTINGS.label_noise, abs=0.015)


def test_the_seed_determines_every_byte(folder, tmp_path):
    generate(tmp_path, SETTINGS, 1)
    for name in ("train.bson", "test.bson", "category_names.csv", "test_labels.csv"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
    small = replace(SETTINGS, train_products=50, test_products=10)
    for seed in (1, 2):
        (tmp_path / str(seed)).mkdir()
        generate(tmp_path / str(seed), small, seed)
    first, second = ((tmp_path / s / "train.bson").read_bytes() for s in ("1", "2"))
    assert first != second


def test_a_catalog_without_words_is_recorded_as_by_former_versions():
    """Runs of users stay fresh: their manifests know no setting of words."""
    assert len(as_dict(Sample(), *Sample().unused)) == 14
    assert Sample(title_wrong=0.5, brand_informative=0.1).unused == Sample().unused
    with_titles = Sample(title_missing=0.5)
    recorded = as_dict(with_titles, *with_titles.unused)
    assert "title_wrong" in recorded
    assert "brand_informative" not in recorded


def test_a_catalog_with_words_has_the_same_pictures_and_a_copy_keeps_its_word(tmp_path):
    settings = replace(SETTINGS, train_products=150, test_products=30, image_size=96)
    words = {"title_missing": 0.2, "brand_missing": 0.2, "price_missing": 0.2}
    plain, beside, in_pictures = (
        read_after(tmp_path / name, replace(settings, **changes))
        for name, changes in (
            ("plain", {}),
            ("beside", words),
            ("pictures", {"picture_words": 0.5}),
        )
    )
    extra = [set(record) - set(plain[0]) for record in beside]
    assert set().union(*extra) == {"title", "brand", "price"}
    assert 0.7 < np.mean(["title" in keys for keys in extra]) < 0.9
    for first, second in zip(plain, beside, strict=True):
        assert first == {key: second[key] for key in first}
    pairs = [
        (a["picture"], b["picture"])
        for first, second in zip(plain, in_pictures, strict=True)
        for a, b in zip(first["imgs"], second["imgs"], strict=True)
    ]
    assert len(dict(pairs)) == len(set(pairs)) < len(pairs)  # copies are copies
    assert 0.3 < np.mean([a != b for a, b in pairs]) < 0.6


def read_after(folder: Path, settings: Sample) -> list[dict]:
    folder.mkdir()
    generate(folder, settings, 1)
    return read_records(folder / "train.bson")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"duplicate_fraction": 1.0}, "sample.duplicate_fraction = 1.0: must be from 0"),
        ({"test_unambiguous_fraction": 0.9}, "part of sample.test_shared_fraction"),
        ({"image_size": 8}, "sample.image_size = 8: must be at least 16"),
        ({"image_count_weights": ()}, "image_count_weights"),
        ({"num_classes": 1}, "sample.num_classes = 1: must be at least 2"),
        ({"test_products": 0}, "sample.test_products = 0: must be at least 1"),
        ({"run_length": 1}, "sample.run_length = 1: must be at least 2"),
    ],
)
def test_impossible_settings_are_an_error(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        generate(tmp_path, replace(SETTINGS, **changes), 1)
