"""New products asked of a trained catalogue, whose original labelled files are gone."""

import csv
import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import bson
import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from lib import new, pipeline
from lib.config.load import load
from lib.config.schema import Config, Sample
from lib.data.catalog import read_catalog, read_splits
from lib.data.synthetic.catalog import generate
from lib.errors import UserError
from lib.stages import ranking_stage
from tests import scripts
from tests.conftest import ROOT

TINY = """
name = "tiny"
[data]
source = "bson"
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
device = "cpu"
"""


def run_all(folder: Path, *extra: str) -> subprocess.CompletedProcess:
    return scripts.run_all(*settings(folder), *extra)


def run(script: str, folder: Path, *extra: str, cwd: Path = ROOT) -> subprocess.CompletedProcess:
    return scripts.run_script(script, *settings(folder), *extra, cwd=cwd)


def settings(folder: Path) -> list[str]:
    set_to = [f"work={folder}", f"data.root={folder}"]
    return ["--config", str(folder / "tiny.toml"), "--set", set_to[0], "--set", set_to[1]]


def config_of(folder: Path) -> Config:
    return load(folder / "tiny.toml", settings(folder)[3::2])


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A whole run, and then only what it made and `test.bson`; read only but for `new`."""
    folder = tmp_path_factory.mktemp("trained")
    drawn = Sample(train_products=300, test_products=60, num_classes=6, image_size=32)
    generate(folder, drawn, 1)
    (folder / "tiny.toml").write_text(TINY)
    result = run_all(folder)
    assert result.returncode == 0, result.stderr
    (folder / "train.bson").unlink()
    (folder / "category_names.csv").unlink()
    return folder


@pytest.fixture
def copied(trained, tmp_path) -> Path:
    def leave_out(folder: str, names: list[str]) -> list[str]:
        return ["new"] if "new" in names else []

    return Path(shutil.copytree(trained, tmp_path / "copy", ignore=leave_out))


def state(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of every file of the experiment outside `new/`."""
    root = folder / "tiny"
    files = [p for p in root.rglob("*") if p.is_file() and not p.is_relative_to(root / "new")]
    return {str(p): (p.stat().st_size, p.stat().st_mtime_ns) for p in files}


def place(folder: Path, path: Path) -> Path:
    return folder / "tiny" / "new" / new.slug(path)


