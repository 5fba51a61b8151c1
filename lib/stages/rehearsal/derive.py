"""The config of a rehearsal: the same networks, boosters and columns on a draw, trained for minutes

The rehearsal of `work/<name>` is an experiment of its own, `work/rehearsal/<name>`.
"""

from dataclasses import replace
from pathlib import Path

from lib.config.model import Model
from lib.config.schema import Config, Split
from lib.config.validate import MAX_LEFT_OUT
from lib.config.write import to_toml
from lib.pipeline.experiment import Experiment
from lib.utils.files import atomic_write

FOLDER = "rehearsal"  # below `work`
EPOCHS = 2  # of the body: the first warms up, the second is measured
TREES, FOREST_TREES, GREEDY_STEPS = 100, 30, 5  # fewer trees: mostly what a fit begins with
MIN_PART = 0.2  # of the products in `locked` and, if it is used, in `holdout`
MIN_PRECISION = 0.5  # of networks that have hardly learned, so that some products get labels


def rehearsal_of(experiment: Experiment, products: int) -> Experiment:
    """The rehearsal of an experiment on about `products` labelled products.

    A second round is rehearsed on the rehearsal of its first.
    """
    teacher = experiment.teacher and rehearsal_of(experiment.teacher, products)
    return Experiment(_derive(experiment.config, products), teacher=teacher)


def config_path(rehearsal: Experiment) -> Path:
    """Where `write_config` writes the config."""
    return rehearsal.folder.with_name(f"{rehearsal.folder.name}.toml")


def write_config(rehearsal: Experiment) -> Path:
    """Write the config of a rehearsal, and that of its first round; its path."""
    config = rehearsal.config
    if rehearsal.teacher is not None:
        teacher = str(write_config(rehearsal.teacher))
        config = replace(config, pseudo_label=replace(config.pseudo_label, teacher=teacher))
    path = config_path(rehearsal)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        temporary.write_text(to_toml(config))
    return path


def _derive(config: Config, products: int) -> Config:
    split, stack, scenes = config.split, config.stack, config.scenes
    return replace(
        config,
        work=str(Path(config.work) / FOLDER),
        data=replace(config.data, draw=products),
        scenes=replace(
            scenes,
            num_images=min(scenes.num_images, products),
            num_test_images=min(scenes.num_test_images, products),
        ),
        split=_enlarge_parts(split, config.stack_part),
        pseudo_label=replace(config.pseudo_label, min_precision=MIN_PRECISION),
        models={name: rehearse_model(model, products) for name, model in config.models.items()},
        predict=replace(config.predict, tta_views=1 if config.predict.tta_views == 1 else 2),
        stack=replace(
            stack,
            n_estimators=min(stack.n_estimators, TREES),
            forest_n_estimators=min(stack.forest_n_estimators, FOREST_TREES),
        ),
        blend=replace(config.blend, greedy_steps=min(config.blend.greedy_steps, GREEDY_STEPS)),
    )


def _enlarge_parts(split: Split, stack_part: str) -> Split:
    """`locked` and, if it is used, `holdout` of at least `MIN_PART`, unless they leave too little
    to train on."""
    locked = max(split.locked, MIN_PART)
    holdout = max(split.holdout, MIN_PART) if stack_part == "holdout" else 0.0
    enough = locked + holdout < MAX_LEFT_OUT
    return replace(split, locked=locked, holdout=holdout) if enough else split


def rehearse_model(model: Model, products: int) -> Model:
    """The same network in pieces of a batch that are as large, for a few steps.

    Everything that trains in some epoch trains, at the largest batch and the full strength of the
    augmentation: this is when memory may run out.
    """
    sizes = [model.batch_size, *(size for _, size in model.batch_size_schedule)]
    piece = max(sizes) // model.grad_accum_steps
    pieces = min(model.grad_accum_steps, max(1, products // (2 * piece)))
    return replace(
        model,
        warm_start="",  # that run has other products
        head_only_epochs=min(model.head_only_epochs, 1),
        epochs=min(model.epochs, EPOCHS),
        batch_size=piece * pieces,
        grad_accum_steps=pieces,
        batch_size_schedule=(),
        freeze_until=model.lowest_trainable_unit,
        unfreeze_schedule=(),
        augment=replace(model.augment, ramp_epochs=0, no_aug_epochs=0),
    )
