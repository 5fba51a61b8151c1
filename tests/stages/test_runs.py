"""The six scripts on a tiny generated catalog: whole runs, second runs, changes and kills.

They cover these modules of `lib/stages`: extract, train, predict, scoring, features, stack, submit
and ladder_rows.
"""

import csv
import gzip
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from functools import partial
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import bson
import numpy as np
import pyarrow as pa
import pytest

from lib.data.catalog import read_splits, read_table, write_table
from lib.features import query
from lib.features.table import FeatureTable
from lib.labelling.review.log import ABSENT, CLASS, ReviewLog
from lib.output.report.label_issues import LEARNED, REPEATED, read_issues
from lib.pipeline.artifact import ensure, status
from lib.pipeline.experiment import Experiment, load_experiment
from lib.pipeline.manifest import MANIFEST, identity_digest, whole_digest
from lib.stages.blends.layers import layer_answers
from lib.stages.features import build_candidates, build_neighbors, build_source
from lib.stages.order import declare_all
from lib.stages.pages.early_report import write_early_report
from lib.stages.read import all_members, catalog_of_part, read_candidates, read_scores
from lib.stages.review.label_issues import read_task, review_label_issues
from lib.stages.stack import score_part as score_rows
from tests.conftest import ROOT, jpeg, product
from tests.scripts import SCRIPTS, fork_run, fork_stage, run_all, run_cli

TINY = """
name = "tiny"
[data]
source = "sample"
[sample]
train_products = 200
test_products = 50
num_classes = 8
image_size = 32
[split]
locked = 0.2
n_folds = 2
[train]
arch = "small"
weights = "none"
resize = [32, 32]
crop = [28, 28]
head_only_epochs = 0
epochs = 2
n_folds = 2
[models.a]
[models.b]
seed = 1
[predict]
shard_size = 100
embed_models = ["a"]
[features]
id_windows = [5, 50]
[stack]
n_estimators = 8
forest_n_estimators = 8
l4 = ["lambdarank"]
[run]
threads = 1
"""


def run(folder: Path, *stages: str, extra: tuple[str, ...] = ()) -> subprocess.CompletedProcess:
    """Run the scripts of these stages until one fails, or all that have work.

    In forks: `finished` is what fresh interpreters write, and the files here are compared with it.
    """
    config, *more = options(folder, *extra)
    if not stages:
        return fork_run(config, *more)
    return run_all("--config", config, *more, stages=stages)


def run_in_one_process(folder: Path, *extra: str) -> subprocess.CompletedProcess:
    """Run all stages; quicker than `run` where most have work."""
    return run_all("--config", *options(folder, *extra))


def options(folder: Path, *extra: str) -> tuple[str, ...]:
    return str(folder / "tiny.toml"), "--set", f"work={folder}", *extra


def log_files(folder: Path) -> set[Path]:
    """Every script that builds something writes one."""
    return set((folder / "tiny" / "logs").iterdir())


def manifests(folder: Path) -> dict[str, str]:
    root = folder / "tiny"
    return {str(p.parent.relative_to(root)): p.read_text() for p in root.rglob("_manifest.json")}


def experiment_in(folder: Path) -> Experiment:
    return load_experiment(folder / "tiny.toml", [f"work={folder}"])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A whole run, each script in a fresh interpreter as a user's shell starts it; read only."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "tiny.toml").write_text(TINY)
    result = run_cli(*options(folder, "--set", "run.workers=1"))
    assert result.returncode == 0, result.stderr
    return folder


@pytest.fixture
def copied(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "copy")


def test_a_run_writes_a_submission_and_a_ladder(finished):
    submit = finished / "tiny" / "submit"
    lines = gzip.decompress((submit / "submission.csv.gz").read_bytes()).decode().splitlines()
    assert lines[0] == "_id,category_id"
    assert len(lines) == 51
    rows = json.loads((submit / "scores.json").read_text())
    layers = {row["layer"] for row in rows}
    networks = {"cnn", "cnn tta", "cnn mean", "neighbors", "hash rule"}
    assert layers == {*networks, "candidates", "l2", "l3", "l4", "blend", "tree"}
    neighbors = [row["name"] for row in rows if row["layer"] == "neighbors"]
    assert neighbors == ["a", "mean with the networks"]
    assert len([r for r in rows if r["layer"] == "l2"]) == 3 * 5 + 1
    assert len([r for r in rows if r["layer"] == "l3"]) == 3 * 4
    blends = {r["name"] for r in rows if r["layer"] == "blend"}
    assert blends == {"simple", "fitted", "published"}
    locked = len(read_splits(experiment_in(finished).path("extract/splits")).products("locked"))
    assert all(row["part"] == "locked" and row["n"] == locked for row in rows)
    assert 25 <= locked <= 55  # of 200; sets of near twins are whole
    assert all(0 <= r["low"] <= r["accuracy"] <= r["high"] <= 1 for r in rows)


