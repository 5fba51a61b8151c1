"""The six stages in their order, their artifacts (an error without models), and a stage's build."""

import shlex
from collections.abc import Sequence
from types import ModuleType

from lib.config.model import Backbone, Model
from lib.config.schema import as_dict
from lib.errors import UserError
from lib.pipeline.artifact import Artifact, status, status_all
from lib.pipeline.executor import ensure_all
from lib.pipeline.experiment import Experiment
from lib.pipeline.graph import Graph
from lib.stages import extract, features, predict, pseudo_label, stack, submit, train
from lib.stages.cascade.networks import declare_segmenters
from lib.stages.review import labels as reviewed
from lib.stages.texts.encoders import check_encoders
from lib.stages.texts.ocr import has_ocr
from lib.stages.train import image_models

MIN_CLASSES = 2  # of a network that is only tried

# Each module has NAME, SCRIPT, PARALLEL (networks build beside each other) and `declare(graph)`.
STAGES: tuple[ModuleType, ...] = (extract, train, predict, features, stack, submit)


def declare_all(experiment: Experiment) -> dict[str, list[Artifact]]:
    """The artifacts of every stage by its name, each artifact after its inputs.

    Reads nothing but folder names, and imports no heavy library. Raises UserError for a config
    without models, and if a second round does not fit the first.
    """
    if not experiment.config.classifiers:
        raise UserError("no models configured; add a [models.NAME] table")
    graph = Graph(experiment)
    artifacts = {}
    for stage in STAGES:
        # Test products get their labels before networks train on them.
        labels = pseudo_label.declare(graph) + reviewed.declare(graph) if stage is train else []
        artifacts[stage.NAME] = [*labels, *stage.declare(graph)]
        if stage is train:
            artifacts[stage.NAME] += declare_segmenters(graph)
    return artifacts


def check_networks(experiment: Experiment) -> None:
    """Create every network of the config once: it takes seconds, and training takes days.

    Raises UserError for an unknown architecture, weights that are missing or do not fit, a crop,
    a precision or a number of frozen units that a network does not take, and as `check_engine`.
    """
    import torch

    from lib.data.aspect.clusters import common_shapes
    from lib.models import factory
    from lib.models.text.ocr import check_engine
    from lib.runtime.device import select_device
    from lib.training.events import check_tensorboard

    config = experiment.config
    check_tensorboard(config.run)
    if has_ocr(experiment):
        check_engine(config.ocr)
    check_encoders(experiment)
    tables: dict[str, Model | Backbone] = {
        **{f"backbones.{name}": backbone for name, backbone in config.backbones.items()},
        **{f"models.{name}": model for name, model in image_models(experiment).items()},
        **{f"models.{name}": model for name, model in config.segmenters.items()},
    }
    with torch.random.fork_rng(devices=[]):
        for key, table in tables.items():
            try:
                if config.run.device == "cpu" or not config.run.cluster:  # the GPU may be elsewhere
                    select_device(config.run, table)
                model = table if isinstance(table, Model) else Model(**as_dict(table))
                shapes = common_shapes(model) if model.aspect.num_clusters else []
                weights = "none" if model.warm_start else model.weights
                net = factory.create_from_config(model, MIN_CLASSES, weights, shapes)
                for unit in model.unfreeze_schedule or (model.freeze_until,):
                    net.freeze_until(unit)
            except UserError as error:
                raise UserError(f"{key}: {error}") from None


def build_stage(stage: ModuleType, experiment: Experiment, rebuild: bool) -> int:
    """Build the artifacts of a stage that are not fresh; returns how many were built.

    For a few new products all in this process: a worker imports for longer than it predicts. With
    `run.cluster` on Dask workers.
    Raises UserError as `lib.pipeline.artifact.ensure`, and before the first two stages as
    `check_networks`.
    """
    artifacts, run = declare_all(experiment)[stage.NAME], experiment.config.run
    trains = experiment.target is None and stage in (extract, train)
    if trains and not all(status(artifact).fresh for artifact in artifacts):
        check_networks(experiment)
    is_small = experiment.target is not None and experiment.target.is_small
    parallel = stage.PARALLEL and not is_small
    return ensure_all(stage.NAME, artifacts, run, rebuild, parallel, on_cluster=not is_small)


def check_frozen(
    experiment: Experiment,
    artifacts: dict[str, list[Artifact]],
    config: str,
    overrides: Sequence[str],
) -> None:
    """Raise UserError if an artifact that no stage of this run builds is not fresh.

    With `--new` these are all artifacts of labelled data, in a second round those of the first.
    config, overrides: of the command, for the one that trains them.
    """
    frozen = [artifact for stage in artifacts.values() for artifact in stage if artifact.frozen]
    for path, state in status_all(frozen).items():
        if not state.fresh:
            teacher = experiment.teacher
            of_teacher = teacher is not None and path.is_relative_to(teacher.folder)
            command = ["./run_all.sh"]
            command.append(experiment.config.pseudo_label.teacher if of_teacher else config)
            command += [word for override in overrides for word in ("--set", override)]
            command += ["--rebuild"] if state.state == "stale" else []
            raise UserError(f"{path} is {state}; train first with {shlex.join(command)}")
