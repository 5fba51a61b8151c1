"""The artifacts of all six stages, declared without any heavy library."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from lib.errors import UserError
from lib.pipeline.artifact import Artifact
from lib.pipeline.experiment import Experiment, load_experiment
from lib.stages.order import STAGES, build_stage, declare_all
from tests.conftest import ROOT, jpeg, product

CONFIGS = sorted((ROOT / "configs").glob("*.toml"))
DECLARE = """
import json, sys
from lib.pipeline.experiment import load_experiment
from lib.stages.order import declare_all
counts = {}
for config in sys.argv[1:]:
    artifacts = declare_all(load_experiment(config))
    counts[config] = sum(map(len, artifacts.values()))
heavy = {"torch", "lightgbm", "pyarrow", "numba", "sklearn", "cv2"} & sys.modules.keys()
print(json.dumps({"counts": counts, "heavy": sorted(heavy)}))
"""


def test_declaring_all_artifacts_imports_no_heavy_library():
    command = [sys.executable, "-c", DECLARE, *map(str, CONFIGS)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    output = json.loads(result.stdout)
    assert output["heavy"] == []
    assert all(count > 20 for count in output["counts"].values())


@pytest.fixture(params=CONFIGS, ids=lambda path: path.stem)
def experiment(request, monkeypatch) -> Experiment:
    monkeypatch.chdir(ROOT)  # a teacher's path is relative to the project
    return load_experiment(request.param)


def all_artifacts(experiment: Experiment) -> list[Artifact]:
    return [artifact for stage in declare_all(experiment).values() for artifact in stage]


def test_no_two_artifacts_share_a_folder(experiment):
    paths = [artifact.path for artifact in all_artifacts(experiment)]
    assert len(set(paths)) == len(paths)
    assert not [path for path in paths if any(parent in paths for parent in path.parents)]


def test_every_artifact_is_declared_after_its_inputs(experiment):
    declared: set[Path] = set()
    for artifact in all_artifacts(experiment):
        inputs = [source for source in artifact.inputs.values() if isinstance(source, Artifact)]
        assert {source.path for source in inputs} <= declared
        declared.add(artifact.path)


def test_stages_are_in_the_order_of_their_scripts(experiment):
    assert list(declare_all(experiment)) == [stage.NAME for stage in STAGES]
    scripts = [stage.SCRIPT for stage in STAGES]
    assert scripts == sorted(path.name for path in ROOT.glob("0?_*.py"))


def test_only_artifacts_of_a_teacher_are_frozen_without_new_products(experiment):
    for artifact in all_artifacts(experiment):
        own = artifact.path.is_relative_to(experiment.folder)
        assert artifact.frozen == (not own)


def names(experiment: Experiment, flag: str) -> set[str]:
    """The first part of the names of the experiment's own artifacts that have a flag."""
    own = [a for a in all_artifacts(experiment) if a.path.is_relative_to(experiment.folder)]
    return {a.path.relative_to(experiment.folder).parts[0] for a in own if getattr(a, flag)}


def test_networks_and_their_predictions_are_built_on_all_ranks(experiment):
    assert names(experiment, "on_all_ranks") == {"cnn", "predictions"}


def test_whatever_takes_long_is_resumable(experiment):
    config = experiment.config
    expected = {"extract", "cnn", "predictions", "stack"}
    expected |= {"embeddings"} if config.embedding_models else set()
    expected |= {"pseudo"} if experiment.teacher else set()
    expected |= {"masks"} if config.segmenters else set()
    assert names(experiment, "resumable") == expected


def test_a_config_without_models_is_a_user_error():
    sample = load_experiment(ROOT / "configs" / "sample.toml")
    without = replace(sample, config=replace(sample.config, models={}))
    with pytest.raises(UserError, match=r"no models configured; add a \[models.NAME\] table"):
        declare_all(without)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("models.small.arch=smal", "models.small: unknown model 'smal'; did you mean small"),
        ("models.small.weights=none.pt", "models.small: none.pt: no such file of weights"),
        ("models.small.weights=imagenet", "models.small: small has no ImageNet weights"),
        ("models.small.freeze_until=9", "models.small: freeze_until = 9: small has units 0 to 4"),
        ("models.small.unfreeze_schedule=[0,9]", "models.small: freeze_until = 9"),
        ("models.small.head_rank=3", "models.small: head_rank = 3"),
        ("backbones.x={arch='small', weights='none.pt'}", "backbones.x: none.pt: no such file"),
    ],
)
def test_a_network_that_cannot_work_is_found_before_the_first_stage(tmp_path, override, words):
    overrides = ["models={small={arch='small', epochs=1}}", "predict.embed_models=[]", override]
    sample = ROOT / "configs" / "sample.toml"
    experiment = load_experiment(sample, [f"work={tmp_path}", *overrides])
    for stage in STAGES[:2]:
        with pytest.raises(UserError) as error:
            build_stage(stage, experiment, rebuild=False)
        assert words in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_table_of_products_of_one_category_is_refused(tmp_path, write_bson, write_categories):
    write_categories([10, 20])
    path = write_bson([product(i, [jpeg(i)], 20) for i in range(9)])
    overrides = [f"data.root={tmp_path}", "data.source=bson", "data.test="]
    overrides += ["models={small={arch='small', epochs=1}}", "predict.embed_models=[]"]
    sample = ROOT / "configs" / "sample.toml"
    experiment = load_experiment(sample, [f"work={tmp_path / 'work'}", *overrides])
    with pytest.raises(UserError, match=f"{path}: every product has the same category"):
        build_stage(STAGES[0], experiment, rebuild=False)


def test_a_stage_is_built_once(tmp_path):
    overrides = ["sample.train_products=60", "sample.test_products=5", "sample.num_classes=3"]
    experiment = load_experiment(ROOT / "configs" / "sample.toml", [f"work={tmp_path}", *overrides])
    num_artifacts = len(declare_all(experiment)["extract"])
    assert build_stage(STAGES[0], experiment, rebuild=False) == num_artifacts
    assert build_stage(STAGES[0], experiment, rebuild=False) == 0
