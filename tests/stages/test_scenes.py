"""The artifact of composed scenes in stage 01."""

import pytest

from lib.pipeline.artifact import Artifact, ensure, status
from lib.pipeline.experiment import load_experiment
from lib.pipeline.graph import Graph
from lib.stages.extract import declare_scenes

CONFIG = """
name = "tiny"
[data]
source = "sample"
[models.a]
arch = "small"
[scenes]
num_images = 6
num_classes = 5
size = 32
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(f'work = "{tmp_path}/work"\n{CONFIG}')
    return path


def artifacts(config, *changes: str) -> dict[str, Artifact]:
    graph = Graph(load_experiment(config, changes))
    declare_scenes(graph)
    return graph.artifacts


def scenes_of(config, *changes: str) -> Artifact:
    return artifacts(config, *changes)["extract/scenes"]


def test_scenes_are_an_artifact_that_their_settings_make_stale(config):
    artifact = scenes_of(config)
    ensure(artifact, rebuild=False)
    assert len(list((artifact.path / "train").glob("*.jpg"))) == 6
    assert status(artifact).fresh
    assert status(scenes_of(config, "run.threads=2")).fresh
    assert not status(scenes_of(config, "scenes.occlusion=0.5")).fresh
    assert not status(scenes_of(config, "seed=2")).fresh


def test_without_scenes_there_is_no_artifact(config):
    assert artifacts(config, "scenes.num_images=0") == {}


def test_pictures_are_files_of_the_artifact(config, shared_data):
    artifact = scenes_of(config, f"scenes.pictures={shared_data}")
    assert {"hierarchy", "photographs", "shop", "drawings"} <= artifact.inputs.keys()
    drawn = scenes_of(config, f"scenes.pictures={shared_data}", 'scenes.sources=["drawings"]')
    assert set(drawn.inputs) == {"hierarchy", "class_descriptions", "drawings"}
    lacking = scenes_of(config, "scenes.pictures=nowhere")
    assert set(lacking.inputs) == {"hierarchy"}
