"""Artifacts are declared after their inputs; a run builds only those that are its own."""

from pathlib import Path

import pytest

from lib.config.schema import Config
from lib.pipeline.artifact import ensure
from lib.pipeline.experiment import Experiment
from lib.pipeline.graph import Graph
from lib.pipeline.manifest import read_manifest
from lib.pipeline.predict_target import PredictTarget


def build(folder: Path) -> dict:
    (folder / "words.txt").write_text("words")
    return {}


@pytest.fixture
def experiment(tmp_path):
    return Experiment(Config(work=str(tmp_path)))


def test_an_input_that_is_not_declared_is_a_key_error(experiment):
    graph = Graph(experiment)
    with pytest.raises(KeyError, match="extract/train"):
        graph.add("extract/splits", build, inputs=["extract/train"])


def test_an_artifact_has_its_folder_its_settings_and_its_inputs(experiment, tmp_path):
    graph, file = Graph(experiment), tmp_path / "train.bson"
    first = graph.add("extract/train", build, files={"train": file}, resumable=True)
    second = graph.add(
        "extract/splits", build, settings={"seed": 1}, inputs=["extract/train"], version=3
    )
    assert list(graph.artifacts) == ["extract/train", "extract/splits"]
    assert first.path == experiment.path("extract/train")
    assert first.inputs == {"train": file}
    assert first.resumable
    assert second.inputs == {"extract/train": first}
    assert second.config == {"seed": 1}
    assert second.version == 3
    assert not first.frozen
    assert not second.frozen


def test_files_come_before_inputs_in_a_manifest(experiment, tmp_path):
    graph, file = Graph(experiment), tmp_path / "names.csv"
    file.write_text("x")
    graph.add("extract/train", build)
    graph.add("extract/categories", build, files={"names": file}, inputs=["extract/train"])
    for artifact in graph.artifacts.values():
        ensure(artifact, rebuild=False)
    manifest = read_manifest(experiment.path("extract/categories"))
    assert manifest is not None
    assert list(manifest["inputs"]) == ["names", "extract/train"]


def test_with_a_target_only_what_depends_on_it_is_built(experiment):
    target = PredictTarget(Path("/data/new.bson"), "bson", "new")
    graph = Graph(Experiment(experiment.config, target))
    names = ("extract/train", "extract/test", "scores/mean/l2/locked", "blend", "submit")
    frozen = {name: graph.add(name, build).frozen for name in names}
    assert [name for name in names if not frozen[name]] == ["extract/test", "submit"]


def test_all_artifacts_of_a_frozen_graph_are_frozen(experiment):
    graph = Graph(experiment, frozen=True)
    assert all(graph.add(name, build).frozen for name in ("extract/train", "extract/test"))
