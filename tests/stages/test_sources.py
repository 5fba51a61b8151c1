"""Whole runs of catalogs that are not BSON, from the table or folder to the submission.

They cover `lib/data/sources/source_files.py` and, for such sources, `lib/stages/extract.py`.
"""

import csv
import gzip
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from lib.pipeline.artifact import status
from lib.pipeline.experiment import load_experiment
from lib.pipeline.reading import read_table
from lib.serving.predictor import LoadedPredictor
from lib.stages.order import declare_all
from tests import scripts

TINY = """
name = "tiny"
[split]
locked = 0.2
n_folds = 2
[models.a]
arch = "small"
weights = "none"
resize = [24, 24]
crop = [20, 20]
head_only_epochs = 0
epochs = 1
n_folds = 2
[features]
id_windows = [5]
[stack]
l2 = ["lightgbm"]
l3 = ["lgbm_deep"]
sources = ["mean", "per_model"]
n_estimators = 5
min_data_in_leaf = 2
[run]
threads = 1
report = false
"""


def run_all(config: Path, *extra: str) -> subprocess.CompletedProcess:
    return scripts.run_all("--config", str(config), *extra)


def write_config(folder: Path, **data: str) -> Path:
    path = folder / "tiny.toml"
    lines = [f'{key} = "{value}"' for key, value in {"root": str(folder), **data}.items()]
    path.write_text(f'work = "{folder}/work"\n{TINY}[data]\n' + "\n".join(lines))
    return path