def rows(folder: Path, path: Path) -> list[dict[str, str]]:
    with (place(folder, path) / "submit" / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def pictures(folder: Path) -> dict[str, np.ndarray]:
    """The first pictures of the test file, by the id of their product."""
    with (folder / "test.bson").open("rb") as file:
        records = list(bson.decode_file_iter(file))
    found = {}
    for record in records[:12]:
        data = np.frombuffer(record["imgs"][0]["picture"], np.uint8)
        found[str(record["_id"])] = cv2.imdecode(data, cv2.IMREAD_COLOR)
    return found


def test_the_test_file_itself_gets_the_answers_of_the_submission(trained, tmp_path):
    path = tmp_path / "other.bson"
    shutil.copy(trained / "test.bson", path)
    before = state(trained)
    result = run_all(trained, "--new", str(path))
    assert result.returncode == 0, result.stderr
    assert state(trained) == before
    packed = gzip.decompress((trained / "tiny" / "submit" / "submission.csv.gz").read_bytes())
    submitted = list(csv.reader(packed.decode().splitlines()))[1:]
    answered = rows(trained, path)
    assert [[row["product"], row["class_1"]] for row in answered] == submitted

    for row in answered:
        probs = [float(row[f"prob_{i}"]) for i in (1, 2, 3) if row[f"prob_{i}"]]
        assert probs == sorted(probs, reverse=True)
        assert 0 < sum(probs) <= 1 + 1e-5
        named = [row[f"class_{i}"] for i in (1, 2, 3)][: len(probs)]
        assert len(set(named)) == len(named)

    table = pq.read_table(place(trained, path) / "submit" / "predictions.parquet")
    assert table.column_names == [*answered[0], "name_1"]
    for row, of_parquet in zip(answered, table.to_pylist(), strict=True):
        assert " > " in of_parquet.pop("name_1")
        for name, value in of_parquet.items():
            if name.startswith("prob_") and value is not None:
                assert np.float32(row[name]) == np.float32(value)
            else:
                shown = "" if value is None else str(value)
                assert row[name] == (shown.lower() if name == "accepted" else shown)

    ladder = (place(trained, path) / "submit" / "ladder.txt").read_text()
    accepted = [row["accepted"] for row in answered].count("true")
    assert accepted > 0
    assert f"accepted {accepted} of 60 (precision at least 0.5 with 95 % confidence" in ladder
    assert "fitted blend on the locked part, 60 products: 0." in result.stderr
    assert "caution" not in ladder

    again = run_all(trained, "--new", str(path))
    assert again.returncode == 0
    assert "building" not in again.stderr
    assert state(trained) == before


def test_the_threshold_is_held_and_comes_from_out_of_fold_rows(trained, tmp_path):
    submit, sure = trained / "tiny" / "submit", trained / "tiny" / "calibration"
    fitted = json.loads((sure / "calibration.json").read_text())
    assert fitted["products"] == 240
    measured = json.loads((submit / "calibration.json").read_text())
    assert measured["locked"]["accuracy"]["n"] == 60
    assert measured["threshold"] == fitted["threshold"]
    assert "locked products (precision at least 0.5" in (submit / "ladder.txt").read_text()
    manifest = json.loads((sure / "_manifest.json").read_text())
    assert not [name for name in manifest["inputs"] if "locked" in name or "test" in name]


def test_a_threshold_is_tested_on_one_product_of_a_group(trained, tmp_path):
    config = config_of(trained)
    fit = read_splits(config.at("extract/splits")).products("fit")
    group = np.arange(300, dtype=np.int32) // 3
    facts = ranking_stage.build_calibration(config, tmp_path, group)
    assert facts["tested_on"] == len(np.unique(fit // 3)) < facts["products"] == len(fit)


def test_a_folder_of_pictures_for_a_catalogue_of_bson(trained, tmp_path):
    drawn = pictures(trained)
    (tmp_path / "fresh" / "in").mkdir(parents=True)
    for number, (key, picture) in enumerate(drawn.items()):
        inside = "in" if number % 2 else "."
        assert cv2.imwrite(str(tmp_path / "fresh" / inside / f"{key}.png"), picture)
    (tmp_path / "fresh" / "rotten.jpg").write_bytes(b"rotten")
    # Relative to the caller's folder, one script after the other.
    first = run("01_extract.py", trained, "--new", "fresh", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    result = run_all(trained, "--new", str(tmp_path / "fresh"))
    assert result.returncode == 0, result.stderr
    assert "1 corrupt images" in result.stderr
    answered = rows(trained, tmp_path / "fresh")
    names = [str(p.relative_to(tmp_path / "fresh")) for p in (tmp_path / "fresh").rglob("*.*g")]
    assert [row["product"] for row in answered] == sorted(names)
    assert "caution: the labelled products have numbers as ids" in result.stderr


def test_a_table_keeps_its_text_ids(trained, tmp_path):
    lines = ["product,images"]
    (tmp_path / "images").mkdir()
    for key, picture in list(pictures(trained).items())[:3]:
        assert cv2.imwrite(str(tmp_path / "images" / f"{key}.png"), picture)
        lines.append(f'"a ""{key}"", b",{key}.png')
    (tmp_path / "new.csv").write_text("\n".join(lines))
    result = run_all(trained, "--new", str(tmp_path / "new.csv"))
    assert result.returncode == 0, result.stderr
    keys = list(pictures(trained))[:3]
    assert [row["product"] for row in rows(trained, tmp_path / "new.csv")] == [
        f'a "{key}", b' for key in keys
    ]


def test_a_product_is_a_row_of_an_array(trained, tmp_path):
    path = tmp_path / "new.npy"
    np.save(path, np.zeros((4, 400), np.uint8))
    result = run("01_extract.py", trained, "--new", str(path))
    assert result.returncode == 0, result.stderr
    index = read_catalog(place(trained, path) / "extract" / "test", tmp_path)
    assert [index.key(row) for row in range(4)] == [f"new.npy:{row}" for row in range(4)]
    assert index.files is not None
    assert index.files.codec == "uint8:20x20"


def test_kill_9_and_another_file_beside_it(trained, tmp_path):
    path = tmp_path / "killed.bson"
    shutil.copy(trained / "test.bson", path)
    command = [sys.executable, "-c", scripts.ALL, *settings(trained), "--new", str(path)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if "predictions/a/test: building" in line:
            break
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stderr.close()
    assert not (place(trained, path) / "submit").exists()
    result = run_all(trained, "--new", str(path))
    assert result.returncode == 0, result.stderr
    assert "extract/test: building" not in result.stderr
    packed = gzip.decompress((trained / "tiny" / "submit" / "submission.csv.gz").read_bytes())
    submitted = list(csv.reader(packed.decode().splitlines()))[1:]
    assert [[row["product"], row["class_1"]] for row in rows(trained, path)] == submitted


def test_dry_run_shows_the_new_side_and_makes_nothing(copied):
    path = copied / "test.bson"
    result = run_all(copied, "--new", str(path), "--dry-run")
    assert result.returncode == 0, result.stderr
    shown = result.stdout.splitlines()
    parts = ("extract/test", "predictions/a/test", "features/mean/test", "scores/a/l3/test")
    for name in (*parts, "submit"):
        assert f"{place(copied, path) / name}: missing" in shown
    assert all(line.startswith(str(place(copied, path))) for line in shown)
    assert not (copied / "tiny" / "new").exists()


def test_what_is_not_trained_is_named_and_left_alone(copied):
    ask = ("--new", str(copied / "test.bson"))
    stale = run("01_extract.py", copied, *ask, "--set", "stack.n_estimators=9", "--rebuild")
    assert stale.returncode == 2
    last = stale.stderr.splitlines()[-1]
    assert "stack.n_estimators 8 -> 9); train first with ./run_all.sh" in last
    assert last.endswith("--set stack.n_estimators=9 --rebuild")
    dry = run("05_stack.py", copied, *ask, "--set", "stack.n_estimators=9", "--dry-run")
    assert "it is not made here, train first" in dry.stdout

    shutil.rmtree(copied / "tiny" / "cnn" / "a" / "fold1")
    before = state(copied)
    missing = run("02_train_cnn.py", copied, *ask)
    assert missing.returncode == 2
    assert "fold1 is missing; train first with ./run_all.sh" in missing.stderr.splitlines()[-1]
    assert state(copied) == before
    assert not (copied / "tiny" / "new").exists()


def test_a_drawn_catalogue_without_a_test_file_answers_too(trained):
    """The new side's chain depends neither on `data.test` nor on where the labels came from."""
    config = new.choose(config_of(trained), str(trained / "test.bson"))
    without = replace(config, data=replace(config.data, test=""))

    def made(config: Config) -> list[tuple[str, list[str]]]:
        chain = [a for stage in pipeline.stages(config).values() for a in stage if not a.settled]
        return [(str(a.path), sorted(a.inputs)) for a in chain]

    assert made(without) == made(config)
    drawn = replace(config, data=replace(config.data, source="sample"))
    assert made(drawn) == made(config)
    chain = pipeline.stages(drawn)["extract"]
    asked = {a.path.name: a.inputs.get("test") for a in chain}
    assert asked["test"] == trained / "test.bson"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("none.bson", "no such file or folder; --new takes a .bson, .csv, .npy or .ndjson"),
        ("", "--new takes a .bson"),
        ("empty.bson", "the file is empty"),
        ("words.txt", "of no known kind"),
        ("bare", "the folder is empty"),
        ("words", "no file of the kinds .jpg"),
        ("head.csv", "no products below its first line"),
        ("noise.bson", "noise.bson"),
    ],
)
def test_a_wrong_file_is_one_line(copied, tmp_path, name, words):
    (tmp_path / "empty.bson").touch()
    (tmp_path / "words.txt").write_text("words")
    (tmp_path / "bare").mkdir()
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "words.txt").write_text("words")
    (tmp_path / "head.csv").write_text("product,images\n")
    (tmp_path / "noise.bson").write_bytes(b"no products at all" * 9)
    path = str(tmp_path / name) if name else ""
    result = run("01_extract.py", copied, "--new", path)
    assert result.returncode == 2, result.stderr
    last = result.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert words in last
    assert "Traceback" not in result.stderr


def test_kinds_and_slugs(tmp_path):
    (tmp_path / "a").mkdir()
    np.save(tmp_path / "a" / "x.npy", np.zeros((1, 4), np.uint8))
    config = Config()
    first = new.choose(config, str(tmp_path / "a"))
    assert first.asked is not None
    assert first.asked.source == "npy"
    (tmp_path / "a" / "x.jpg").write_bytes(b"x")
    (tmp_path / "x.ndjson.gz").write_bytes(b"x")
    packed = new.choose(config, str(tmp_path / "x.ndjson.gz"))
    assert packed.asked is not None
    assert packed.asked.source == "strokes"
    second = new.choose(config, f"{tmp_path}/b/../a/")
    assert second.asked is not None
    assert (second.asked.source, second.asked.slug) == ("folders", first.asked.slug)
    assert new.slug(Path("/a/new.bson")) != new.slug(Path("/b/new.bson"))
    assert new.slug(Path("/a/new 1.bson")).startswith("new-1-bson-")
    assert config.at("features/mean/test") == config.folder / "features" / "mean" / "test"
    assert second.at("features/mean/locked") == config.folder / "features" / "mean" / "locked"
    assert second.at("blend") == config.folder / "blend"
    assert second.at("submit") == config.folder / "new" / second.asked.slug / "submit"


def test_no_setting_of_the_config_names_new_products(tmp_path):
    (tmp_path / "x.toml").write_text('asked = "x"\n')
    with pytest.raises(UserError, match="unknown key asked"):
        load(tmp_path / "x.toml")


def test_run_all_resolves_the_name_where_it_is_called(tmp_path):
    """With stand-ins for the environment and the interpreter, which say what they are given."""
    house = tmp_path / "house"
    (house / ".venv" / "bin").mkdir(parents=True)
    (house / "configs").mkdir()
    (house / "configs" / "sample.toml").touch()
    (house / "setup_env.sh").write_text("setup_env() { :; }\n")
    shutil.copy(ROOT / "run_all.sh", house)
    python = house / ".venv" / "bin" / "python"
    python.write_text('#!/bin/sh\nprintf "%s|" "$@"\necho\n')
    python.chmod(0o755)
    (tmp_path / "caller").mkdir()
    there = tmp_path / "caller"
    for given, wanted in (
        (["--new", "a b.bson"], [f"--new={there}/a b.bson"]),
        (["--new=/abs/x", "--dry-run"], ["--new=/abs/x", "--dry-run"]),
        (["configs/sample.toml", "--set", "a=1", "--new", "../x"], None),
        (["--new"], ["--new="]),
        ([], []),
    ):
        result = subprocess.run(
            [house / "run_all.sh", *given], cwd=there, capture_output=True, text=True
        )
        assert result.returncode == 0, result.stderr
        lines = result.stdout.splitlines()
        assert len(lines) == 6
        said = ["01_extract.py", "--config", "configs/sample.toml"]
        said += wanted if wanted is not None else ["--set", "a=1", f"--new={there}/../x"]
        assert lines[0].split("|")[:-1] == said