def test_the_neighbors_of_the_ladder_are_the_nearest_images_of_each_class(finished):
    """By definition: ((1 + cos) / 2) ** 35 of the five closest images, mean of the networks."""
    experiment = experiment_in(finished)
    catalog, rows = catalog_of_part(experiment, "locked"), read_candidates(experiment, "locked")
    splits = read_splits(experiment.path("extract/splits"))
    fit, fold = splits.products("fit"), splits.fold_of_product(2)
    scores = []
    for network in range(2):
        folder = experiment.path(f"embeddings/a/fold{network}/train")
        vectors = np.load(folder / "embeddings.npy").astype(np.float64)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        references = catalog.images_of(fit[fold[fit] != network])
        label = catalog.label[catalog.image_product[references]]
        for one, class_id in zip(rows.product, rows.class_id, strict=True):
            images = catalog.images_of(np.array([one]))
            cosine = vectors[images] @ vectors[references[label == class_id]].T
            nearest = np.sort(cosine, axis=1)[:, -5:]
            scores.append((((1 + nearest) / 2) ** 35).sum(1).mean())
    score = np.reshape(scores, (2, -1)).mean(0)
    products = np.unique(rows.product)
    best = [
        rows.class_id[rows.product == one][score[rows.product == one].argmax()] for one in products
    ]
    records = json.loads((finished / "tiny" / "submit" / "scores.json").read_text())
    row = next(r for r in records if (r["layer"], r["name"]) == ("neighbors", "a"))
    right = (np.array(best) == catalog.label[products]).mean()
    assert row["accuracy"] == pytest.approx(right, abs=1e-6)


@pytest.mark.parametrize("size", [1, 7])
def test_partitions_of_any_size_give_the_files_of_the_run(finished, tmp_path, monkeypatch, size):
    """Stages 04 and 05: rows, columns, scores of three layers.

    Cosines may differ in their last bit: BLAS multiplies a few rows in another order than many.
    """
    experiment, part = experiment_in(finished), "test"
    monkeypatch.setattr(query, "PARTITION", size)
    monkeypatch.setattr(query, "PARTITION_ROWS", 60)
    built = {
        "features/candidates/test": partial(build_candidates, experiment, part),
        "features/neighbors/test": partial(build_neighbors, experiment, part),
        "features/mean/test": partial(build_source, experiment, "mean", part),
        "features/multi/test": partial(build_source, experiment, "multi", part),
        "scores/mean/l2/test": partial(score_rows, experiment, "mean", "l2", part),
        "scores/mean/l3/test": partial(score_rows, experiment, "mean", "l3", part),
        "scores/mean/l4/test": partial(score_rows, experiment, "mean", "l4", part),
    }
    for name, build in built.items():
        folder = tmp_path / name
        folder.mkdir(parents=True)
        build(folder)
        expected = {p.name for p in experiment.path(name).iterdir()} - {MANIFEST}
        assert {p.name for p in folder.iterdir()} == expected
        for file in expected:
            ours, whole = folder / file, experiment.path(name) / file
            if file == "columns.npy" and name == "features/neighbors/test":
                is_rank = [column.endswith("_rank") for column in FeatureTable.load(folder).names]
                columns = [np.load(path)[:, ~np.array(is_rank)] for path in (ours, whole)]
                np.testing.assert_allclose(*columns, rtol=1e-4, atol=1e-6)
            else:
                assert ours.read_bytes() == whole.read_bytes(), f"{name}/{file}"