def write_image(path: Path, shade: int, seed: int) -> str:
    """Write an image of nearly one shade; returns its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 40, (24, 24, 3), np.uint8)
    assert cv2.imwrite(str(path), noise + np.uint8(shade))
    return path.name


def write_label(folder: Path, class_id: int) -> str:
    """Write a picture of nothing but the name of a class; returns its name."""
    picture = np.full((64, 200, 3), 235, np.uint8)
    word = CLASSES[class_id].rpartition("/")[2]
    cv2.putText(picture, word, (6, 42), cv2.FONT_HERSHEY_SIMPLEX, 0.9, (40, 20, 20), 2)
    name = f"label {class_id}.png"
    assert cv2.imwrite(str(folder / name), picture)
    return name


def write_table(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def submission(folder: Path) -> list[list[str]]:
    """The rows of the submission, its header first."""
    packed = folder / "work" / "tiny" / "submit" / "submission.csv.gz"
    with gzip.open(packed, "rt", newline="") as file:
        return list(csv.reader(file))


def attribute_columns(features: Path) -> dict[int, np.ndarray]:
    """By class, the values of the columns of attributes of the products to classify."""
    class_id = np.load(features / "candidates" / "test" / "class_id.npy")
    columns = np.load(features / "attributes" / "test" / "columns.npy")
    return dict(zip(class_id.tolist(), columns, strict=True))


def words_read(folder: Path) -> list[str | None]:
    """The words of each image to classify, as stage 01 read them."""
    return read_table(folder / "extract/ocr/test/words.arrow", "text")["text"].to_pylist()


CLASSES = ["Bags, small", "Men/Tops", "Men/Tops/Tees/Red"]


def test_a_csv_table_gives_a_submission(tmp_path):
    rows = []
    for number in range(90):
        style, of_class = number // 3, number // 3 % 3
        names = [
            write_image(tmp_path / "photos" / f"{number}-{i}.png", 60 * of_class, number)
            for i in (0, 1)
        ]
        names += [write_label(tmp_path / "photos", of_class)] if number % 3 else []
        title = f"Nice {CLASSES[of_class]} {number}" if number % 5 else ""
        sku = f"sku {number:03d}"
        brand, price = ("Acme", "Other", "")[number % 3], f"{1 + of_class}.{number:03d},00 €"
        rows.append(
            [sku, f"style {style}", CLASSES[of_class], "|".join(names), title, brand, price]
        )
    rows[7][3] = "nowhere.png"
    header = ["sku", "style", "kind", "files", "title", "brand", "price [€]"]
    write_table(tmp_path / "train.csv", header, rows)
    test_ids = [f"new, {i}" for i in range(9)]
    new = [
        write_image(tmp_path / "photos" / f"new{i}.png", 60 * (i % 3), 500 + i) for i in range(9)
    ]
    new = [f"{name}|label {i % 3}.png" for i, name in enumerate(new)]
    titles = [f"Nice {CLASSES[i % 3]}" for i in range(9)]
    write_table(
        tmp_path / "new.csv",
        ["sku", "files", "title", "brand", "price [€]"],
        [[*row, "ACME ", "1.500"] for row in zip(test_ids, new, titles, strict=True)],
    )
    config = write_config(
        tmp_path,
        source="csv",
        train="train.csv",
        test="new.csv",
        images_root="photos",
        id_column="sku",
        label_column="kind",
        images_column="files",
        group_by="style",
    )
    with config.open("a") as file:
        file.write('\ntext_columns = ["title"]\ncategorical_columns = ["brand"]\n')
        file.write('numeric_columns = ["price [€]"]\n')
        file.write('[models.words]\ninput = "text"\nn_folds = 2\ntext.columns = ["title", "ocr"]\n')
        file.write("[ocr]\nmin_side = 32\n")
    result = run_all(config)
    assert result.returncode == 0, result.stderr
    assert "1 x image file missing or empty, the first at line 9 (nowhere.png)" in result.stderr
    assert "price [€] alone tells" in result.stderr
    columns, *predicted = submission(tmp_path)
    assert columns == ["sku", "kind"]
    assert [row[0] for row in predicted] == test_ids
    assert {row[1] for row in predicted} <= set(CLASSES)

    again = run_all(config)
    assert again.returncode == 0
    assert "building" not in again.stderr

    write_table(
        tmp_path / "more.csv",
        ["sku", "files", "brand", "price [€]"],
        [["a", new[0], "acme", "1.500"], ["b", new[1], "ACME", "1.500,00"]],
    )
    untitled = run_all(config, "--new", str(tmp_path / "more.csv"))
    assert untitled.returncode == 0, untitled.stderr
    assert "title: in no table; these values are missing" in untitled.stderr
    tables = [
        attribute_columns(folder / "features")
        for folder in (tmp_path / "work/tiny", *(tmp_path / "work/tiny/new").iterdir())
    ]
    both = tables[0].keys() & tables[1].keys()
    assert len(both) > 1
    for class_id in both:  # as in a batch, to the last bit
        np.testing.assert_array_equal(tables[0][class_id], tables[1][class_id])

    whole, untitled_run = tmp_path / "work/tiny", next((tmp_path / "work/tiny/new").iterdir())
    assert words_read(whole)[1::2] == ["Bags, small", "Tops", "Red"] * 3
    assert words_read(untitled_run)[1::2] == ["Bags, small", "Tops"]
    label = (tmp_path / "photos" / "label 1.png").read_bytes()
    with LoadedPredictor(load_experiment(config)) as predictor:
        predictor.predict({"label.png": label})
        served = predictor.experiment.path("predictions/words/test")
        for name in ("class", "prob", "rest"):  # as of the last image of --new, to the last bit
            alone, batch = (
                np.load(folder / f"tta_{name}.npy")
                for folder in (served, untitled_run / "predictions/words/test")
            )
            np.testing.assert_array_equal(alone[-1], batch[-1])

    rows[0][1] = "another style"  # a change of the table reaches everything downstream
    write_table(tmp_path / "train.csv", header, rows)
    refused = run_all(config)
    assert refused.returncode == 2
    assert "input train has changed" in refused.stderr.splitlines()[-1]


def test_arrays_without_test_products_give_scores_alone(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "train").mkdir()
    for shade, name in enumerate(["cat", "dog", "ox"]):
        drawings = rng.integers(0, 60, (30, 400), np.uint8) + np.uint8(80 * shade)
        np.save(tmp_path / "train" / f"{name}.npy", drawings)
    config = write_config(tmp_path, source="npy", train="train", test="", group_by="")
    result = run_all(config)
    assert result.returncode == 0, result.stderr
    assert "no submission: data.test names no products" in result.stderr
    folder = tmp_path / "work" / "tiny"
    submitted = sorted(p.name for p in (folder / "submit").glob("[!_]*"))
    reports = ["calibration.json", "classes.csv", "ladder.txt", "promise.json", "scores.json"]
    assert submitted == reports
    assert not list(folder.rglob("test"))
    assert "<- final" in (folder / "submit" / "ladder.txt").read_text()
    scores = json.loads((folder / "submit" / "scores.json").read_text())
    assert {row["n"] for row in scores} == {18}

    np.save(tmp_path / "new.npy", rng.integers(0, 60, (4, 20, 20), np.uint8))
    with_test = run_all(config, "--set", "data.test=new.npy", "--rebuild")
    assert with_test.returncode == 0, with_test.stderr
    rebuilt = [line.split(":")[0] for line in with_test.stderr.splitlines() if ": building" in line]
    assert all(name.endswith(("/test", "/submit", "/report")) for name in rebuilt), rebuilt
    header, *predicted = submission(tmp_path)
    assert header == ["path", "category"]
    assert [row[0] for row in predicted] == [f"new.npy:{row}" for row in range(4)]
    assert {row[1] for row in predicted} <= {"cat", "dog", "ox"}


def test_compressed_drawings_give_a_submission(tmp_path):
    rng = np.random.default_rng(0)
    for folder, names, count in (("train", ["flat", "steep", "left out"], 40), ("new", ["x"], 5)):
        (tmp_path / folder).mkdir()
        for name in names:
            with gzip.open(tmp_path / folder / f"{name}.ndjson.gz", "wt") as file:
                for number in range(count):
                    wave = [rng.integers(0, 40, 6).tolist(), [0, 50, 99, 150, 200, 255]]
                    stroke = wave if name == "steep" else wave[::-1]
                    key = 1000 * len(name) + number
                    file.write(json.dumps({"key_id": str(key), "drawing": [stroke]}) + "\n")
    config = write_config(tmp_path, source="strokes", train="train", test="new")
    chosen = ["--set", 'data.classes=["flat", "steep"]', "--set", "data.max_per_class=30"]
    result = run_all(config, *chosen)
    assert result.returncode == 0, result.stderr
    header, *predicted = submission(tmp_path)
    assert header == ["key_id", "category"]
    assert sorted(row[0] for row in predicted) == [str(1000 + number) for number in range(5)]
    assert {row[1] for row in predicted} == {"flat"}
    unpacked = tmp_path / "work" / "tiny" / "extract" / "unpacked"
    assert sorted(p.name for p in (unpacked / "train").glob("*.ndjson")) == [
        "flat.ndjson",
        "steep.ndjson",
    ]
    again = run_all(config, *chosen, "--new", str(tmp_path / "train" / "steep.ndjson.gz"))
    assert again.returncode == 0, again.stderr
    (written,) = (tmp_path / "work" / "tiny" / "new").glob("*/submit/predictions.csv")
    with written.open(newline="") as file:
        assert {row["class_1"] for row in csv.DictReader(file)} == {"steep"}


def test_a_new_image_makes_the_index_of_its_folder_stale(tmp_path):
    for number in range(30):
        write_image(tmp_path / "train" / f"class {number % 3}" / f"{number}.png", 60, number)
        write_image(tmp_path / "new" / f"{number}.png", 60, 100 + number)
    config = write_config(tmp_path, source="folders", train="train", test="new")
    first = scripts.run_all("--config", str(config), "--strict", stages=["extract"])
    assert first.returncode == 0, first.stderr
    write_image(tmp_path / "train" / "class 0" / "more.png", 60, 1)
    states = {
        artifact.path.parts[-2:]: status(artifact)
        for artifact in declare_all(load_experiment(config))["extract"]
    }
    assert states["extract", "test"].state == "fresh"
    for name in ("train", "categories"):
        assert states["extract", name].reasons == ("input train has changed",)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"source": "csv", "train": "none.csv", "test": ""}, "none.csv: no such file"),
        (
            {"source": "csv", "train": "photos", "test": ""},
            "with data.source = csv it must be a file",
        ),
        ({"source": "folders", "train": "photos", "test": ""}, "no file of the kinds .jpg"),
        ({"source": "npy", "train": "photos", "test": ""}, "no file of the kinds .npy"),
        ({"source": "folders", "train": "tiny.toml", "test": ""}, "not a folder"),
    ],
)
def test_a_wrong_path_is_one_line(tmp_path, data, message):
    (tmp_path / "photos").mkdir()
    config = write_config(tmp_path, **data)
    result = scripts.run_all("--config", str(config), stages=["extract"])
    assert result.returncode == 2
    assert message in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr
