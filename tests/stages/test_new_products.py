"""`--new`: predictions for new products by trained models, whose labelled files are gone.

These runs cover `lib/stages/submit.py` and `lib/stages/blends` with `--new`.
"""

import argparse
import csv
import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.client import HTTPConnection
from itertools import islice
from pathlib import Path
from typing import Any

import bson
import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from lib.config.data import Sample
from lib.data.catalog import read_catalog, read_categories, read_splits
from lib.data.corrections import find_products, read_class_table, read_given_labels
from lib.data.synthetic.catalog import generate
from lib.errors import UserError
from lib.evaluation.abstention import fit_abstention_rule
from lib.labelling.review.log import CLASS, ReviewLog
from lib.output.predictions import NEAR_COLUMNS, PARQUET_ONLY
from lib.pipeline.artifact import ensure, status_all
from lib.pipeline.experiment import Experiment, load_experiment
from lib.pipeline.fingerprint import fingerprint
from lib.pipeline.manifest import MANIFEST, read_manifest
from lib.pipeline.predict_target import predict_target, slug
from lib.serving.app import MAX_BYTES
from lib.serving.predictor import LoadedPredictor
from lib.stacking.blend import argmax_per_product
from lib.stages.blends.scores import score_part, submitted_scores
from lib.stages.order import declare_all
from lib.stages.pages.similar import similar
from lib.stages.read import catalog_of_part, read_candidates, read_nearest_products
from lib.stages.review.labels import NAME
from lib.stages.review.next_round import run_next_round
from lib.stages.review.run import add_options, check_options, review
from tests import scripts
from tests.conftest import ROOT
from tests.stages.running_review import open_review

TINY = """
name = "tiny"
[data]
source = "bson"
corrections = "corrections.csv"
text_columns = ["title"]
categorical_columns = ["brand"]
numeric_columns = ["price"]
[split]
locked = 0.2
n_folds = 2
[models.a]
arch = "small"
weights = "none"
resize = [32, 32]
crop = [28, 28]
head_only_epochs = 0
epochs = 2
n_folds = 2
[models.text]
input = "text"
n_folds = 2
text.num_features = 4096
text.epochs = 8
[predict]
shard_size = 40
[features]
id_windows = [5]
[stack]
l2 = ["lightgbm"]
l3 = ["lgbm_deep"]
sources = ["mean", "per_model"]
n_estimators = 8
[inference]
top_k = 3
min_precision = 0.5
[run]
threads = 1
report = false
device = "cpu"
"""
SAMPLE = Sample(
    train_products=300,
    test_products=60,
    num_classes=6,
    image_size=32,
    title_missing=0.1,
    title_informative=1.0,
    brand_missing=0.2,
    price_missing=0.1,
)
WITHOUT_IMAGES = 12  # of the last products of each file


def run_all(folder: Path, *extra: str) -> subprocess.CompletedProcess:
    return scripts.run_all(*options(folder), *extra)


def run(stage: str, folder: Path, *extra: str) -> subprocess.CompletedProcess:
    return scripts.run_all(*options(folder), *extra, stages=[stage])


def overrides(folder: Path) -> list[str]:
    return [f"work={folder}", f"data.root={folder}"]


def options(folder: Path) -> list[str]:
    sets = [word for override in overrides(folder) for word in ("--set", override)]
    return ["--config", str(folder / "tiny.toml"), *sets]


def experiment_in(folder: Path) -> Experiment:
    return load_experiment(folder / "tiny.toml", overrides(folder))


def num_products(folder: Path, part: str) -> int:
    return len(read_splits(experiment_in(folder).path("extract/splits")).products(part))


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """The artifacts of a whole run and `test.bson`; read only except for `new`."""
    folder = tmp_path_factory.mktemp("trained")
    write_files(folder)
    (folder / "tiny.toml").write_text(TINY)
    result = run_all(folder)
    assert result.returncode == 0, result.stderr
    (folder / "train.bson").unlink()
    (folder / "category_names.csv").unlink()
    (folder / "corrections.csv").rename(folder / "corrections_used.csv")
    return folder


def write_files(folder: Path) -> None:
    """The catalog, whose last products of each file have no images, and its corrections."""
    generate(folder, SAMPLE, 1)
    for name in ("train", "test"):
        take_images_away(folder / f"{name}.bson")
    write_corrections(folder)


def take_images_away(path: Path) -> None:
    """Leave the last products of a file without images; their titles stay."""
    records = list(bson.decode_file_iter(path.open("rb")))
    for record in records[-WITHOUT_IMAGES:]:
        record["imgs"] = []
    path.write_bytes(b"".join(bson.encode(record) for record in records))


