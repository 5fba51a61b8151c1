"""`--status`, and the line before a stage, on folders with manifests; whole runs call both."""

import json
from pathlib import Path

import pytest

from lib.config.load import load
from lib.pipeline.artifact import Artifact, _plan, ensure, status_all
from lib.pipeline.experiment import Experiment
from lib.stages import train
from lib.stages.order import STAGES
from lib.stages.rehearsal import remaining
from lib.stages.rehearsal.remaining import stage_line, status_lines

EPOCHS = ("models.a.epochs=5", "models.a.head_only_epochs=1")


@pytest.fixture
def experiment(tmp_path) -> Experiment:
    return Experiment(load("configs/sample.toml", [f"work={tmp_path}", 'models.a.arch="small"']))


def network(experiment: Experiment, fold: int, lr: float = 0.1) -> Artifact:
    def build(folder: Path) -> None:
        (folder / "last.pt").write_bytes(b"0" * 2_000_000)

    path = experiment.path(f"cnn/a/fold{fold}")
    return Artifact(path, build, config={"lr": lr}, resumable=True)


def took(artifact: Artifact, seconds: float) -> None:
    """Build the artifact, and let its manifest say that it took so long."""
    ensure(artifact, rebuild=True)
    path = artifact.path / "_manifest.json"
    times = {"seconds": seconds, "check_seconds": 0.0}
    path.write_text(json.dumps(json.loads(path.read_text()) | times))


def lines(experiment: Experiment, networks: list[Artifact]) -> list[str]:
    """The lines of the stage of training, and the last one."""
    stages = {stage.NAME: networks if stage.NAME == "train" else [] for stage in STAGES}
    shown = status_lines(experiment, stages, status_all(networks))
    start = next(i for i, line in enumerate(shown) if line.startswith("train: "))
    return [" ".join(line.split()) for line in (*shown[start : start + 4], shown[-1])]


def test_a_fresh_artifact_has_its_size_and_time_and_another_fold_gives_that_of_the_rest(experiment):
    folds = [network(experiment, fold) for fold in range(3)]
    took(folds[0], 40)
    took(folds[2], 60)
    header, *rows, left = lines(experiment, folds)
    assert header == "train: 2 of 3 fresh, 4.0 MB"
    assert rows[0] == f"2.0 MB 40 s {folds[0].path}: fresh"
    assert rows[1] == f"- ~50 s {folds[1].path}: missing"
    assert left == "left: about 50 s for 1 artifacts, by other folds (1)"


def test_what_no_build_has_shown_is_unknown(experiment):
    folds = [network(experiment, fold) for fold in range(5)]
    _, row, *_, left = lines(experiment, folds)
    assert row == f"- unknown {folds[0].path}: missing"
    named = ", ".join(str(fold.path) for fold in folds[:3])
    assert left == f"left: unknown for 5: {named} and 2 more"


def test_a_stale_artifact_is_known_by_its_last_build_and_its_settings_are_named(experiment):
    took(network(experiment, 0), 200)
    _, row, *_, left = lines(experiment, [network(experiment, 0, lr=0.2)])
    assert row.startswith("2.0 MB ~3 min")
    assert row.endswith("stale (lr 0.1 -> 0.2)")
    assert left == "left: about 3 min for 1 artifacts, by last builds with other settings (1)"


def test_an_interrupted_training_is_known_by_its_epochs_if_it_goes_on(experiment, tmp_path):
    experiment = Experiment(
        load("configs/sample.toml", [f"work={tmp_path}", 'models.a.arch="small"', *EPOCHS])
    )
    fold = network(experiment, 0)
    partial = fold.path.with_name("fold0.partial")
    partial.mkdir(parents=True)
    times = [json.dumps({"epoch": epoch, "seconds": 10.0 + epoch}) for epoch in (1, 3)]
    (partial / "_times.jsonl").write_text("\n".join(times))
    (partial / "_plan.json").write_text(json.dumps(_plan(fold)))
    _, row, *_, left = lines(experiment, [fold])
    assert f"~48 s {fold.path}: unfinished" in row  # four of six epochs
    assert left == "left: about 48 s for 1 artifacts, by epochs that are done (1)"
    assert "left: unknown" in lines(experiment, [network(experiment, 0, lr=0.3)])[-1]


def test_networks_that_train_side_by_side_take_the_time_of_one(experiment, monkeypatch):
    folds = [network(experiment, fold) for fold in range(4)]
    took(folds[0], 30)
    monkeypatch.setattr(remaining, "num_nvidia_gpus", lambda: 4)
    assert "about 30 s for 3 artifacts" in lines(experiment, folds)[-1]


def test_nothing_is_left_of_a_finished_run(experiment):
    folds = [network(experiment, fold) for fold in range(3)]
    for fold in folds:
        took(fold, 1)
    assert lines(experiment, folds)[-1] == "nothing is left to do"


def test_a_stage_begins_with_its_place_in_the_run_and_the_time_that_is_left(experiment):
    folds = [network(experiment, fold) for fold in range(3)]
    stages = {stage.NAME: folds if stage.NAME == "train" else [] for stage in STAGES}

    def line(seconds: float) -> str:
        return stage_line(experiment, train, stages, status_all(folds), seconds)

    assert line(0) == "train, stage 2 of 6: 3 of 3 artifacts to build"
    took(folds[0], 40)
    begin = "train, stage 2 of 6: 2 of 3 artifacts to build, 2 min after the start"
    assert line(120).startswith(f"{begin}; about ")
    other = Artifact(experiment.path("stack/a"), lambda folder: None)
    stages["stack"] = [other]
    states = status_all([*folds, other])
    assert "; more than " in stage_line(experiment, train, stages, states, 120)
