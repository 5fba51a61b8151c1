"""Checks between settings, such as crop against resize; `convert.py` checks each one alone."""

from collections.abc import Iterator
from itertools import pairwise

from lib.config.data import LEAST_SIZE_OF_WORDS, WITH_COLUMNS, Data, Sample
from lib.config.inputs.check_texts import text_problems
from lib.config.inputs.mosaic import Mosaic
from lib.config.model import Backbone, Model
from lib.config.schema import Config, PseudoLabelling, Split, Stack
from lib.errors import UserError

MIN_MOSAIC_CROP = 32  # pixels; each of the four images gets half of them
MAX_LEFT_OUT = 0.9  # of the labelled products in locked and holdout
MAX_NAME = 100  # characters of the name of a model: it is a folder
PUBLISHED_L3 = ("xgboost", "lgbm_deep", "lgbm_extra")  # lib/stacking/blend.py reads them
RESERVED = ("mean", "multi", "candidates", "neighbors")  # folders beside those of the models


def check(config: Config, origin: str) -> None:
    """Raise UserError for the first rule that `config` breaks; origin: the name of its file."""
    for problem in _problems(config):
        raise UserError(f"{origin}: {problem}")


def _problems(config: Config) -> Iterator[str]:
    for name, model in config.models.items():
        yield from _name_problems("models", name)
        yield from _model_problems(f"models.{name}", model)
        yield from _kind_problems(f"models.{name}", model, config.data)
    for name, backbone in config.backbones.items():
        yield from _name_problems("backbones", name)
        if name in config.models:
            yield f"backbones.{name}: models.{name} has the same name"
        yield from _size_problems(f"backbones.{name}", backbone)
    for name in config.text_encoders:
        yield from _name_problems("text_encoders", name)
        for table in ("models", "backbones"):
            if name in getattr(config, table):
                yield f"text_encoders.{name}: {table}.{name} has the same name"
    yield from _sample_problems(config.sample)
    yield from text_problems(config)
    yield from _embedding_problems(config)
    yield from _split_problems(config.split)
    for name, model in config.classifiers.items():
        yield from _fold_problems(f"models.{name}", model, config.split)
    yield from _data_problems(config.data)
    yield from _scene_problems(config)
    yield from _pseudo_label_problems(config.pseudo_label, config.data, config.classifiers)
    if config.features.top_k > config.predict.top_k:
        kept = config.predict.top_k
        yield f"features.top_k {config.features.top_k} is above predict.top_k {kept}"
    yield from _stack_problems(config.stack)
    yield from _blend_problems(config)
    if config.multi_label:
        yield from _multi_label_problems(config)


def _name_problems(table: str, name: str) -> Iterator[str]:
    if len(name) > MAX_NAME:
        yield f"{table}.{name[:MAX_NAME]}...: a name has at most {MAX_NAME} characters"
    if name in RESERVED:
        yield f"{table}.{name}: this name is reserved for another folder"
    if not name.replace("_", "").replace("-", "").isalnum():
        yield f"{table}.{name}: use letters, digits, _ and -"


def _size_problems(key: str, model: Model | Backbone) -> Iterator[str]:
    if model.crop[0] > model.resize[0] or model.crop[1] > model.resize[1]:
        yield f"{key}.crop {model.crop} is larger than resize {model.resize}"


