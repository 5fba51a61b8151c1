"""Stage 02: train every network that sees images, once or once for each fold.

    work/<name>/pseudo/<labels>       second round only: labels for test products
    work/<name>/pseudo/reviewed       the same by people, of `pseudo_label.reviewed`
    work/<name>/cnn/<model>/<fold>    last.pt, history.jsonl, and best.pt where it predicts

<fold> is `full`, or `fold<i>` for the network that leaves out fold i, and `fold<i>-images<n>` for
one of the products of n images. Models with input = "embedding" are trained in stage 03, because
they read embeddings, and so are those with input = "text".
"""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.config.model import Backbone, Model
from lib.config.schema import Config, as_dict, network_names, network_of
from lib.errors import UserError
from lib.pipeline.artifact import Artifact
from lib.pipeline.experiment import Experiment, catalog_inputs, size_inputs
from lib.pipeline.graph import Graph
from lib.stages.review import labels as reviewed
from lib.stages.review.warm_start import warm_start_file, with_warm_start

if TYPE_CHECKING:
    import numpy as np

    from lib.data.catalog import Catalog

# What a network on embeddings does not read.
OF_IMAGES = ("arch", "weights", "head", "head_rank", "dropout", "resize", "crop", "flip", "augment")
# Settings that came later. At their defaults they are in no manifest, so that networks that were
# trained before stay fresh.
ADDED = {"mosaic": ("split_at",), "fusion": ("input_dropout", "squeeze_ratio", "flip")}
ALL_FOLDS = "all"  # the set of labels that all networks may train on

NAME, SCRIPT, PARALLEL = "train", "02_train_cnn.py", True


def declare(graph: Graph) -> list[Artifact]:
    """The artifacts of this stage; in a second round its labels are declared before."""
    experiment, artifacts = graph.experiment, []
    for name, model in image_models(experiment).items():
        for network in network_names(model):
            artifacts.append(
                declare_network(
                    graph,
                    name,
                    network,
                    train_network,
                    inputs=_label_inputs(experiment, model, network_of(model, network)[0]),
                    files=start_files(model, name, network),
                )
            )
    return artifacts


def _label_inputs(experiment: Experiment, model: Model, fold: str) -> list[str]:
    labels = label_set_name(experiment.config, model, fold)
    return [
        *([f"pseudo/{labels}"] if experiment.teacher else []),
        *([reviewed.NAME] if experiment.config.pseudo_label.reviewed else []),
    ]


def declare_network(
    graph: Graph,
    name: str,
    network: str,
    build: Any,
    inputs: list[str],
    files: dict[str, Artifact | Path] | None = None,
) -> Artifact:
    """One network of a model, built by `build(experiment, name, network, folder)`."""
    experiment = graph.experiment
    _, model = network_of(experiment.config.models[name], network)
    settings: dict[str, Any] = {
        "train": _network_settings(model),
        "seed": experiment.config.seed,
    }
    if experiment.config.multi_label and model.kind == "classification":
        weight = experiment.config.clusters.unannotated_weight
        settings["label_sets"] = {"unannotated_weight": weight}
        inputs = [*inputs, *label_set_inputs()]
    if experiment.teacher:
        settings["loss_weight"] = experiment.config.pseudo_label.loss_weight
    return graph.add(
        f"cnn/{name}/{network}",
        partial(build, experiment, name, network),
        settings=settings,
        inputs=[
            *catalog_inputs("train"),
            *size_inputs(model),
            "extract/categories",
            "extract/splits",
            *inputs,
        ],
        files=files,
        resumable=True,
        on_all_ranks=True,
    )


def _network_settings(model: Model) -> dict[str, Any]:
    """The settings of a network in its manifest."""
    settings = as_dict(model, "blend_weight", *_unused_settings(model))
    for table, keys in ADDED.items():
        defaults = as_dict(type(getattr(model, table))())
        for key in keys:
            if settings.get(table, {}).get(key) == defaults[key]:
                del settings[table][key]
    return settings


def _unused_settings(model: Model) -> list[str]:
    """Settings that a network does not depend on, of those that it could have."""
    unused = ["warm_start"]  # its weights are an input
    unused += [] if model.is_watched else ["checkpoint"]
    unused += [] if model.head_lr_milestones else ["head_lr_milestones"]
    unused += [] if model.input == "mosaic" else ["mosaic"]
    unused += [] if model.input == "product" else ["image_pooling"]
    unused += [] if model.aspect.num_clusters else ["aspect"]
    unused += [] if model.kind == "segmentation" else ["kind", "segmentation"]
    unused += ["text"]  # of models that are no networks
    return unused + (list(OF_IMAGES) if model.input == "embedding" else ["fusion"])


def label_set_inputs() -> list[str]:
    """The artifacts that the sets of classes of labelled images come from."""
    return ["extract/hierarchy", "extract/clusters", "extract/boxes/train"]


def image_models(experiment: Experiment) -> dict[str, Model]:
    """The models that see images: one by one, or all of a product."""
    models = experiment.config.classifiers.items()
    return {name: model for name, model in models if model.input not in ("embedding", "text")}


def weights_file(model: Model | Backbone) -> dict[str, Artifact | Path]:
    """The user's file that a network starts from, if `weights` is a path."""
    named = model.weights not in ("imagenet", "none")
    return {"weights": Path(model.weights)} if named else {}