def test_every_class_has_its_figures_out_of_fold(finished):
    submit = finished / "tiny" / "submit"
    with (submit / "classes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    splits = read_splits(experiment_in(finished).path("extract/splits"))
    assert sum(int(row["labelled"]) for row in rows) == len(splits.part)
    assert sum(int(row["products"]) for row in rows) == len(splits.products("fit"))
    correct = sum(int(row["correct"]) for row in rows) / len(splits.products("fit"))
    promise = json.loads((submit / "promise.json").read_text())
    assert promise["out_of_fold"]["value"] == pytest.approx(correct)
    f1 = np.mean([float(row["f1"]) for row in rows if row["f1"]])
    assert f"mean F1 of 8 classes out-of-fold: {f1:.4f}" in (submit / "ladder.txt").read_text()


SECTIONS = """headline ladder reliability training sizes worst confusions mistakes locked-mistakes
labels repeated images tree recall importances catalog costs settings"""


def test_the_report_has_every_section_and_nothing_is_missing(finished):
    page = (finished / "tiny" / "submit" / "report.html").read_text()
    assert re.findall(r'<section id="([^"]*)"', page) == SECTIONS.split()
    assert 'class="missing"' not in page
    assert not re.search("https?:", page)
    assert "data:image/jpeg;base64," in page
    assert len(page) < 15 << 20
    with (finished / "tiny" / "submit" / "label_issues.csv").open(newline="") as file:
        issues = list(csv.DictReader(file))
    card = (finished / "tiny" / "submit" / "card.md").read_text()
    weights = finished / "tiny" / "cnn" / "a" / "fold1" / "last.pt"
    assert whole_digest(weights) in card
    assert {row["part"] for row in issues if row["prob_label"]} <= {"fit"}
    assert all(row["label"] != row["suggested"] for row in issues)


def test_a_fresh_run_brings_back_the_report(copied):
    report = copied / "tiny" / "submit" / "report.html"
    before = report.read_bytes()
    report.unlink()
    result = run(copied)
    assert result.returncode == 0
    assert "submit: 0 built" in result.stderr
    end = b'<section id="costs"'  # the next one names the folder
    assert report.read_bytes().split(end)[0] == before.split(end)[0]


def test_the_ladder_agrees_with_scores_and_labels(finished):
    experiment = experiment_in(finished)
    rows = json.loads((experiment.path("submit") / "scores.json").read_text())
    accuracy = {(row["layer"], row["name"]): row["accuracy"] for row in rows}
    candidates = read_candidates(experiment, "locked")
    products = np.unique(candidates.product)
    hits = candidates.product[candidates.target == 1]
    assert accuracy["candidates", "recall"] == pytest.approx(len(hits) / len(products), abs=1e-6)
    for member in all_members(experiment):
        scores = read_scores(experiment, member, "locked")
        best = [
            rows_of_product[np.argmax(scores[rows_of_product])]
            for rows_of_product in np.split(
                np.arange(len(scores)), np.searchsorted(candidates.product, products[1:])
            )
        ]
        expected = (candidates.target[best] == 1).mean()
        is_network = member.layer == "l1"
        name = member.source if is_network else f"{member.source} {member.booster}"
        assert accuracy["cnn tta" if is_network else member.layer, name] == pytest.approx(
            expected, abs=1e-6
        )
    answers, truth = (
        layer_answers(experiment, "locked"),
        catalog_of_part(experiment, "locked").label,
    )
    assert list(answers) == ["networks", "layer 2", "layer 3", "layer 4"]
    networks = (answers["networks"] == truth[products]).mean()
    assert accuracy["cnn mean", "weighted geometric mean"] == pytest.approx(networks, abs=1e-6)


def test_the_report_after_any_stage_has_what_there_is(copied):
    """Networks that still train show their epochs; the rest is named with its script."""
    experiment, page = experiment_in(copied), copied / "tiny" / "early_report.html"
    for name in ("submit", "stack", "cnn/b"):
        shutil.rmtree(experiment.path(name))
    network = experiment.path("cnn/a/fold1")
    network.rename(network.with_name("fold1.partial"))
    (network.with_name("fold1.partial") / MANIFEST).unlink()
    assert write_early_report(experiment) == [f"report of what is finished: {page}"]
    text = page.read_text()
    sections = re.findall(r'<section id="([^"]*)"', text)
    assert sections == ["training", "catalog", "missing", "costs", "settings"]
    assert "a: 2 networks, 2 epochs" in text
    rows = re.findall(r"<td>([^<]*)</td>\s*<td>(0\d_\w+\.py)</td>", text)
    assert ("Importances", "05_stack.py") in rows
    assert ("Candidate recall", "04_features.py") in rows  # fresh by itself, but not its networks
    assert ("Accuracy and the ladder", "06_submit.py") in rows

    shutil.rmtree(experiment.folder)
    assert write_early_report(experiment) == [f"report of what is finished: {page}"]
    sections = re.findall(r'<section id="([^"]*)"', page.read_text())
    assert sections == ["missing", "costs", "settings"]


def test_after_the_last_stage_it_is_the_report_itself(copied):
    submit = copied / "tiny" / "submit"
    before = (submit / "report.html").read_bytes()
    (submit / "report.html").unlink()
    result = run(copied, "submit", extra=("--set", "run.report=false", "--report"))
    assert result.stdout == f"report: {submit / 'report.html'}\n", result.stderr
    assert len((submit / "report.html").read_bytes()) == pytest.approx(len(before), rel=0.01)


def test_people_correct_labels_that_are_likely_wrong(copied):
    """The page shows the label and the suggestion; corrections are a table, taken by a setting."""
    experiment = experiment_in(copied)
    catalog, given = catalog_of_part(experiment, "train"), file_contents([copied])
    task = read_task(experiment, experiment.path("report") / "label_issues.csv")
    issues = read_issues(experiment.path("report") / "label_issues.csv")
    assert task.keys == list(dict.fromkeys(row["product"] for row in issues))
    assert len(task) > 5
    assert (task.choices[:, 0] == task.label).all()
    assert (task.label == catalog.label[task.products]).all()
    suggested = [task.class_keys.index(row["suggested"]) for row in issues if row["suggested"]]
    assert task.choices[0, 1] == suggested[0]
    assert {reason.partition(" (")[0] for reason in task.reasons} <= {LEARNED, REPEATED}

    wrong, right, absent = task.keys[:3]
    new = task.class_keys[suggested[0]]
    with ReviewLog(experiment.folder / "corrections" / "answers.sqlite") as log:
        log.bind({})
        log.append(1, wrong, CLASS, new)
        log.append(1, right, CLASS, task.class_keys[task.label[1]])
        log.append(1, absent, ABSENT)
    lines = review_label_issues(experiment, True, 1, 0)
    assert lines[0].startswith("1 labels are corrected, 1 are right as they are: ")
    path = experiment.folder / "corrections" / "corrections.csv"
    rows = list(csv.DictReader(path.open(newline="")))
    assert [(row["product"], row["class"]) for row in rows] == [(wrong, new)]
    assert rows[0]["given"] == task.class_keys[task.label[0]]
    assert file_contents([copied]).items() >= given.items()

    changed = load_experiment(copied / "tiny.toml", [f"work={copied}", f"data.corrections={path}"])
    index = next(a for a in declare_all(changed)["extract"] if a.path.name == "train")
    assert "corrections added" in str(status(index))
    ensure(index, rebuild=True)
    assert catalog_of_part(changed, "train").label[task.products[0]] == suggested[0]


def test_a_second_run_starts_no_script(finished):
    before, logs = manifests(finished), log_files(finished)
    result = run(finished)
    assert result.returncode == 0
    assert "submission: " in result.stderr
    assert manifests(finished) == before
    assert log_files(finished) == logs


def test_only_a_stage_with_work_is_started_with_the_options_of_the_run(copied):
    expected = (copied / "tiny" / "submit" / "submission.csv.gz").read_bytes()
    shutil.rmtree(copied / "tiny" / "submit")
    logs = log_files(copied)
    result = run_cli(*options(copied, "--set", "run.threads=2", "--verbose"))
    assert result.returncode == 0, result.stderr
    (log,) = log_files(copied) - logs
    assert log.name.endswith("-submit.log")
    assert f"--set=work={copied} --set=run.threads=2 --verbose" in log.read_text()
    assert (copied / "tiny" / "submit" / "submission.csv.gz").read_bytes() == expected


def test_a_fresh_stage_builds_nothing_and_loads_no_torch(finished):
    before = manifests(finished)
    result = run(finished, *SCRIPTS)
    assert result.returncode == 0
    assert "building" not in result.stderr
    assert manifests(finished) == before
    probe = (
        "import sys; from lib.cli import run_stage; from lib.stages import stack;"
        f"run_stage(stack, ['--config', '{finished}/tiny.toml',"
        f"'--set', 'work={finished}']);"
        "sys.exit('torch' in sys.modules or 'lightgbm' in sys.modules)"
    )
    assert (
        subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True).returncode == 0
    )