def _model_problems(key: str, model: Model) -> Iterator[str]:
    yield from _size_problems(key, model)
    if model.epochs + model.head_only_epochs == 0:
        yield f"{key}: epochs and head_only_epochs are both 0"
    yield from _batch_problems(key, model)
    epochs = [epoch for epoch, _ in model.lr_schedule.milestones]
    if model.lr_schedule.kind == "multistep" and (epochs[:1] != [0] or not _ascends(epochs)):
        yield f"{key}.lr_schedule.milestones: write rows [epoch, rate] from epoch 0 on, ascending"
    epochs = [epoch for epoch, _ in model.head_lr_milestones]
    if epochs and (epochs[0] != 0 or not _ascends(epochs)):
        yield f"{key}.head_lr_milestones: write rows [epoch, rate] from epoch 0 on, ascending"
    if model.sampling.hard_example_weight and model.loss.mixup_alpha:
        yield (
            f"{key}: sampling.hard_example_weight and loss.mixup_alpha exclude each other; mixed"
            " images do not show which of them is hard"
        )
    if model.sampling.oversample and (
        model.sampling.class_balance or model.sampling.hard_example_weight
    ):
        yield (
            f"{key}.sampling: oversample excludes class_balance and hard_example_weight; each of"
            " them decides by itself how often an image is shown"
        )
    if model.aspect.num_clusters and (model.input != "image" or model.kind == "segmentation"):
        yield (
            f'{key}.aspect.num_clusters is for a model with input = "image" that classifies; set 0'
        )
    if model.input in ("embedding", "text") and model.lowest_trainable_unit:
        yield f"{key}: freeze_until and unfreeze_schedule are for models that see images; set 0"
    if model.input == "embedding" and not model.fusion.inputs:
        yield f'{key}: input = "embedding" needs fusion.inputs'
    if model.input != "embedding" and model.fusion.inputs:
        yield f'{key}.fusion.inputs is for a model with input = "embedding"'
    if model.input in ("mosaic", "product") and model.sampling.one_image_per_product:
        yield f"{key}.sampling.one_image_per_product: a {model.input} shows all images of a product"
    if model.input == "product" and model.loss.mixup_alpha:
        yield f"{key}.loss.mixup_alpha: products of different numbers of images cannot be mixed"
    if model.input == "mosaic":
        yield from _mosaic_problems(key, model)
    elif model.mosaic != Mosaic():
        yield f'{key}.mosaic is for a model with input = "mosaic"'


def _kind_problems(key: str, model: Model, data: Data) -> Iterator[str]:
    settings, augment = model.segmentation, model.augment
    if model.kind != "segmentation":
        if settings.clusters:
            yield f'{key}.segmentation.clusters is for a model with kind = "segmentation"'
        return
    if data.source != "openimages":
        yield (
            f'{key}.kind = "segmentation" learns from boxes, which data.source = "openimages" has;'
            f" it is {data.source}"
        )
    if model.input != "image":
        yield f'{key}.input = "{model.input}": a model with kind = "segmentation" reads images'
    for size in (model.resize, model.crop):
        if any(side % settings.stride for side in size):
            yield (
                f"{key}: resize {model.resize} and crop {model.crop} are no multiples of"
                f" segmentation.stride {settings.stride}"
            )
    if augment.max_rotation or augment.rot90:
        yield (
            f"{key}: augment.max_rotation and augment.rot90 turn images, and boxes cannot be turned"
            " with them; set 0 and false"
        )
    if model.loss.mixup_alpha or model.sampling.hard_example_weight:
        yield (
            f"{key}: loss.mixup_alpha and sampling.hard_example_weight are for classes, not masks;"
            " set 0"
        )
    if not settings.bce_weight and not settings.dice_weight:
        yield f"{key}.segmentation: bce_weight and dice_weight are both 0; nothing is learned"


def _batch_problems(key: str, model: Model) -> Iterator[str]:
    sizes = [model.batch_size, *(size for _, size in model.batch_size_schedule)]
    if not _ascends([epoch for epoch, _ in model.batch_size_schedule]):
        yield f"{key}.batch_size_schedule: write rows [epoch, size] with ascending epochs"
    if any(size % model.grad_accum_steps for size in sizes):
        steps = model.grad_accum_steps
        yield f"{key}.grad_accum_steps = {steps} does not divide batch_size {sizes}"


def _ascends(values: list[float] | list[int]) -> bool:
    return all(low < high for low, high in pairwise(values))


