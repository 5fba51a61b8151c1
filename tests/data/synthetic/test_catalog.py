"""The generated catalogue: real BSON, and every dial measured on the bytes that were written."""

import csv
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import bson
import cv2
import numpy as np
import pytest

from lib.config.schema import Sample
from lib.data.synthetic.catalog import generate, plan, shares
from lib.errors import UserError

DIALS = Sample(train_products=1600, test_products=400, num_classes=30, image_size=24)


def read(path: Path) -> list[dict]:
    with path.open("rb") as file:
        return list(bson.decode_file_iter(file))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sample")
    generate(folder, DIALS, 1)
    return folder


@pytest.fixture(scope="module")
def train(folder) -> list[dict]:
    return read(folder / "train.bson")


@pytest.fixture(scope="module")
def test(folder) -> list[dict]:
    return read(folder / "test.bson")


def labels_by_picture(train: list[dict]) -> dict[bytes, set[int]]:
    found: dict[bytes, set[int]] = defaultdict(set)
    for record in train:
        for image in record["imgs"]:
            found[image["picture"]].add(record["category_id"])
    return found


def test_records_are_cdiscounts(train, test, folder, shared_data):
    real = read(shared_data / "cdiscount" / "train_example.bson")[0]
    assert list(train[0]) == list(real)
    assert list(train[0]["imgs"][0]) == list(real["imgs"][0])
    assert list(test[0]) == [key for key in real if key != "category_id"]
    header = (folder / "category_names.csv").read_text().splitlines()[0]
    assert header == "category_id,category_level1,category_level2,category_level3"


def test_counts_ids_and_labels(train, test, folder):
    assert (len(train), len(test)) == (1600, 400)
    ids = [record["_id"] for record in train + test]
    assert len(set(ids)) == 2000
    assert ids != sorted(ids)
    with (folder / "category_names.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 30
    assert len({row["category_level1"] for row in rows}) < len({r["category_level2"] for r in rows})
    assert {record["category_id"] for record in train} <= {int(r["category_id"]) for r in rows}
    with (folder / "test_labels.csv").open(newline="") as file:
        truth = {int(row["_id"]): int(row["category_id"]) for row in csv.DictReader(file)}
    assert set(truth) == {record["_id"] for record in test}


def test_pictures_decode_at_their_size(train):
    for record in train[:50]:
        for image in record["imgs"]:
            picture = cv2.imdecode(np.frombuffer(image["picture"], np.uint8), cv2.IMREAD_COLOR)
            assert picture is not None
            assert picture.shape == (24, 24, 3)


def test_shares_of_the_bytes_are_those_of_the_dials(train, test, folder):
    images = [len(record["imgs"]) for record in train]
    weights = np.array(DIALS.image_count_weights) / sum(DIALS.image_count_weights)
    assert np.bincount(images)[1:] / 1600 == pytest.approx(weights, abs=0.03)
    labels = labels_by_picture(train)
    assert 1 - len(labels) / sum(images) == pytest.approx(DIALS.duplicate_fraction, abs=0.01)
    conflicting = {picture for picture, found in labels.items() if len(found) > 1}
    assert len(conflicting) / len(labels) == pytest.approx(DIALS.conflict_fraction, abs=0.003)
    shared = [r for r in test if any(i["picture"] in labels for i in r["imgs"])]
    odd = [r for r in shared if any(i["picture"] in conflicting for i in r["imgs"])]
    assert len(shared) / 400 == pytest.approx(DIALS.test_shared_fraction, abs=0.01)
    assert (len(shared) - len(odd)) / 400 == pytest.approx(
        DIALS.test_unambiguous_fraction, abs=0.01
    )
    widest = sorted((len(found) for found in labels.values()), reverse=True)
    assert min(widest[: DIALS.num_placeholders]) >= 9


def test_an_unambiguous_picture_names_the_products_class(train, test, folder):
    labels = labels_by_picture(train)
    with (folder / "test_labels.csv").open(newline="") as file:
        truth = {int(row["_id"]): int(row["category_id"]) for row in csv.DictReader(file)}
    named = [
        (next(iter(labels[image["picture"]])), truth[record["_id"]])
        for record in test
        for image in record["imgs"]
        if len(labels.get(image["picture"], ())) == 1
    ]
    assert np.mean([one == other for one, other in named]) > 0.95


def test_a_copy_is_the_same_bytes_in_another_product(train):
    holders = defaultdict(set)
    for record in train:
        for image in record["imgs"]:
            holders[image["picture"]].add(record["_id"])
    several = [found for found in holders.values() if len(found) > 1]
    assert len(several) > 100


def test_facts_equal_what_was_written(folder, train):
    facts = shares(plan(DIALS, 1))
    labels = labels_by_picture(train)
    assert facts["train_images"] == sum(len(record["imgs"]) for record in train)
    assert facts["duplicate_fraction"] == round(1 - len(labels) / facts["train_images"], 4)
    assert facts["label_noise"] == pytest.approx(DIALS.label_noise, abs=0.015)


@pytest.mark.parametrize(
    ("dial", "value"),
    [
        ("duplicate_fraction", 0.1),
        ("conflict_fraction", 0.05),
        ("test_shared_fraction", 0.6),
        ("label_noise", 0.2),
    ],
)
def test_a_dial_turns_its_share(dial, value):
    made = shares(plan(replace(DIALS, **{dial: value}), 3))
    assert made[dial] == pytest.approx(value, abs=0.035)


def test_ids_are_informative_and_the_tail_is_long():
    made = plan(replace(DIALS, train_products=8000, test_products=2000), 2)
    known, asked = np.flatnonzero(~made.test), np.flatnonzero(made.test)
    nearest = known[np.clip(np.searchsorted(known, asked), 0, len(known) - 1)]
    by_id = (made.label[nearest] == made.label[asked]).mean()
    counts = np.sort(np.bincount(made.label, minlength=30))
    by_chance = ((counts / counts.sum()) ** 2).sum()
    assert by_id > 2 * by_chance
    assert counts[-1] > 8 * counts[0]
    quarters = np.array_split(made.test, 4)
    assert [q.mean() for q in quarters] == pytest.approx([0.2] * 4, abs=0.03)


def test_the_seed_decides_every_byte(folder, tmp_path):
    generate(tmp_path, DIALS, 1)
    for name in ("train.bson", "test.bson", "category_names.csv", "test_labels.csv"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
    small = replace(DIALS, train_products=50, test_products=10)
    for seed in (1, 2):
        (tmp_path / str(seed)).mkdir()
        generate(tmp_path / str(seed), small, seed)
    first, second = ((tmp_path / s / "train.bson").read_bytes() for s in ("1", "2"))
    assert first != second


@pytest.mark.parametrize(
    ("dials", "words"),
    [
        (replace(DIALS, duplicate_fraction=1.0), "sample.duplicate_fraction"),
        (replace(DIALS, test_unambiguous_fraction=0.9), "part of sample.test_shared_fraction"),
        (replace(DIALS, image_size=8), "at least 16 pixels"),
        (replace(DIALS, image_count_weights=()), "image_count_weights"),
        (replace(DIALS, num_classes=1), "two classes"),
    ],
)
def test_dials_that_cannot_be(tmp_path, dials, words):
    with pytest.raises(UserError, match=words):
        generate(tmp_path, dials, 1)
