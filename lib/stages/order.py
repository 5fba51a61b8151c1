"""The six stages in their order, their artifacts (an error without models), and a stage's build."""

from types import ModuleType

from lib.errors import UserError
from lib.pipeline.artifact import Artifact
from lib.pipeline.executor import ensure_all
from lib.pipeline.experiment import Experiment
from lib.pipeline.graph import Graph
from lib.stages import extract, features, predict, pseudo_label, stack, submit, train

# Each module has NAME, SCRIPT, PARALLEL (networks build beside each other) and `declare(graph)`.
STAGES: tuple[ModuleType, ...] = (extract, train, predict, features, stack, submit)


def declare_all(experiment: Experiment) -> dict[str, list[Artifact]]:
    """The artifacts of every stage by its name, each artifact after its inputs.

    Reads nothing but folder names, and imports no heavy library. Raises UserError for a config
    without models, and if a second round does not fit the first.
    """
    if not experiment.config.models:
        raise UserError("no models configured; add a [models.NAME] table")
    graph = Graph(experiment)
    artifacts = {}
    for stage in STAGES:
        # A second round labels test products before its networks train on them.
        labels = pseudo_label.declare(graph) if stage is train else []
        artifacts[stage.NAME] = [*labels, *stage.declare(graph)]
    return artifacts


def build_stage(stage: ModuleType, experiment: Experiment, rebuild: bool) -> int:
    """Build the artifacts of a stage that are not fresh; returns how many were built.

    Raises UserError as `lib.pipeline.artifact.ensure`.
    """
    artifacts, run = declare_all(experiment)[stage.NAME], experiment.config.run
    return ensure_all(stage.NAME, artifacts, run, rebuild, stage.PARALLEL)
