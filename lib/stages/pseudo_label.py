"""Stage 02 of a second round: label test products with the models of the first round.

    [pseudo_label]
    teacher = "configs/fashion.toml"

The experiment of the first round (the teacher) must be trained, with the same catalog, parts and
folds. Its artifacts are only read.

Pseudo-labels for a network that excludes fold k come only from first-round hashes and networks that
also excluded fold k. No pseudo-labeller ever saw `holdout` or `locked`. Where the boosters are
trained on `holdout`, no network saw it, so all networks share one set of labels.

    work/<name>/pseudo/all                labels for all networks
    work/<name>/pseudo/fold<i>-of-<n>     labels for networks that leave out fold i of n
"""

import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.config.model import Model
from lib.config.schema import Config, as_dict, fold_names
from lib.errors import UserError
from lib.pipeline.artifact import Artifact
from lib.pipeline.experiment import Experiment, catalog_inputs
from lib.pipeline.graph import Graph
from lib.stages.extract import declare as declare_extract
from lib.stages.predict import declare as declare_predict
from lib.stages.scoring import checkpoint_path, score_images
from lib.stages.train import declare as declare_train
from lib.stages.train import label_set_name

if TYPE_CHECKING:
    import numpy as np

    from lib.data.catalog import Catalog, Splits
    from lib.features.query import Query
    from lib.inference.topk import TopK

HashRule = Callable[["Catalog", "Query"], "np.ndarray"]


def declare(graph: Graph) -> list[Artifact]:
    """The labels of this round, after the artifacts of the first round; none in a first round.

    Raises UserError if the rounds have other seeds, parts or folds.
    """
    experiment = graph.experiment
    if experiment.teacher is None:
        return []
    _check_same_parts(experiment.config, experiment.teacher.config)
    first_round = _first_round_artifacts(experiment.teacher)
    artifacts = list(first_round.values())
    test = _test_catalog(graph)
    artifacts += [artifact for artifact in test.values() if artifact.frozen]
    for model in experiment.config.classifiers.values():
        for fold in fold_names(model) if model.input == "image" else ():
            name = f"pseudo/{label_set_name(experiment.config, model, fold)}"
            if name not in graph.artifacts:
                inputs = _first_round_inputs(experiment, model, fold)
                files = {f"teacher/{name}": first_round[name] for name in inputs}
                build = partial(label_test_products, experiment, model.n_folds, fold)
                artifacts.append(_declare_labels(graph, name, build, {**test, **files}))
    return artifacts


def _declare_labels(
    graph: Graph, name: str, build: Any, files: dict[str, Artifact | Path]
) -> Artifact:
    settings = graph.experiment.config.pseudo_label
    return graph.add(
        name,
        build,
        settings={"pseudo_label": as_dict(settings, "teacher", "loss_weight", "reviewed")},
        inputs=[
            *catalog_inputs("train"),
            *(["extract/sizes/train"] if graph.experiment.needs_sizes else []),
            "extract/categories",
            "extract/splits",
        ],
        files=files,
        resumable=True,
    )


def _check_same_parts(config: Config, teacher: Config) -> None:
    ours, theirs = ((c.split, c.seed, c.stack_part) for c in (config, teacher))
    if ours != theirs:
        raise UserError(
            f"pseudo_label.teacher = {config.pseudo_label.teacher}: its seed, split or folds differ"
            f" from those of {config.name}; products that its networks were trained on would be"
            " scored here"
        )


def _first_round_artifacts(teacher: Experiment) -> dict[str, Artifact]:
    """Stages 01 to 03 of the first round, frozen."""
    graph = Graph(teacher, frozen=True)
    for declare_stage in (declare_extract, declare_train, declare_predict):
        declare_stage(graph)
    return graph.artifacts


def _test_catalog(graph: Graph) -> dict[str, Artifact]:
    """The catalog of the experiment's own test products; frozen with `--new`."""
    if graph.experiment.target is not None:
        graph = Graph(replace(graph.experiment, target=None), frozen=True)
        declare_extract(graph)
    sizes = ["extract/sizes/test"] if graph.experiment.needs_sizes else []
    return {name: graph.artifacts[name] for name in [*catalog_inputs("test"), *sizes]}


def _first_round_inputs(experiment: Experiment, model: Model, fold: str) -> list[str]:
    """The artifacts of the first round that label test products for one network."""
    config = experiment.config
    inputs = []
    for name in teacher_models(experiment, model.n_folds):
        inputs.append(f"predictions/{name}/{config.stack_part}")
        shared = config.stack_part == "holdout"
        inputs.append(f"predictions/{name}/test" if shared else f"cnn/{name}/{fold}")
    return inputs


def teacher_models(experiment: Experiment, n_folds: int) -> list[str]:
    """The first-round models that may label for networks which leave out one of `n_folds` folds.

    Raises UserError if there is none.
    """
    assert experiment.teacher is not None
    config, models = experiment.config, experiment.teacher.config.classifiers.items()
    if config.stack_part == "holdout":
        return [name for name, _ in models]
    names = [name for name, m in models if m.n_folds == n_folds and m.input == "image"]
    if not names:
        raise UserError(
            f"pseudo_label.teacher = {config.pseudo_label.teacher}: no image model there has"
            f" n_folds = {n_folds}, so none can label for a network that leaves out one of"
            f" {n_folds} folds"
        )
    return names