def write_corrections(folder: Path) -> None:
    """Another class for some labelled products, and its own one for another."""
    with (folder / "train.bson").open("rb") as file:
        given = {r["_id"]: r["category_id"] for r in islice(bson.decode_file_iter(file), 16)}
    classes = sorted(set(given.values()))
    others = [(p, classes[(classes.index(c) + 1) % len(classes)]) for p, c in given.items()]
    rows = [("product", "class"), *others[:-1], list(given.items())[-1]]
    with (folder / "corrections.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)


@pytest.fixture
def copied(trained, tmp_path) -> Path:
    def leave_out(folder: str, names: list[str]) -> list[str]:
        return ["new"] if "new" in names else []

    return Path(shutil.copytree(trained, tmp_path / "copy", ignore=leave_out))


def file_times(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of every file of the experiment outside `new/`."""
    root = folder / "tiny"
    files = [p for p in root.rglob("*") if p.is_file() and not p.is_relative_to(root / "new")]
    return {str(p): (p.stat().st_size, p.stat().st_mtime_ns) for p in files}


def target_folder(folder: Path, path: Path) -> Path:
    return folder / "tiny" / "new" / slug(path)


def predictions(folder: Path, path: Path) -> list[dict[str, str]]:
    with (target_folder(folder, path) / "submit" / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def first_images(folder: Path) -> dict[str, np.ndarray]:
    """The first image of some products of the test file, by the id of the product."""
    with (folder / "test.bson").open("rb") as file:
        records = list(bson.decode_file_iter(file))
    images = {}
    for record in records[:12]:
        data = np.frombuffer(record["imgs"][0]["picture"], np.uint8)
        image = cv2.imdecode(data, cv2.IMREAD_COLOR)
        assert image is not None
        images[str(record["_id"])] = image
    return images


def test_the_test_file_itself_gets_the_classes_of_the_submission(trained, tmp_path):
    path = tmp_path / "other.bson"
    shutil.copy(trained / "test.bson", path)
    before = file_times(trained)
    result = run_all(trained, "--new", str(path))
    assert result.returncode == 0, result.stderr
    assert file_times(trained) == before
    packed = gzip.decompress((trained / "tiny" / "submit" / "submission.csv.gz").read_bytes())
    submitted = list(csv.reader(packed.decode().splitlines()))[1:]
    predicted = predictions(trained, path)
    assert [[row["product"], row["class_1"]] for row in predicted] == submitted

    for row in predicted:
        probs = [float(row[f"prob_{i}"]) for i in (1, 2, 3) if row[f"prob_{i}"]]
        assert probs == sorted(probs, reverse=True)
        assert 0 < sum(probs) <= 1 + 1e-5
        named = [row[f"class_{i}"] for i in (1, 2, 3)][: len(probs)]
        assert len(set(named)) == len(named)

    table = pq.read_table(target_folder(trained, path) / "submit" / "predictions.parquet")
    assert table.column_names == [*predicted[0], *PARQUET_ONLY]
    alone = without_images(path)
    assert len(alone) == WITHOUT_IMAGES
    for row, of_parquet in zip(predicted, table.to_pylist(), strict=True):
        assert " > " in of_parquet.pop("name_1")
        cosine = of_parquet.pop("nearest_cos")
        near = [of_parquet.pop(name) for name in NEAR_COLUMNS]
        if row["product"] not in alone:
            assert cosine <= 1.001
            assert near[1] == cosine
            assert len(set(near[::2])) == 5
            assert near[1::2] == sorted(near[1::2], reverse=True)
        for name, value in of_parquet.items():
            if name.startswith("prob_") and value is not None:
                assert np.float32(row[name]) == np.float32(value)
            else:
                shown = "" if value is None else str(value)
                assert row[name] == (shown.lower() if name == "accepted" else shown)

    titled = [row for row in predicted if "title" in alone.get(row["product"], ())]
    truth = read_test_labels(trained)
    right = [row["class_1"] == truth[row["product"]] for row in titled]
    assert np.mean(right) > 0.6  # no picture tells it

    ladder = (target_folder(trained, path) / "submit" / "ladder.txt").read_text()
    accepted = [row["accepted"] for row in predicted].count("true")
    assert accepted > 0
    weighted = "the products to classify are unlike the labelled ones" in ladder
    how = ", with the labelled products weighted" if weighted else " with 95 % confidence"
    assert f"accepted {accepted} of 60 (precision at least 0.5{how}" in ladder
    locked = num_products(trained, "locked")
    assert f"fitted blend on the locked part, {locked} products: 0." in result.stderr
    assert "caution" not in ladder

    again = run_all(trained, "--new", str(path))
    assert again.returncode == 0
    assert "building" not in again.stderr
    assert file_times(trained) == before


def read_test_labels(folder: Path) -> dict[str, str]:
    """The classes of the products of the generated test file, by id."""
    with (folder / "test_labels.csv").open(newline="") as file:
        return {row["_id"]: row["category_id"] for row in csv.DictReader(file)}


def without_images(path: Path) -> dict[str, dict[str, Any]]:
    """The documents of products without images, by id."""
    with path.open("rb") as file:
        records = list(bson.decode_file_iter(file))
    return {str(record["_id"]): record for record in records if not record["imgs"]}


def test_the_threshold_is_fitted_on_out_of_fold_rows_alone(trained, tmp_path):
    submit, rule = trained / "tiny" / "submit", trained / "tiny" / "calibration"
    fitted = json.loads((rule / "calibration.json").read_text())
    assert fitted["products"] == num_products(trained, "fit")
    measured = json.loads((submit / "calibration.json").read_text())
    assert measured["locked"]["accuracy"]["n"] == num_products(trained, "locked")
    assert measured["threshold"] == fitted["threshold"]
    assert "locked products (precision at least 0.5" in (submit / "ladder.txt").read_text()
    manifest = json.loads((rule / "_manifest.json").read_text())
    assert not [name for name in manifest["inputs"] if "locked" in name or "test" in name]


def test_a_threshold_is_tested_on_one_product_of_a_group(trained):
    experiment = experiment_in(trained)
    fit = read_splits(experiment.path("extract/splits")).products("fit")
    group = np.arange(300, dtype=np.int32) // 3
    rows, scores = read_candidates(experiment, "fit"), submitted_scores(experiment, "fit")
    rule = fit_abstention_rule(scores, rows.product, rows.target, 0.5, group)
    assert rule.num_tested == len(np.unique(fit // 3)) < rule.num_products == len(fit)


def test_a_folder_of_images_with_models_of_a_bson_catalog(trained, tmp_path):
    images = first_images(trained)
    (tmp_path / "fresh" / "in").mkdir(parents=True)
    for number, (key, image) in enumerate(images.items()):
        inside = "in" if number % 2 else "."
        assert cv2.imwrite(str(tmp_path / "fresh" / inside / f"{key}.png"), image)
    (tmp_path / "fresh" / "rotten.jpg").write_bytes(b"rotten")
    # Relative to the caller's folder, one script after the other.
    first = scripts.run_script("01_extract.py", *options(trained), "--new", "fresh", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    result = run_all(trained, "--new", str(tmp_path / "fresh"))
    assert result.returncode == 0, result.stderr
    assert "images cannot be decoded (1 x not an image) and are left out" in first.stderr
    predicted = predictions(trained, tmp_path / "fresh")
    names = [str(p.relative_to(tmp_path / "fresh")) for p in (tmp_path / "fresh").rglob("*.*g")]
    assert [row["product"] for row in predicted] == sorted(names)
    rotten = {row["product"]: row for row in predicted}["rotten.jpg"]
    assert rotten["accepted"] == "false"
    assert (rotten["reason"], rotten["images_used"]) == ("no readable image", "0")
    assert "caution: the ids of labelled products are numbers" in result.stderr

    # A predictor that stays loaded gives the same rows, and those of one picture alone.
    folder = target_folder(trained, tmp_path / "fresh") / "submit"
    pictures = {name: (tmp_path / "fresh" / name).read_bytes() for name in reversed(names)}
    with LoadedPredictor(experiment_in(trained)) as predictor:
        for _ in range(2):
            table = predictor.predict(pictures)
            assert table.equals(pq.read_table(folder / "predictions.parquet"))
        each = predictor.predict_each(pictures).to_pylist()
        for row in each[:3]:
            alone = predictor.predict({row["product"]: pictures[row["product"]]}).to_pylist()[0]
            assert {key: value for key, value in row.items() if "cos" not in key} == {
                key: value for key, value in alone.items() if "cos" not in key
            }
        assert {row["product"]: row["reason"] for row in each}["rotten.jpg"] == "no readable image"
        for wrong in ({}, {"../a.jpg": b""}, {"a.txt": b""}):
            with pytest.raises(UserError, match=r"no pictures|not the name"):
                predictor.predict(wrong)
    assert not list((trained / "tiny" / "new").glob("loaded*"))


def test_a_service_answers_as_the_predictor_and_loses_no_request_when_it_is_stopped(trained):
    images = list(first_images(trained).values())
    pictures = [cv2.imencode(".png", image)[1].tobytes() for image in images]
    with LoadedPredictor(experiment_in(trained)) as predictor:
        named = {f"{i:02}.png": data for i, data in enumerate(pictures)}
        expected = [row["class_1"] for row in predictor.predict_each(named).to_pylist()]
    _, config, *sets = options(trained)
    command = [sys.executable, "-m", "lib.cli", config, *sets, "--serve"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = int(re.search(r"127.0.0.1:(\d+)/", process.stdout.readline())[1])

        def ask(method: str, path: str, body: bytes = b"", **headers: str) -> HTTPConnection:
            connection = HTTPConnection("127.0.0.1", port, timeout=300)
            connection.request(method, path, body, headers)
            return connection

        def answer(connection: HTTPConnection) -> tuple[int, Any]:
            response = connection.getresponse()
            body = response.read()
            return response.status, json.loads(body) if body[:1] == b"{" else body

        assert answer(ask("GET", "/health"))[1]["labelled_products"] == 300
        status, rotten = answer(ask("POST", "/predict", b"rotten"))
        assert (status, rotten["predictions"][0]["reason"]) == (422, "no readable image")
        assert answer(ask("POST", "/predict"))[0] == 400
        assert answer(ask("POST", "/predict", pictures[0], Origin="http://other"))[0] == 403
        assert answer(ask("GET", "/health", Host="other:80"))[0] == 403
        limit = {"Content-Length": str(MAX_BYTES + 1)}
        assert answer(ask("POST", "/predict", b"", **limit))[0] == 413
        mixed = form_of({"a.png": pictures[0], "empty.png": b""})
        status, both = answer(ask("POST", "/predict", mixed, **{"Content-Type": FORM_TYPE}))
        assert status == 200
        assert [said["reason"] for said in both["predictions"]][
            1
        ] == "not a picture that can be read"
        assert both["predictions"][0]["classes"][0]["class_id"] == str(expected[0])
        # The labelled files of this catalog are gone, and with them the pictures that are near.
        assert both["predictions"][0]["nearest"][0]["picture"] is None
        assert answer(ask("GET", "/labelled/0"))[0] == 404
        status, page = answer(ask("GET", "/"))
        assert status == 200
        assert b"serve.js" in page
        assert answer(ask("GET", "/static/serve.js"))[0] == 200
        assert b'predict_requests_total{status="422"} 1' in answer(ask("GET", "/metrics"))[1]

        flying = [ask("POST", "/predict", pictures[i % len(pictures)]) for i in range(20)]
        process.send_signal(signal.SIGTERM)
        for i, connection in enumerate(flying):
            status, said = answer(connection)
            assert status == 200
            found = said["predictions"][0]["classes"][0]["class_id"]
            assert found == str(expected[i % len(expected)])
        assert process.wait() == 0
        assert process.stdout.read() == "22 pictures answered\n"
    with pytest.raises(ConnectionRefusedError):
        ask("GET", "/health")


FORM_TYPE = "multipart/form-data; boundary=edge"


def form_of(files: dict[str, bytes]) -> bytes:
    """The body of a form with these files."""
    head = '--edge\r\nContent-Disposition: form-data; name="picture"; filename="{}"\r\n\r\n'
    parts = [head.format(name).encode() + data + b"\r\n" for name, data in files.items()]
    return b"".join(parts) + b"--edge--\r\n"


def test_what_cannot_be_served_is_one_line(copied):
    wrong = run_review(copied, "--serve", "--review")
    assert wrong.returncode == 2
    assert "--serve answers pictures alone; leave --review out" in wrong.stderr
    config = experiment_in(copied).config
    data = replace(config.data, source="openimages")
    clusters = replace(config.clusters, multi_label=True)
    of_sets = replace(config, data=data, clusters=clusters)
    with pytest.raises(UserError, match=r"clusters\.multi_label"):
        LoadedPredictor(replace(experiment_in(copied), config=of_sets))
    shutil.rmtree(copied / "tiny" / "blend")
    with pytest.raises(UserError, match="blend is missing; train first"):
        LoadedPredictor(experiment_in(copied), "tiny.toml")


def test_ids_of_a_csv_table_stay_text(trained, tmp_path):
    lines = ["product,images"]
    (tmp_path / "images").mkdir()
    for key, image in list(first_images(trained).items())[:3]:
        assert cv2.imwrite(str(tmp_path / "images" / f"{key}.png"), image)
        lines.append(f'"a ""{key}"", b",{key}.png')
    (tmp_path / "new.csv").write_text("\n".join(lines))
    report = ("--set", "run.report=true")  # of labelled pictures that are gone
    result = run_all(trained, "--new", str(tmp_path / "new.csv"), *report)
    assert result.returncode == 0, result.stderr
    path = target_folder(trained, tmp_path / "new.csv") / "submit" / "report.html"
    assert f"report: {path}" in result.stderr
    page = path.read_text()
    assert page.count('<article class="card"') == page.count('<img src="data:image/jpeg') == 3
    assert "train.bson is gone, and with it the labelled pictures." in page
    keys = list(first_images(trained))[:3]
    assert [row["product"] for row in predictions(trained, tmp_path / "new.csv")] == [
        f'a "{key}", b' for key in keys
    ]


def test_similar_products_of_a_photo_are_those_of_the_product_that_has_it(copied, tmp_path):
    experiment = experiment_in(copied)
    with (copied / "test.bson").open("rb") as file:
        records = list(bson.decode_file_iter(file))
    record = next(record for record in records if len(record["imgs"]) == 1)
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(record["imgs"][0]["picture"])
    result = scripts.fork_run(*options(copied)[1:], "--similar", str(photo))
    assert result.returncode == 0, result.stderr
    lines = similar(experiment, str(record["_id"]))
    assert result.stdout.splitlines()[:10] == lines[:10]

    found = [slug(Path(name)) for name in (str(photo), str(record["_id"]))]
    of_photo, of_product = (
        pq.read_table(copied / "tiny" / "similar" / name / "similar.parquet") for name in found
    )
    assert of_photo.column_names == ["product", "rank", "near", "cosine", "class", "name"]
    assert of_photo["product"].to_pylist() == ["photo.jpg"] * len(of_photo)
    assert of_photo["near"].to_pylist() == of_product["near"].to_pylist()
    assert of_photo["rank"].to_pylist() == list(range(1, len(of_photo) + 1))
    near = read_nearest_products(experiment, "test", 1)
    row = [record["_id"] for record in records].index(record["_id"])
    labelled = catalog_of_part(experiment, "train")
    assert of_product["near"][0].as_py() == labelled.key(near.product[row, 0])
    assert of_product["cosine"][0].as_py() == pytest.approx(near.cosine[row, 0])
    page = (copied / "tiny" / "similar" / found[0] / "similar.html").read_text()
    assert "train.bson is gone" in page


def test_a_labelled_product_is_not_similar_to_itself(copied):
    experiment = experiment_in(copied)
    labelled = catalog_of_part(experiment, "train")
    lines = similar(experiment, labelled.key(3))
    assert len(lines) == 12
    path = copied / "tiny" / "similar" / slug(Path(labelled.key(3))) / "similar.parquet"
    table = pq.read_table(path)
    near = read_nearest_products(experiment, "train", 5)
    expected = [labelled.key(product) for product in near.product[3] if product >= 0]
    assert table["near"].to_pylist()[: len(expected)] == expected
    assert labelled.key(3) not in table["near"].to_pylist()
    assert table["cosine"].to_pylist() == sorted(table["cosine"].to_pylist(), reverse=True)


def test_what_is_no_product_and_no_file_is_one_line(copied):
    with pytest.raises(UserError, match="no product of the catalog, and no file, has this name"):
        similar(experiment_in(copied), "none.jpg")
    shutil.rmtree(copied / "tiny" / "extract" / "embeddings" / "train")
    with pytest.raises(UserError, match=r"embeddings/train is missing; run 01_extract\.py first"):
        similar(experiment_in(copied), "1")
    new = replace(experiment_in(copied), target=predict_target(str(copied / "test.bson")))
    with pytest.raises(UserError, match="exclude each other"):
        similar(new, "1")


def test_corrected_labels_are_counted_and_said(trained):
    """What is scored are the corrected labels; the ladder also says the figure of the original."""
    experiment = experiment_in(trained)
    facts = json.loads((experiment.path("extract/train") / MANIFEST).read_text())["facts"]
    assert facts["corrected_labels"] == 15
    assert facts["corrections_without_change"] == 1
    catalog = catalog_of_part(experiment, "train")
    given = read_given_labels(experiment.path("extract/train"))
    table = read_class_table(
        trained / "corrections_used.csv", read_categories(experiment.path("extract/categories"))
    )
    rows = find_products(catalog, list(table))
    assert catalog.label[rows].tolist() == list(table.values())
    assert set(np.flatnonzero(catalog.label != given)) == set(rows[:15])
    locked = read_splits(experiment.path("extract/splits")).products("locked")
    changed = np.intersect1d(locked, rows[:15])
    assert len(changed)
    rows_of_blend, score = score_part(experiment, "locked")
    product, best = argmax_per_product(rows_of_blend.product, rows_of_blend.class_id, score)
    by_given = float((best == given[product]).mean())
    assert float((best == catalog.label[product]).mean()) != by_given
    ladder = (experiment.path("submit") / "ladder.txt").read_text()
    expected = f"{len(changed)} of {len(locked)} locked products have corrected labels"
    (line,) = (line for line in ladder.splitlines() if line.startswith(expected))
    assert f"by the labels of the original, fitted: {by_given:.4f} (" in line


def test_people_decide_what_is_not_accepted(copied):
    """Killed, resumed, decided by two people at once, closed, and exported."""
    strict = ("--set", "inference.min_precision=0.9")
    experiment = load_experiment(copied / "tiny.toml", [*overrides(copied), strict[1]])
    for artifact in declare_all(experiment)["submit"]:
        ensure(artifact, rebuild=True)
    before, given = file_times(copied), {}
    reviewed = copied / "tiny" / "reviewed"
    with open_review(*options(copied)[1:], *strict) as server:
        assert server.decide(1, 3, given) == 3
        other = run_review(copied, *strict)
        assert other.returncode == 2
        assert "another --review of these products is open" in other.stderr
        server.stop(signal.SIGKILL)
    assert not (reviewed / "predictions.csv").exists()

    with open_review(*options(copied)[1:], *strict, "--people", "2") as server:
        assert server.request("person/1/state")["decided"] == 3
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda person: server.decide(person, 100, given), (1, 2)))
        total = server.request("person/1/state")["total"]
        assert len(given) == total > 10
        assert server.process.is_alive()
        printed = server.stop(signal.SIGINT)
    assert server.process.exitcode == 0
    assert f"{total} products are decided by people (1 not in the list), 0 skipped" in printed

    with (reviewed / "predictions.csv").open(newline="") as file:
        rows = {row["product"]: row for row in csv.DictReader(file)}
    with (reviewed / "model" / "predictions.csv").open(newline="") as file:
        of_model = {row["product"]: row for row in csv.DictReader(file)}
    packed = gzip.decompress((reviewed / "submission.csv.gz").read_bytes()).decode()
    submitted = dict(list(csv.reader(packed.splitlines()))[1:])
    assert list(rows) == list(of_model) == list(submitted)
    assert {row["product"] for row in of_model.values() if row["accepted"] == "false"} == set(given)
    for product, row in rows.items():
        was = of_model[product]
        assert row["decided_by"] == ("person" if product in given else "model")
        absent = given.get(product) == "not in the list"
        first = was["class_2"] if product in given and not absent else was["class_1"]
        assert row["class_1"] == submitted[product] == first
        assert row["accepted"] == str(not absent).lower()
    assert len((reviewed / "answers.csv").read_text().splitlines()) == total + 1

    # What the run made is as it was, and the answers are exported again without the page.
    after = {name: stamp for name, stamp in file_times(copied).items() if "/reviewed/" not in name}
    assert after == before
    assert scripts.fork_run(*options(copied)[1:], *strict, "--verify").returncode == 0
    (reviewed / "predictions.csv").unlink()
    again = run_review(copied, *strict, "--export")
    assert again.returncode == 0, again.stderr
    assert again.stdout in printed
    assert (reviewed / "predictions.csv").exists()


def test_a_next_round_learns_from_the_answers(copied):
    """What answers do not touch is linked; networks start from their own ones; the gain is said."""
    write_files(copied)  # the files of the user, for those who train
    before, first = file_times(copied), experiment_in(copied)
    arguments = cli_arguments(*options(copied)[1:])
    with pytest.raises(UserError, match="no answers yet; give some on the page that --review"):
        run_next_round(first, arguments, run_here)
    truth = dict(list(csv.reader((copied / "test_labels.csv").open()))[1:])
    with ReviewLog(copied / "tiny" / "reviewed" / "answers.sqlite") as log:
        log.bind({})
        for product in list(truth)[:30]:
            log.append(1, product, CLASS, truth[product])
    assert run_next_round(first, arguments, run_here) == 0
    second = load_experiment(copied / "tiny-reviewed" / "config.toml")
    states = status_all([a for stage in declare_all(second).values() for a in stage])
    assert {state.state for state in states.values()} == {"fresh"}
    for name, file in (("extract/train", "products.arrow"), ("extract/embeddings/test", MANIFEST)):
        assert (second.path(name) / file).samefile(first.path(name) / file)
    networks = [read_manifest(e.path("cnn/a/fold1")) for e in (first, second)]
    assert networks[1]["inputs"].keys() - networks[0]["inputs"] == {NAME, "warm_start"}
    checkpoint = first.path("cnn/a/fold1") / "last.pt"
    assert networks[1]["inputs"]["warm_start"] == fingerprint(checkpoint)
    assert networks[1]["facts"]["images"] > networks[0]["facts"]["images"]
    gain = (second.folder / "gain.txt").read_text().splitlines()
    assert gain[0].startswith("30 reviewed labels")
    for line, part in zip(gain[1:], ("out-of-fold", "locked part"), strict=True):
        assert re.fullmatch(
            rf"tiny-reviewed: .* points against tiny, \d+ products, {part} \(95 %.* -> 0\.\d+", line
        )
    after = {name: stamp for name, stamp in file_times(copied).items() if "/reviewed/" not in name}
    assert after == before

    with pytest.raises(UserError, match=r"exclude each other; .*tiny-reviewed/config.toml --new"):
        run_next_round(first, cli_arguments("--new", "x"), run_here)


def run_here(experiment: Experiment, arguments: argparse.Namespace) -> int:
    """All stages in this process."""
    assert arguments.rebuild
    for artifact in [a for stage in declare_all(experiment).values() for a in stage]:
        ensure(artifact, rebuild=True)
    return 0


def run_review(folder: Path, *extra: str) -> subprocess.CompletedProcess:
    return scripts.fork_run(*options(folder)[1:], "--review", *extra)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (("--set", "data.test=''"), "data.test names no products to classify"),
        (("--people", "0"), "--people 0: must be from 1 to 100"),
        (("--new", "TEST"), "is missing; run the same command without --review"),
    ],
)
def test_what_cannot_be_reviewed_is_one_line(copied, extra, message):
    extra = [str(copied / "test.bson") if word == "TEST" else word for word in extra]
    arguments = cli_arguments(*options(copied)[1:], "--review", *extra)
    with pytest.raises(UserError, match=message):
        review(load_experiment(arguments.config, arguments.set, arguments.new), arguments)


def test_options_of_a_review_need_one(copied):
    with pytest.raises(UserError, match="--port belongs to --review or --serve; add it"):
        check_options(cli_arguments("--port", "8000"))


def cli_arguments(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("config", nargs="?")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--new")
    parser.set_defaults(dry_run=False, status=False, verify=False, similar=None, rehearse=None)
    parser.set_defaults(called=0.0)
    add_options(parser)
    return parser.parse_args(arguments)


def test_a_product_of_an_array_is_one_row(trained, tmp_path):
    path = tmp_path / "new.npy"
    np.save(path, np.zeros((4, 400), np.uint8))
    result = run("extract", trained, "--new", str(path))
    assert result.returncode == 0, result.stderr
    index = read_catalog(target_folder(trained, path) / "extract" / "test", tmp_path)
    assert [index.key(row) for row in range(4)] == [f"new.npy:{row}" for row in range(4)]
    assert index.files is not None
    assert index.files.codec == "uint8:20x20"


def test_a_run_continues_after_kill_9(trained, tmp_path):
    path = tmp_path / "killed.bson"
    shutil.copy(trained / "test.bson", path)
    new = (*options(trained), "--new", str(path))
    earlier = scripts.run_all(*new, stages=("extract", "train"))
    assert earlier.returncode == 0, earlier.stderr
    command = [sys.executable, scripts.SCRIPTS["predict"], *new]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if "predictions/a/test: building" in line:
            break
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stderr.close()
    assert not (target_folder(trained, path) / "submit").exists()
    result = scripts.run_cli(*new[1:])
    assert result.returncode == 0, result.stderr
    assert "extract/test: building" not in result.stderr
    logs = sorted((target_folder(trained, path) / "logs").iterdir())[-3:]
    for log, stage in zip(logs, ("features", "stack", "submit"), strict=True):
        assert log.name.endswith(f"{stage}.log")
        assert "lib/cli.py" in log.read_text().split("command: ")[1].split()[0]  # no script's own
    packed = gzip.decompress((trained / "tiny" / "submit" / "submission.csv.gz").read_bytes())
    submitted = list(csv.reader(packed.decode().splitlines()))[1:]
    assert [[row["product"], row["class_1"]] for row in predictions(trained, path)] == submitted


def test_dry_run_shows_artifacts_of_the_new_products_and_builds_nothing(copied):
    path = copied / "test.bson"
    result = run_all(copied, "--new", str(path), "--dry-run")
    assert result.returncode == 0, result.stderr
    shown = result.stdout.splitlines()
    parts = ("extract/test", "predictions/a/test", "features/mean/test", "scores/a/l3/test")
    for name in (*parts, "submit"):
        assert f"{target_folder(copied, path) / name}: missing" in shown
    assert all(line.startswith(str(target_folder(copied, path))) for line in shown)
    assert not (copied / "tiny" / "new").exists()


def test_an_artifact_that_is_not_trained_is_named_and_left_alone(copied):
    ask = ("--new", str(copied / "test.bson"))
    stale = run("extract", copied, *ask, "--set", "stack.n_estimators=9", "--rebuild")
    assert stale.returncode == 2
    last = stale.stderr.splitlines()[-1]
    assert "stack.n_estimators 8 -> 9); train first with ./run_all.sh" in last
    assert last.endswith("--set stack.n_estimators=9 --rebuild")
    dry = run("stack", copied, *ask, "--set", "stack.n_estimators=9", "--dry-run")
    assert "not built by this command; train first" in dry.stdout

    shutil.rmtree(copied / "tiny" / "cnn" / "a" / "fold1")
    before = file_times(copied)
    missing = run("train", copied, *ask)
    assert missing.returncode == 2
    assert "fold1 is missing; train first with ./run_all.sh" in missing.stderr.splitlines()[-1]
    assert file_times(copied) == before
    assert not (copied / "tiny" / "new").exists()


def test_artifacts_of_new_products_depend_on_no_setting_of_the_test_side(trained):
    """They depend neither on `data.test` nor on the source of the labelled products."""
    target = predict_target(str(trained / "test.bson"))
    config = experiment_in(trained).config

    def built(**data: Any) -> list[tuple[str, list[str]]]:
        changed = replace(config, data=replace(config.data, **data))
        stages = declare_all(Experiment(changed, target)).values()
        artifacts = [a for stage in stages for a in stage if not a.frozen]
        return [(str(a.path), sorted(a.inputs)) for a in artifacts]

    assert built(test="") == built()
    assert built(source="sample") == built()
    sample = replace(config, data=replace(config.data, source="sample"))
    artifacts = declare_all(Experiment(sample, target))["extract"]
    inputs = {a.path.parts[-2:]: a.inputs.get("test") for a in artifacts}
    assert inputs["extract", "test"] == trained / "test.bson"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.bson", "no such file or folder; --new takes a .bson, .csv,"),
        ("", "--new takes a .bson"),
        ("empty.bson", "the file is empty"),
        ("words.txt", "unknown kind of file"),
        ("bare", "the folder is empty"),
        ("words", "no file of the kinds .jpg"),
        ("head.csv", "no products after the header"),
        ("noise.bson", "noise.bson"),
    ],
)
def test_a_wrong_file_is_one_line(copied, tmp_path, name, message):
    (tmp_path / "empty.bson").touch()
    (tmp_path / "words.txt").write_text("words")
    (tmp_path / "bare").mkdir()
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "words.txt").write_text("words")
    (tmp_path / "head.csv").write_text("product,images\n")
    (tmp_path / "noise.bson").write_bytes(b"no products at all" * 9)
    path = str(tmp_path / name) if name else ""
    result = run("extract", copied, "--new", path)
    assert result.returncode == 2, result.stderr
    last = result.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert message in last
    assert "Traceback" not in result.stderr


def test_run_all_resolves_new_in_the_folder_of_the_caller(tmp_path):
    """With an environment and an interpreter that print their arguments."""
    project = tmp_path / "project"
    (project / ".venv" / "bin").mkdir(parents=True)
    (project / "configs").mkdir()
    (project / "configs" / "sample.toml").touch()
    (project / "setup_env.sh").write_text("setup_env() { :; }\n")
    shutil.copy(ROOT / "run_all.sh", project)
    python = project / ".venv" / "bin" / "python"
    python.write_text('#!/bin/sh\nprintf "%s|" "$@"\necho\n')
    python.chmod(0o755)
    caller = tmp_path / "caller"
    caller.mkdir()
    (caller / "photo.jpg").touch()
    for arguments, script_options in (
        (["--new", "a b.bson"], [f"--new={caller}/a b.bson"]),
        (["--new=/abs/x", "--dry-run"], ["--new=/abs/x", "--dry-run"]),
        (
            ["configs/sample.toml", "--set", "a=1", "--new", "../x"],
            ["--set", "a=1", f"--new={caller}/../x"],
        ),
        (["--new"], ["--new="]),
        (["--similar", "photo.jpg"], ["--similar", f"{caller}/photo.jpg"]),
        (["--similar", "MH01", "--quiet"], ["--similar", "MH01", "--quiet"]),
        ([], []),
    ):
        result = subprocess.run(
            [project / "run_all.sh", *arguments], cwd=caller, capture_output=True, text=True
        )
        assert result.returncode == 0, result.stderr
        lines = result.stdout.splitlines()
        assert len(lines) == 1
        expected = ["-m", "lib.cli", "configs/sample.toml", *script_options]
        assert lines[0].split("|")[:-1] == expected