def test_one_changed_setting_rebuilds_what_depends_on_it_and_the_runs_compare(finished, copied):
    changed = ("--set", "stack.n_estimators=9")
    dry = run(copied, "stack", extra=(*changed, "--dry-run"))
    assert dry.returncode == 0
    assert "stack.n_estimators 8 -> 9" in dry.stdout
    refused = run(copied, extra=changed)
    assert refused.returncode == 2
    assert "stack.n_estimators 8 -> 9" in refused.stderr.splitlines()[-1]
    before = manifests(copied)
    done = run(copied, extra=(*changed, "--rebuild"))
    assert done.returncode == 0, done.stderr
    after = manifests(copied)
    assert before.keys() == after.keys()
    rebuilt = {name.split("/")[0] for name in before if before[name] != after[name]}
    assert rebuilt == {"stack", "scores", "blend", "calibration", "submit", "report"}
    kept = [name for name in before if name.startswith("stack/") and before[name] == after[name]]
    assert kept == []
    compare_runs(finished / "tiny", copied / "tiny")


def compare_runs(first: Path, second: Path) -> None:
    """`studies.compare` agrees with the ladders of both runs, and names what differs."""
    runs, page, changed = [first, second], second / "compare.html", second / "changed.csv"
    files = ["--page", str(page), "--csv", str(changed)]
    command = [sys.executable, "-m", "studies.compare", *map(str, runs), *files]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "| stack.n_estimators | 8 | 9 |" in result.stdout
    row = next(line for line in result.stdout.splitlines() if line.startswith("| locked part"))
    with changed.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["part"] == "locked part"]
    for folder, cell in zip(runs, row.split("|")[3:5], strict=True):
        scores = json.loads((folder / "submit" / "scores.json").read_text())
        (final,) = (r for r in scores if (r["layer"], r["name"]) == ("blend", "fitted"))
        assert cell.split()[0] == f"{final['accuracy']:.4f}"
    kinds = [sum(r["change"] == kind for r in rows) for kind in ("fixed", "broken")]
    assert row.split("|")[6:8] == [f" {count} " for count in kinds]
    assert {r["first_class"] == r["label"] for r in rows if r["change"] == "fixed"} <= {False}
    assert all(r["first_class"] != r["second_class"] for r in rows)
    assert "data:image/jpeg;base64," in page.read_text() or not rows