def label_test_products(
    experiment: Experiment, n_folds: int, fold: str, folder: Path
) -> dict[str, Any]:
    """Write the labels for the networks `fold` of models of `n_folds` folds.

    The minimal confidence is chosen on labelled products that the teachers did not see, and that
    the network will not train on. Returns facts: how many products are labelled by hash and by
    confidence, the minimal confidence, and the precision of both on those labelled products.
    """
    import numpy as np

    from lib.data.catalog import read_splits
    from lib.features.query import make_query
    from lib.stacking import pseudo_labels
    from lib.stages.read import catalog_of_part, num_classes

    assert experiment.teacher is not None
    config, teacher = experiment.config, experiment.teacher
    train, test = catalog_of_part(experiment, "train"), catalog_of_part(experiment, "test")
    splits = read_splits(experiment.path("extract/splits"))
    held_out_fold = None if config.stack_part == "holdout" else int(fold.removeprefix("fold"))
    held_out = _held_out_products(splits, n_folds, held_out_fold)
    valid, query = make_query(train, held_out), make_query(test, np.arange(len(test.product_id)))
    names = teacher_models(experiment, n_folds)
    weights = [teacher.config.models[name].blend_weight for name in names]

    classes, truth = num_classes(experiment), train.label[held_out]
    valid_topks = [_valid_topk(experiment, name, valid) for name in names]
    on_valid = pseudo_labels.predict_classes(valid, valid_topks, weights, classes)
    min_confidence = pseudo_labels.fit_min_confidence(
        *on_valid, truth, config.pseudo_label.min_precision
    )
    test_topks = [_test_topk(experiment, name, held_out_fold, test, folder) for name in names]
    on_test = pseudo_labels.predict_classes(query, test_topks, weights, classes)

    by_hash = _hash_rule(experiment, train, splits, held_out)
    hash_class = by_hash(test, query)
    labels = pseudo_labels.select_labels(query, hash_class, *on_test, min_confidence)
    labels.save(folder)
    shutil.rmtree(folder / "dumps", ignore_errors=True)
    confident = np.zeros(len(truth), bool)
    if min_confidence is not None:
        confident = on_valid[1] >= min_confidence
    return {
        "by_hash": int((labels.reason == pseudo_labels.BY_HASH).sum()),
        "by_confidence": int((labels.reason == pseudo_labels.BY_CONFIDENCE).sum()),
        "least_confidence": None if min_confidence is None else round(float(min_confidence), 4),
        "hash_precision": _precision(by_hash(train, valid), truth),
        "precision": _precision(np.where(confident, on_valid[0], -1), truth),
    }


def _held_out_products(splits: "Splits", n_folds: int, fold: int | None) -> "np.ndarray":
    """int64 products that no teacher saw, and that no network of this round will train on."""
    if fold is None:
        return splits.products("holdout")
    products = splits.products("fit")
    return products[splits.fold_of_product(n_folds)[products] == fold]


def _valid_topk(experiment: Experiment, name: str, valid: "Query") -> "TopK":
    """Predictions of a teacher for the images of held-out products."""
    import numpy as np

    from lib.inference.topk import TopK
    from lib.stages.read import read_topk

    assert experiment.teacher is not None
    topk = read_topk(experiment.teacher, name, experiment.config.stack_part)
    rows = np.searchsorted(topk.image, valid.images)
    assert np.array_equal(topk.image[rows], valid.images), "an image has no prediction"
    return TopK(valid.images, topk.classes[rows], topk.probs[rows], topk.rest[rows])


def _test_topk(
    experiment: Experiment, name: str, fold: int | None, test: "Catalog", folder: Path
) -> "TopK":
    """Predictions of a teacher for the test images: of its network `fold`, or of all (None)."""
    import numpy as np

    from lib.inference.topk import TopK
    from lib.stages.read import read_topk

    assert experiment.teacher is not None
    if fold is None:
        return read_topk(experiment.teacher, name, "test")
    model = experiment.teacher.config.models[name]
    checkpoint = checkpoint_path(experiment.teacher, name, fold_names(model)[fold])
    out = folder / "dumps" / name  # keeps finished shards: an interrupted call resumes
    out.mkdir(parents=True, exist_ok=True)
    images = np.arange(len(test.length))
    score_images(
        experiment, model, [checkpoint], test, "test", images, None, out, False, on_ranks=False
    )
    return TopK.load(out)


def _hash_rule(
    experiment: Experiment, train: "Catalog", splits: "Splits", held_out: "np.ndarray"
) -> HashRule:
    """A function from a catalog and a query to the class that all holders of a product's images
    agree on, int16 [Q], -1 for none. Held-out products do not count as holders."""
    import numpy as np

    from lib.evaluation.hash_rules import by_unanimous
    from lib.features.hashes.hash_lookup import ReferenceProducts, lookup_images

    reference = np.zeros(len(train.label), bool)
    reference[np.setdiff1d(splits.products("fit"), held_out)] = True

    def label(catalog: "Catalog", query: "Query") -> np.ndarray:
        unknown = np.full(len(query.products), -1, np.int16)
        if not experiment.config.pseudo_label.use_hashes:
            return unknown
        counts = lookup_images(
            ReferenceProducts(train, reference, np.full(len(reference), -1, np.int8)),
            catalog,
            query.images,
            np.full(len(query.images), -1, np.int8),
            hash_k=1,
            leave_one_out=catalog is train,
        )
        return by_unanimous(query, counts, unknown)

    return label


def _precision(class_id: "np.ndarray", truth: "np.ndarray") -> float | None:
    """Share of right classes among those that are not -1; None if all are."""
    labelled = class_id >= 0
    if not labelled.any():
        return None
    return round(float((class_id[labelled] == truth[labelled]).mean()), 4)
