"""The study of the ladder: its two tables, on stored scores and on a small trained experiment."""

import shutil
import sys

import pytest

from lib.config.load import load
from lib.errors import UserError
from lib.pipeline.experiment import Experiment
from lib.stacking import blend_weights
from lib.stages.blends.scores import best_member, scores_of_blend
from lib.stages.order import STAGES, build_stage
from lib.stages.read import read_candidates, read_scores
from lib.utils.groups import group_argmax
from studies import ladder, models
from tests.stages.stored_scores import NUM_PRODUCTS, write_scores

SAMPLE = "configs/sample.toml"
SMALL = (
    "sample.train_products=150",
    "sample.test_products=20",
    "sample.num_classes=6",
    "models.small.epochs=1",
    'models.lite0.arch="small"',
    'models.lite0.weights="none"',
    "models.lite0.freeze_until=0",
    "models.lite0.head_only_epochs=0",
    "models.lite0.epochs=1",
    'predict.embed_models=["small"]',
    "stack.n_estimators=4",
    'stack.l2=["xgboost", "lightgbm"]',
    'stack.l3=["xgboost", "lgbm_extra"]',
    'stack.sources=["mean"]',
    "run.workers=1",
    "run.threads=1",
)


def correct_predictions(experiment, scores):
    """bool [products] of the part that trains the boosters."""
    rows = read_candidates(experiment, "fit")
    return rows.target[group_argmax(scores, rows.product)] == 1


@pytest.fixture
def stored(tmp_path):
    """Random out-of-fold scores of all members of the sample config, and no others."""
    experiment = write_scores(load(SAMPLE, [f"work={tmp_path}"]))
    for folder in ("scores", "features/candidates/locked", "features/candidates/test"):
        shutil.rmtree(experiment.path(folder))
    return experiment


def test_the_first_step_is_the_best_member_of_the_second_layer(stored):
    row = ladder.steps(stored)[0]
    best = best_member(stored, "l2")
    assert row.name == f"best of layer 2: {best.source} {best.booster}"
    correct = correct_predictions(stored, read_scores(stored, best, "fit"))
    assert row.score.value == correct.mean()
    assert row.gain is None


def test_every_step_is_measured_on_all_products(stored):
    assert all(row.score.n == NUM_PRODUCTS for row in ladder.steps(stored))


def test_there_is_a_step_for_each_method_of_fitting_weights(stored):
    rows = {row.name: row for row in ladder.steps(stored)}
    assert {f"all boosters, {name} weights" for name in blend_weights.METHODS} <= set(rows)
    simple = correct_predictions(stored, scores_of_blend(stored, "simple", "fit"))
    assert rows["all boosters, simple weights"].score.value == simple.mean()


def test_steps_of_subsets_count_their_members(stored):
    counts = {
        row.name.rsplit(" (", 1)[0]: int(row.name.rsplit("(", 1)[1][:-1])
        for row in ladder.steps(stored)
        if row.name.endswith(")")
    }
    members = ladder.Members(stored).members
    assert counts["layer 2 only"] == sum(member.layer == "l2" for member in members)
    assert counts["lambdarank only"] == sum(member.booster == "lambdarank" for member in members)
    assert counts["without multi"] < len(members)


def test_the_scores_of_a_member_are_read_from_disk_once(stored):
    members = ladder.Members(stored)
    first = members.scores(members.members[:1])[0]
    assert members.scores(members.members[:1])[0] is first


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder and the overrides of a small sample experiment after all six stages."""
    work = tmp_path_factory.mktemp("ladder")
    overrides = [f"work={work}", *SMALL]
    experiment = Experiment(load(SAMPLE, overrides))
    for stage in STAGES:
        build_stage(stage, experiment, rebuild=False)
    return work, overrides


def test_an_ablation_shares_the_networks_and_builds_its_own_stack(trained):
    work, overrides = trained
    experiment = Experiment(load(SAMPLE, overrides))
    names = [ladder.BASELINE, "without hashes"]
    rows = ladder.ablations(experiment, SAMPLE, overrides, names, seeds=1)
    assert [row.name for row in rows] == names
    variants = sorted((work / "sample_ladder").iterdir())
    assert [path.name for path in variants] == ["baseline_0", "without-hashes_0"]
    for variant in variants:
        assert (variant / "cnn").resolve() == (work / "sample" / "cnn")
        assert not (variant / "stack").is_symlink()
    assert ladder.ablations(experiment, SAMPLE, overrides, names, seeds=1) == rows


def test_the_study_prints_two_tables(trained, capsys, monkeypatch):
    _, overrides = trained
    skipped = [name for name in ladder.ABLATIONS if name != ladder.BASELINE]
    settings = [part for override in overrides for part in ("--set", override)]
    arguments = ["--config", SAMPLE, *settings, "--seeds", "2", "--without", *skipped]
    monkeypatch.setattr(sys, "argv", ["ladder", *arguments])
    assert ladder.main() == 0
    output = capsys.readouterr().out
    headings = [line for line in output.splitlines() if line.startswith("###")]
    assert headings == ["### Steps", "### Ablations, seeds of the boosters: 2"]


def test_the_study_of_models_has_minutes_and_the_lines_of_the_neighbors(trained):
    _, overrides = trained
    table = models.compare([load(SAMPLE, overrides)], "").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table[4:]]
    names = ["small", "lite0", "neighbors, small", "neighbors, mean with the networks"]
    assert [row[0] for row in cells] == names
    assert [bool(row[1]) for row in cells] == [True, True, False, False]
    # The neighbors are of the embeddings of trained networks, and there are six classes.
    assert float(cells[2][2].split()[0]) > 1 / 6


def test_an_experiment_that_is_not_trained_is_an_error(tmp_path):
    experiment = Experiment(load(SAMPLE, [f"work={tmp_path}"]))
    with pytest.raises(UserError, match=r"is missing; run \./run_all\.sh with this config first"):
        ladder.check_trained(experiment)


def test_a_user_error_is_one_line_and_exit_status_2(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["ladder", "--set", f"work={tmp_path}"])
    assert ladder.main() == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize("name", ladder.ABLATIONS)
def test_every_ablation_changes_the_config(name):
    short = load(SAMPLE, ladder.SHORT_STACK)
    variant = load(SAMPLE, [*ladder.SHORT_STACK, *ladder.ABLATIONS[name]])
    assert (variant == short) == (name == ladder.BASELINE)