def test_settings_of_the_run_invalidate_nothing(copied):
    result = run(copied, extra=("--set", "run.threads=2", "--set", "run.predict_batch_size=8"))
    assert result.returncode == 0
    assert "building" not in result.stderr


def test_networks_trained_in_parallel_are_the_same(copied):
    nets = sorted((copied / "tiny" / "cnn").rglob("*.pt"))
    before = [path.read_bytes() for path in nets]
    assert len(before) == 4  # two models of two folds
    seconds = [path.read_text() for path in sorted(copied.rglob("_times.jsonl"))]
    shutil.rmtree(copied / "tiny" / "cnn")
    result = run(copied, "train", extra=("--set", "run.workers=2"))
    assert result.returncode == 0, result.stderr
    assert [path.read_bytes() for path in nets] == before
    # Times are no part of an artifact, so that nothing downstream is stale.
    assert [path.read_text() for path in sorted(copied.rglob("_times.jsonl"))] != seconds
    later = run(copied, "predict", extra=("--dry-run",))
    assert later.stdout.count(": fresh") == 6 + 4
    assert "stale" not in later.stdout


def test_a_stage_refuses_to_run_before_its_inputs(copied):
    shutil.rmtree(copied / "tiny" / "predictions" / "b")
    result = run(copied, "stack")
    assert result.returncode == 2
    assert "run 03_predict_tta.py first" in result.stderr