def start_files(model: Model, name: str, network: str) -> dict[str, Artifact | Path]:
    """The file that a network of model `name` starts from: of an earlier run, or of the user."""
    return warm_start_file(model, name, network) or weights_file(model)


def train_network(experiment: Experiment, name: str, network: str, folder: Path) -> dict[str, Any]:
    """Train one network of model `name` on `fit`, or on `fit` without its own fold.

    Raises UserError for a mosaic model with fewer than 2 training products.
    """
    import numpy as np

    from lib.data.aspect.reader import batch_shapes
    from lib.data.catalog import read_categories
    from lib.models import factory
    from lib.stages.read import catalog_of_part, read_label_sets
    from lib.stages.scoring import open_images, warn_corrupt
    from lib.training.dataset import TrainingSet, product_of_row, training_rows
    from lib.training.loaders.product_loader import create_loader
    from lib.training.trainer import train_model

    config = experiment.config
    fold, model = network_of(config.models[name], network)
    model = with_warm_start(experiment, model, name, network)
    train_products, valid_products = train_valid_products(experiment, model, fold)
    categories = read_categories(experiment.path("extract/categories"))
    catalog, weights, sides = catalog_of_part(experiment, "train"), None, ["train"]
    learns_from_test = experiment.teacher is not None or config.pseudo_label.reviewed
    if learns_from_test:
        catalog, test_products, weight = add_test_labels(experiment, model, fold, catalog)
        train_products = np.append(train_products, test_products)
        sides.append("test")
    product = product_of_row(model, catalog)
    if learns_from_test:
        weights = weight[product]
    train_rows = training_rows(model, catalog, train_products)
    _check_enough(name, model, len(train_rows))
    with open_images(experiment, model, catalog, *sides) as reader:
        shapes = batch_shapes(reader, model)
        training_set = TrainingSet(
            create_loader(reader, model),
            lambda weights: factory.create_from_config(model, len(categories), weights, shapes),
            labels=catalog.label[product],
            product=product,
            train_rows=train_rows,
            valid_rows=training_rows(model, catalog, valid_products),
            num_classes=len(categories),
            levels=categories.levels(),
            weights=weights,
            cluster=reader.cluster,
            label_sets=read_label_sets(experiment) if config.multi_label else None,
            unannotated_weight=config.clusters.unannotated_weight,
        )
        facts = train_model(folder, model, training_set, config.seed + model.seed, config.run)
        warn_corrupt(reader)
    return facts


def train_valid_products(
    experiment: Experiment, model: Model, fold: str
) -> tuple["np.ndarray", "np.ndarray"]:
    """Products of the training set and of the validation set: ascending int64 each.

    The products that the network will predict out-of-fold only show in its history. Where an
    epoch's figures decide something, a share of the training set is watched in their place.
    """
    from lib.data.catalog import read_splits
    from lib.data.splits import split_watched

    splits = read_splits(experiment.path("extract/splits"))
    products = splits.products("fit")
    if fold == "full":
        train, valid = products, splits.products("holdout")
    else:
        left_out = splits.fold_of_product(model.n_folds)[products] == int(fold.removeprefix("fold"))
        train, valid = products[~left_out], products[left_out]
    if model.is_watched:
        return split_watched(train, splits.group, experiment.config.seed + model.seed)
    return train, valid


def _check_enough(name: str, model: Model, num_products: int) -> None:
    if model.input == "mosaic" and num_products < 2:
        low, high = model.mosaic.min_images, model.mosaic.max_images or "any number of"
        raise UserError(
            f"models.{name}.mosaic: {num_products} products of {low} to {high} images are left to"
            " train on; widen min_images and max_images"
        )


def label_set_name(config: Config, model: Model, fold: str) -> str:
    """The set of pseudo-labels for one network: `all`, or as in `fold0-of-4`."""
    return ALL_FOLDS if config.stack_part == "holdout" else f"{fold}-of-{model.n_folds}"


def add_test_labels(
    experiment: Experiment, model: Model, fold: str, labelled: "Catalog"
) -> tuple["Catalog", "np.ndarray", "np.ndarray"]:
    """The labelled catalog followed by the test catalog, with the labels for one network.

    Also returns the rows of test products that have a label, int64, ascending; and the weight of
    each product, float64. What a person says goes before a pseudo-label.
    """
    import numpy as np

    from lib.data.catalog import concat_catalogs
    from lib.stacking.pseudo_labels import PseudoLabels
    from lib.stages.read import catalog_of_part

    test, settings = catalog_of_part(experiment, "test"), experiment.config.pseudo_label
    label, weight = np.full(len(test.product_id), -1, np.int16), np.ones(len(test.product_id))
    if experiment.teacher:
        name = label_set_name(experiment.config, model, fold)
        pseudo = PseudoLabels.load(experiment.path(f"pseudo/{name}"))
        label[pseudo.product], weight[pseudo.product] = pseudo.class_id, settings.loss_weight
    if settings.reviewed:
        people = reviewed.ReviewedLabels.load(experiment.path(reviewed.NAME))
        may_train = people.for_network(model.n_folds, fold)
        label[people.product] = np.where(may_train, people.class_id, -1)
        weight[people.product] = 1
    catalog, start = concat_catalogs(labelled, test), len(labelled.product_id)
    catalog.label[start:] = label
    return catalog, start + np.flatnonzero(label >= 0), np.append(np.ones(start), weight)