def _mosaic_problems(key: str, model: Model) -> Iterator[str]:
    fewest, most = model.mosaic.min_images, model.mosaic.max_images
    if 0 < most < fewest:
        yield f"{key}.mosaic.max_images = {most}: 0 (any number), or at least min_images {fewest}"
    split_at = list(model.mosaic.split_at)
    if not _ascends(split_at):
        yield f"{key}.mosaic.split_at = {split_at}: write ascending numbers of images"
    if split_at and (fewest >= split_at[0] or 0 < most < split_at[-1]):
        yield (
            f"{key}.mosaic.split_at = {split_at}: a network would have no products, because of"
            f" min_images {fewest} and max_images {most}"
        )
    if any(2 * crop <= resize for crop, resize in zip(model.crop, model.resize, strict=True)):
        yield (
            f"{key}.crop {model.crop}: more than half of resize {model.resize}, or whole images of"
            " a mosaic are cut off"
        )
    if min(model.crop) < MIN_MOSAIC_CROP:
        yield (
            f"{key}.crop = {model.crop}: at least {MIN_MOSAIC_CROP} pixels, as the images of a"
            " mosaic have half the size"
        )


def _embedding_problems(config: Config) -> Iterator[str]:
    """Models that read embeddings, and k-NN features, need inputs that exist."""
    models = [name for name, model in config.classifiers.items() if model.input == "image"]
    inputs = [*models, *config.backbones, *config.text_encoders]
    for name, model in config.models.items():
        for embedded in model.fusion.inputs:
            if embedded not in inputs:
                yield _unknown_name(f"models.{name}.fusion.inputs", embedded, inputs)
            folds = config.models[embedded].n_folds if embedded in models else model.n_folds
            if folds != model.n_folds:
                yield (
                    f"models.{name}.n_folds = {model.n_folds} and models.{embedded}.n_folds ="
                    f" {folds}: a fusion and its inputs need the same folds"
                )
    for embedded in config.predict.embed_models:
        if embedded not in models:
            yield _unknown_name("predict.embed_models", embedded, models)


def _unknown_name(key: str, name: str, known: list[str]) -> str:
    return f"{key} = {name!r}; choose one of {', '.join(known) or 'none: no such model'}"


def _split_problems(split: Split) -> Iterator[str]:
    if split.locked + split.holdout >= MAX_LEFT_OUT:
        yield "split: locked and holdout leave too little to train on"


def _fold_problems(key: str, model: Model, split: Split) -> Iterator[str]:
    if model.n_folds == 1 and split.holdout == 0:
        yield (
            f"{key}.n_folds = 1 gives no out-of-fold predictions, so the boosters need"
            " split.holdout above 0"
        )
    if split.n_folds % model.n_folds:
        yield f"{key}.n_folds = {model.n_folds}: 1, or a divisor of split.n_folds {split.n_folds}"


def _data_problems(data: Data) -> Iterator[str]:
    if data.test and data.test == data.train and data.source != "sample":
        yield f"data.test = {data.test!r} is data.train too: these products are labelled"
    others = ("id_column", "images_column", "group_by", "split_column")
    for key in ("id_column", "images_column") if data.source == "csv" else ():
        if not getattr(data, key).strip():
            yield f"data.{key} is empty; name the column of the table"
    if data.source in WITH_COLUMNS and data.label_column in [getattr(data, k) for k in others]:
        listed = ", ".join(others)
        yield f"data.label_column = {data.label_column!r}: another column than that of {listed}"
    if data.group_column and data.source not in WITH_COLUMNS:
        yield f"data.group_by names a column of {_sources()}; data.source is {data.source}"
    if data.corrections and data.source == "openimages":
        yield "data.corrections: labels of openimages follow from boxes; correct these"
    if data.split_column and data.source not in WITH_COLUMNS:
        yield f"data.split_column names a column of {_sources()}; data.source is {data.source}"
    if (data.classes or data.max_per_class) and data.source not in ("npy", "strokes"):
        yield (
            "data.classes and data.max_per_class are for npy and strokes; data.source is"
            f" {data.source}"
        )