def test_no_product_crosses_parts_or_folds(finished):
    experiment = experiment_in(finished)
    splits = read_splits(experiment.path("extract/splits"))
    earlier: set[int] = set()
    for part in ("fit", "locked"):
        products = read_candidates(experiment, part).product
        assert set(products) == set(splits.products(part))
        assert not earlier & set(products.tolist())
        earlier |= set(products.tolist())
    rows = read_candidates(experiment, "fit")
    assert (rows.fold == splits.fold[rows.product]).all()


def mend_digests(root: Path) -> None:
    """Give manifests that a test has edited, and those that name them as inputs, their digests."""
    renamed = {"": ""}
    while renamed:
        renamed = {}
        for path in root.rglob(MANIFEST):
            manifest = json.loads(path.read_text())
            digest = identity_digest(manifest)
            if digest != manifest["digest"]:
                renamed[manifest["digest"]] = digest
                path.write_text(json.dumps(manifest | {"digest": digest}))
        for path in root.rglob(MANIFEST) if renamed else ():
            text = path.read_text()
            for old, new in renamed.items():
                text = text.replace(old, new)
            path.write_text(text)


def test_labels_of_the_locked_part_reach_no_fit(copied):
    """With other labels on the locked part, all networks, boosters and weights stay the same."""

    def trained() -> dict[str, bytes]:
        root = copied / "tiny"
        return {
            str(p.relative_to(root)): p.read_bytes()
            for kind in ("cnn/**/*.pt", "stack/**/*", "features/*/fit/*.npy", "blend/*.json")
            for p in root.glob(kind)
            if p.is_file() and not p.name.startswith("_")  # a manifest, seconds of a fold
        }

    before = trained()
    locked = read_splits(copied / "tiny" / "extract" / "splits").products("locked")
    path = copied / "tiny" / "extract" / "train" / "products.arrow"
    table = read_table(path)
    label = table["class_id"].to_numpy().copy()
    label[locked] = np.random.default_rng(0).permutation(8)[label[locked]]
    columns = {name: table[name].combine_chunks() for name in table.column_names}
    write_table(path, columns | {"class_id": pa.array(label)})
    recorded = json.loads((path.parent / MANIFEST).read_text())
    recorded["files"][path.name] = {
        "bytes": path.stat().st_size,
        "sha256": whole_digest(path),
    }
    (path.parent / MANIFEST).write_text(json.dumps(recorded))
    mend_digests(copied / "tiny")
    stages = "cnn predictions features stack scores blend submit report"
    for stage in stages.split():
        shutil.rmtree(copied / "tiny" / stage)
    result = run_in_one_process(copied)
    assert result.returncode == 0, result.stderr
    after = trained()
    assert before.keys() == after.keys()
    assert [name for name in before if before[name] != after[name]] == []


def kill_when_it_builds(folder: Path, stage: str, *arguments: str) -> None:
    """Kill a script in its work; outputs go to the folder.

    A script of worker processes is a fresh interpreter, as they must die with their parent, and
    forks have another one.
    """
    outputs = [folder / name for name in ("stdout", "stderr")]
    process: subprocess.Popen | ForkServerProcess
    if stage in ("train", "predict"):
        command = [sys.executable, SCRIPTS[stage], "--config", *arguments]
        with outputs[1].open("w") as errors:
            process = subprocess.Popen(command, cwd=ROOT, stderr=errors)
        longest = 2.5  # its imports are part of its work
    else:
        process, longest = fork_stage(outputs, stage, "--config", *arguments), 0.5
    for _ in range(6000):
        if "building" in outputs[1].read_text():
            break
        time.sleep(0.02)
    time.sleep(random.Random(stage).uniform(0.2, longest))
    process.kill()
    process.wait() if isinstance(process, subprocess.Popen) else process.join()


@pytest.mark.parametrize("stage", SCRIPTS)
def test_kill_9_then_a_second_call_gives_the_same_files(finished, tmp_path, stage):
    folder = shutil.copytree(finished, tmp_path / "copy")
    built = [artifact.path for artifact in declare_all(experiment_in(folder))[stage]]
    expected = file_contents(built)
    for path in built:
        shutil.rmtree(path)
    kill_when_it_builds(tmp_path, stage, *options(folder, "--set", "run.workers=2"))
    result = run(folder, stage)
    assert result.returncode == 0, result.stderr
    assert file_contents(built) == expected
    later = run(folder)
    assert later.returncode == 0
    assert "building" not in later.stderr


