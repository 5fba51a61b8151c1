"""Stage 01 on catalogs of bursts: what the split keeps together, and when."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from lib.cli import run_stage
from lib.data.catalog import FIT, LOCKED, read_catalog, read_splits
from lib.pipeline.experiment import Experiment, load_experiment
from lib.stages import extract
from studies import bursts

NUM_LABELLED = 96
CONFIG = """
name = "bursts"
work = "{folder}/work"
[data]
source = "csv"
root = "{folder}"
train = "products.csv"
test = "{test}"
group_by = "{group_by}"
[split]
locked = 0.25
n_folds = 2
[models.a]
arch = "small"
weights = "none"
n_folds = 2
[run]
threads = 1
workers = 1
"""


def scene(seed: int) -> bytes:
    """A picture of random polygons on a background of random colors."""
    rng = np.random.default_rng(seed)
    colors = rng.integers(0, 256, (3, 3, 3), np.uint8)
    picture = cv2.resize(colors, (120, 96), interpolation=cv2.INTER_CUBIC)
    for _ in range(8):
        corners = rng.integers(0, 110, (int(rng.integers(3, 6)), 2)).astype(np.int32)
        cv2.fillPoly(picture, [corners], rng.integers(0, 256, 3).tolist())
    return cv2.imencode(".jpg", picture)[1].tobytes()


@pytest.fixture(scope="module")
def catalog(tmp_path_factory) -> Path:
    """Six in ten products are of bursts; more of the same bursts, and products of other scenes."""
    folder = tmp_path_factory.mktemp("bursts")
    photos = [bursts.Photo(f"class {i % 4}", scene(i)) for i in range(200)]
    bursts.make_catalog(folder, photos, 0.6, NUM_LABELLED, 40, 1, (3, 6), same_bursts=True)
    rows = ["product,images"]
    for number in range(40):
        (folder / "images" / f"other{number}.jpg").write_bytes(scene(1000 + number))
        rows.append(f"o{number:05d},other{number}.jpg")
    (folder / "other.csv").write_text("\n".join(rows))
    return folder


def split(catalog: Path, test: str, group_by: str, *options: str) -> Experiment:
    """Run stage 01 with these products to classify."""
    config = catalog / f"{group_by}-{test.removesuffix('.csv')}.toml"
    config.write_text(CONFIG.format(folder=catalog, test=test, group_by=group_by))
    command = ["--config", str(config), "--quiet", "--rebuild", *options]
    assert run_stage(extract, command) == 0
    return load_experiment(config)


def kept_fraction(experiment: Experiment) -> float:
    return json.loads((experiment.path("extract/twins") / "twins.json").read_text())["kept"]


def bursts_together(catalog: Path, experiment: Experiment) -> np.ndarray:
    """Whether each burst lies in one part and fold: bool [bursts of two and more]."""
    with (catalog / "products.csv").open(newline="") as file:
        burst_of = {row["product"]: row["burst"] for row in csv.DictReader(file)}
    products = read_catalog(experiment.path("extract/train"), catalog)
    found = read_splits(experiment.path("extract/splits"))
    places: dict[str, list[tuple[int, int]]] = {}
    for row, place in enumerate(zip(found.part.tolist(), found.fold.tolist(), strict=True)):
        places.setdefault(burst_of[products.key(row)], []).append(place)
    return np.array([len(set(burst)) == 1 for burst in places.values() if len(burst) > 1])


def test_the_split_keeps_bursts_together_until_products_of_the_same_bursts_are_to_classify(catalog):
    alone = split(catalog, "", "alike")
    assert bursts_together(catalog, alone).mean() > 0.8
    elsewhere = split(catalog, "other.csv", "alike")
    assert kept_fraction(elsewhere) > 0.5  # some of them seem alike by chance
    same = split(catalog, "new.csv", "alike")
    assert kept_fraction(same) == 0
    assert bursts_together(catalog, same).mean() < 0.5
    assert len(np.load(same.path("extract/sets/test") / "sets.npy")) == 40


def test_near_twins_are_apart_on_request(catalog):
    experiment = split(catalog, "", "")
    assert bursts_together(catalog, experiment).mean() < 0.5
    assert np.load(experiment.path("extract/twins") / "twin.npy").mean() > 0.4


def test_the_split_of_the_users_own_column_is_taken_as_it_is(catalog, capsys):
    with (catalog / "products.csv").open(newline="") as file:
        rows = [
            row | {"own": "test" if i % 4 == 3 else "train"}
            for i, row in enumerate(csv.DictReader(file))
        ]
    with (catalog / "own.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    sets = [
        word for key in ("train=own.csv", "split_column=own") for word in ("--set", f"data.{key}")
    ]
    experiment = split(catalog, "", "alike", *sets)
    assert "groups of products that are alike or belong together are in several parts" in (
        capsys.readouterr().err
    )
    part = read_splits(experiment.path("extract/splits")).part
    assert part.tolist() == [LOCKED if i % 4 == 3 else FIT for i in range(NUM_LABELLED)]
    config = [
        "--config",
        str(catalog / "alike-.toml"),
        "--set",
        "data.split_column=burst",
        "--rebuild",
    ]
    assert run_stage(extract, config) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "products.csv: burst says " in line
    assert line.endswith("write train, valid or test, or the number of a fold, for each")


def test_a_catalog_of_too_few_sets_is_split_by_products_with_a_warning(catalog, capsys):
    experiment = split(catalog, "", "alike", "--set", "split.locked=0.02")
    assert "near twins are not kept together, so figures are too high: split: " in (
        capsys.readouterr().err
    )
    assert bursts_together(catalog, experiment).mean() < 0.5