def _sources() -> str:
    return f"{', '.join(WITH_COLUMNS[:-1])} or {WITH_COLUMNS[-1]}"


def _pseudo_label_problems(
    settings: PseudoLabelling, data: Data, models: dict[str, Model]
) -> Iterator[str]:
    if settings.reviewed and not data.test:
        yield "pseudo_label.reviewed: people reviewed products to classify; data.test is empty"
    if not settings.teacher:
        return
    if not data.test:
        yield "pseudo_label.teacher: a second round needs products to classify; data.test is empty"
    folds = {model.n_folds for model in models.values() if model.input == "image"}
    holdout = any(model.n_folds == 1 for model in models.values())
    for name, model in models.items():
        labelled = bool(folds) if holdout else model.n_folds in folds
        if model.input in ("mosaic", "product") and not labelled:
            yield (
                f"models.{name}: in a second round a {model.input} learns from the pseudo-labels of"
                f' models with input = "image", and none of them has n_folds = {model.n_folds}'
            )


def _stack_problems(stack: Stack) -> Iterator[str]:
    if not stack.sources:
        yield "stack.sources is empty; the boosters need at least one"
    if not stack.l2:
        yield "stack.l2 names no booster"
    if "multi" in stack.sources and not stack.multi_l2:
        yield 'stack.sources has "multi", but stack.multi_l2 names no booster'
    if stack.l4 and not stack.l3:
        yield "stack.l4 needs stack.l3"


def _blend_problems(config: Config) -> Iterator[str]:
    weights = config.model_weights
    if weights and not any(weights.values()):
        yield "models: every blend_weight is 0; at least one must be above 0"
    if config.blend.submit != "published":
        return
    stack = config.stack
    lacking = {
        "stack.sources": {"mean", "per_model", "multi"} - set(stack.sources),
        "stack.l3": set(PUBLISHED_L3) - set(stack.l3),
        "stack.multi_l2": {"xgboost"} - set(stack.multi_l2),
    }
    for key, names in lacking.items():
        if names:
            yield f'blend.submit = "published" needs {", ".join(sorted(names))} in {key}'


def _multi_label_problems(config: Config) -> Iterator[str]:
    if config.pseudo_label.reviewed:
        yield "pseudo_label.reviewed: a review knows one class a product, not multi_label"
    if config.pseudo_label.teacher:
        yield "pseudo_label.teacher: a second round knows one class an image, not multi_label"
    for name, model in config.classifiers.items():
        if model.input != "image":
            yield f'models.{name}.input = "{model.input}": clusters.multi_label reads images'
        if model.loss.hierarchy_weight or model.sampling.hard_example_weight:
            yield (
                f"models.{name}: loss.hierarchy_weight and sampling.hard_example_weight are for one"
                " class an image, not for clusters.multi_label; set 0"
            )


def _scene_problems(config: Config) -> Iterator[str]:
    if not any(config.scenes.aspect_weights):
        yield "scenes.aspect_weights: at least one weight above 0"
    if not config.scenes.sources:
        yield 'scenes.sources is empty; name one at least, or set scenes.pictures = ""'
    if not config.data.train and not config.composes_train:
        yield "data.train is empty; only composed scenes (scenes.num_images) can stand for it"
    if config.data.train and config.composes_train and not config.scenes.pictures:
        yield (
            "scenes.pictures is empty: scenes of generated pictures have classes of their own, so"
            ' set data.train = "", or scenes.num_images = 0'
        )


def _sample_problems(sample: Sample) -> Iterator[str]:
    if not any(sample.image_count_weights):
        yield "sample.image_count_weights: at least one weight above 0"
    if sample.picture_words and sample.image_size < LEAST_SIZE_OF_WORDS:
        yield (
            f"sample.picture_words: words on images of {sample.image_size} pixels cannot be read;"
            f" set sample.image_size to {LEAST_SIZE_OF_WORDS} or more"
        )