def file_contents(folders: list[Path]) -> dict[Path, bytes]:
    """All files of these artifacts, except those that say where it ran or how long it took."""
    paths = (path for folder in folders for path in folder.rglob("[!_]*") if path.is_file())
    paths = (path for path in paths if path.name != "report.html")
    return {path: path.read_bytes() for path in paths}


def test_strict_stops_at_a_record_that_cannot_be_used(tmp_path, write_bson, write_categories):
    write_categories([10, 20])
    write_bson([product(i, [jpeg(i)], 10 + 10 * (i % 2)) for i in [*range(40), 7]])
    write_bson([product(50, [jpeg(50)])], "test.bson")
    (tmp_path / "tiny.toml").write_text(TINY)
    overrides = ("data.source=bson", f"data.root={tmp_path}", "data.max_bad_fraction=0.1")
    extra = tuple(word for override in overrides for word in ("--set", override))
    result = run(tmp_path, "extract", extra=extra)
    assert result.returncode == 0, result.stderr
    assert "warning:" in result.stderr
    assert "1 x duplicate _id, the first at byte" in result.stderr
    for stages in (("extract",), ()):  # the script, and the whole run that does not start it
        strict = run(tmp_path, *stages, extra=(*extra, "--strict"))
        assert strict.returncode == 2
        assert "--strict: 1 x duplicate _id; the first at byte" in strict.stderr.splitlines()[-1]


def test_a_user_error_is_one_line_and_exit_status_2(copied, tmp_path):
    for extra, message in (
        (("--set", "train.epoch=3"), "did you mean train.epochs?"),
        (("--set", "data.source=bson", "--set", f"data.root={tmp_path}"), "no such file"),
        (("--set", 'train.arch="resnet8"'), "resnet8"),
    ):
        result = run(copied, extra=(*extra, "--rebuild"))
        assert result.returncode == 2, result.stderr
        last = result.stderr.splitlines()[-1]
        assert last.startswith("error: ")
        assert message in last
        assert "Traceback" not in result.stderr


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 300 KB that can grow."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_one_line_and_the_next_call_resumes(small_disk):
    (small_disk / "tiny.toml").write_text(TINY)
    result = run(small_disk, "extract")
    assert result.returncode == 2
    assert "no space left on the disk" in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr
    subprocess.run(["mount", "-o", "remount,size=50m", str(small_disk)], check=True)
    result = run(small_disk, "extract")
    assert result.returncode == 0, result.stderr


def test_corrupt_images_are_counted_and_the_run_continues(copied):
    """A catalog with a corrupt image, a product without images and an unknown category."""
    root = copied / "data"
    shutil.copytree(copied / "tiny" / "extract" / "sample", root)
    for name in ("train.bson", "test.bson"):
        with (root / name).open("rb") as file:
            records = list(bson.decode_file_iter(file))
        records[0]["imgs"] = [{"picture": b"rotten"}]
        records[1]["imgs"] = []
        if name == "train.bson":
            records[2]["category_id"] = 7
        (root / name).write_bytes(b"".join(bson.encode(record) for record in records))
    extra = ("--set", "name=odd", "--set", "data.source=bson", "--set", f"data.root={root}")
    extra += ("--set", "stack.sources=['mean']")  # every kind of booster once
    result = run_in_one_process(copied, *extra)
    assert result.returncode == 0, result.stderr
    packed = (copied / "odd" / "submit" / "submission.csv.gz").read_bytes()
    assert len(gzip.decompress(packed).splitlines()) == 51
    report = json.loads((copied / "odd" / "extract" / "train" / "scan_report.json").read_text())
    assert report["counts"] == {"product without images": 1, "unknown category_id": 1}
    assert "1 x unknown category_id" in result.stderr
    manifest = json.loads(
        (copied / "odd" / "predictions" / "a" / "test" / "_manifest.json").read_text()
    )
    odd = load_experiment(copied / "tiny.toml", [f"work={copied}", *extra[1::2]])
    catalog = catalog_of_part(odd, "test")
    assert catalog.image_count[:2].tolist() == [0, 0]  # the rotten image, and no image
    assert manifest["facts"]["images"] == len(catalog.length)
    listed = copied / "odd" / "extract" / "embeddings" / "test" / "undecodable.csv"
    assert len(listed.read_text().splitlines()) == 2  # the header, and the rotten image
