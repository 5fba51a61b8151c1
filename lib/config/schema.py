"""All settings of an experiment, with their defaults.

`lib/config/load.py` reads them from TOML; `python -m lib.config` prints this reference. `[run]` may
differ between two runs without making an artifact stale; every other setting belongs to the
artifacts that depend on it.
"""

from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Any, Literal, get_args

from lib.config.clusters import Clusters
from lib.config.data import Data, Sample
from lib.config.inputs.ocr import Ocr
from lib.config.inputs.text import TextEncoder
from lib.config.model import Backbone, Model
from lib.config.scenes import Scenes
from lib.config.setting import (
    BatchSize,
    BelowOne,
    Cluster,
    Distinct,
    DistinctStrs,
    FolderName,
    Fraction,
    NonEmptyStr,
    NonNegativeInt,
    NumClasses,
    PositiveFraction,
    PositiveInt,
    Precision,
    Range,
    Threads,
    Trees,
    UpTo1000,
    Windows,
    setting,
)

# lib/stacking/boosters/registry.py implements exactly these; the default layers name their own.
BoosterName = Literal[
    "xgboost",
    "lightgbm",
    "catboost",
    "random_forest",
    "extra_trees",
    "lgbm_deep",
    "lgbm_extra",
    "lgbm_shallow",
    "lambdarank",
    "xgb_rank",
]
BOOSTERS: tuple[BoosterName, ...] = get_args(BoosterName)
BOOSTERS_L2: tuple[BoosterName, ...] = BOOSTERS[:5]  # one of each kind
BOOSTERS_L3: tuple[BoosterName, ...] = ("xgboost", "lgbm_deep", "lgbm_extra", "lgbm_shallow")
RANKERS: tuple[BoosterName, ...] = ("lambdarank", "xgb_rank")  # they rank a product's candidates
GROUP_MARK = "-images"  # in the name of a network, before the fewest images of its products
Boosters = Annotated[tuple[BoosterName, ...], Distinct()]


@dataclass(frozen=True)
class Split:
    """Fractions of the labelled products; the rest is `fit`. `locked` is only ever scored."""

    holdout: BelowOne = setting(0.0, "Fraction for the boosters if models have n_folds = 1.")
    locked: Annotated[float, Range(above=0, below=1)] = setting(
        0.1, "Fraction for the final figures, which nothing is fitted to."
    )
    n_folds: Annotated[int, Range(min=2, max=100)] = setting(
        4, "Folds of `fit` and, separately, of `holdout`; the boosters use all of them."
    )


@dataclass(frozen=True)
class PseudoLabelling:
    """Networks also train on test products: those that a first round is sure of, or people are."""

    teacher: str = setting("", "Config of the first round, from this folder; empty = no round.")
    min_precision: Precision = setting(0.97, "Precision that labels by confidence must reach.")
    loss_weight: PositiveFraction = setting(
        0.5, "Weight of a pseudo-labelled image in the loss; a labelled image has 1."
    )
    use_hashes: bool = setting(
        True, "Also label products whose images occur in labelled products of one class only."
    )
    reviewed: str = setting(
        "", "Table of product and class, answers.csv of --review, from this folder; empty = none."
    )


@dataclass(frozen=True)
class Predict:
    """Predictions and embeddings of the trained networks."""

    tta_views: Literal[1, 2, 5, 10] = setting(
        2, "Views of an image: centre; and its mirror; or centre and corners; and their mirrors."
    )
    tta_mean: Literal["arithmetic", "geometric"] = setting(
        "arithmetic", "Mean of the probabilities over views and fold models."
    )
    top_k: NumClasses = setting(20, "Classes kept for an image.")
    shard_size: BatchSize = setting(50_000, "Images in a shard, after which a run can resume.")
    embed_models: DistinctStrs = setting((), "Models whose embeddings give k-NN features.")
    embedding_dim: PositiveInt = setting(128, "Largest size of a stored embedding.")


@dataclass(frozen=True)
class Features:
    """Candidate rows (product, class) and their columns."""

    top_k: NumClasses = setting(5, "Classes of an image and a model that become candidates.")
    hash_k: UpTo1000 = setting(5, "Classes of an image's hash that become candidates.")
    id_neighbors: UpTo1000 = setting(0, "Products nearest by id whose classes become candidates.")
    knn_k: UpTo1000 = setting(5, "Images nearest by embedding whose classes become candidates.")
    attribute_k: UpTo1000 = setting(2, "Classes of a product's brand, or the like, that do so too.")
    max_candidates: NonNegativeInt = setting(0, "Most candidates of a product; 0 = no limit.")
    id_windows: Windows = setting(
        (50_000,), "Numbers of products nearest by id; each gives local class priors."
    )
    similar_id_windows: Windows = setting(
        (8, 32), "Numbers of products nearest by id whose embeddings are compared."
    )
    use_md5: bool = setting(True, "Use identical images (equal MD5) for candidates and columns.")
    use_phash: bool = setting(False, "Also use similar images (equal perceptual hash).")
    use_raw_topk: bool = setting(True, "Add the 80 raw columns: top classes, hashes, frequencies.")
    test_uses_locked: bool = setting(True, "Labels of `locked` count in the features of `test`.")


@dataclass(frozen=True)
class Stack:
    """Layers of boosters on the candidate rows; each layer reads the scores of the layers below."""

    sources: Annotated[tuple[Literal["mean", "per_model", "multi"], ...], Distinct()] = setting(
        ("mean", "per_model", "multi"),
        "Columns of the mean of all models, of each model apart, of all models side by side.",
    )
    l2: Boosters = setting(BOOSTERS_L2, "Boosters of the second layer; the networks are the first.")
    l3: Boosters = setting(BOOSTERS_L3, "Boosters on the scores of l2.")
    l4: Boosters = setting((), "Boosters on the scores of l3; empty = none.")
    multi_l2: Boosters = setting(("xgboost",), "Boosters of the multi source.")
    n_estimators: Trees = setting(200, "Boosting rounds, at most.")
    early_stopping_rounds: NonNegativeInt = setting(
        0, "Rounds without a lower out-of-fold loss after which boosting stops; 0 = never."
    )
    forest_n_estimators: Trees = setting(100, "Trees of random_forest and extra_trees.")
    learning_rate: PositiveFraction = setting(0.1, "Learning rate of the boosters.")
    num_leaves: Annotated[int, Range(min=2, max=131_072)] = setting(31, "Most leaves of a tree.")
    min_data_in_leaf: PositiveInt = setting(20, "Rows of a leaf, at least.")
    seed: NonNegativeInt = setting(0, "Added to the experiment's seed.")
    native_categories: bool = setting(
        False, "XGBoost splits class codes by sets instead of thresholds."
    )


@dataclass(frozen=True)
class Blend:
    """Which blend of all scores is submitted, and how its weights are fitted."""

    submit: Literal["fitted", "simple", "published"] = setting(
        "fitted",
        "Fitted weights, a plain mean of all boosters, or the weights of the 5th place.",
    )
    method: Literal["greedy", "convex", "selected", "shrunk"] = setting(
        "selected",
        "Greedy selection, least loss, least loss of members that help other folds; or the last"
        " drawn towards the mean as far as the folds do not speak against it.",
    )
    greedy_steps: Annotated[int, Range(min=1, max=10_000)] = setting(
        50, "Rounds of the greedy selection."
    )


@dataclass(frozen=True)
class Inference:
    """Predictions for new products (`--new FILE`), and when they are accepted."""

    top_k: NumClasses = setting(5, "Classes listed for a product, best first.")
    min_precision: Precision = setting(0.95, "Precision that accepted predictions must reach.")


@dataclass(frozen=True)
class Cascade:
    """Boxes by models with kind = "segmentation": the classifiers say which of them see an image.

    A model with `segmentation.clusters` sees the images of its clusters. A model without sees every
    image; where there are both, it is only compared with the others, on the locked part.
    """

    top_k: NumClasses = setting(3, "Most probable clusters of an image whose models see it.")
    min_prob: Fraction = setting(0.05, "Least probability of the second and further of them.")
    threshold: Fraction = setting(0.4, "Least value of a cell that belongs to an object.")
    min_cells: Annotated[int, Range(min=1, max=1000)] = setting(1, "Cells of an object, at least.")
    max_boxes: NumClasses = setting(100, "Boxes of an image, at most.")


@dataclass(frozen=True)
class Run:
    """How this machine is used; may change at any time, and is part of no artifact."""

    threads: Threads = setting(0, "CPU threads; 0 = all cores.")
    workers: Threads = setting(
        0, "Networks trained side by side on a CPU, one on each GPU; 0 = one a thread."
    )
    cluster: Cluster = setting("", "Dask scheduler, tcp://host:8786, or local:N; empty = none.")
    device: Literal["auto", "cpu", "cuda"] = setting("auto", "auto is a GPU where there is one.")
    predict_batch_size: BatchSize = setting(
        256, "Images in a batch of prediction; on a CPU at most 32, which take least time."
    )
    report: bool = setting(True, "Whether stage 06 draws the report of a run.")
    tensorboard: bool = setting(False, "Whether training writes event files for TensorBoard.")
    time_limit: Annotated[int, Range(min=0, max=31_536_000)] = setting(
        0, "Seconds that a run planned by --data may take; 0 = no limit. Other configs ignore it."
    )
    quality: Literal["fast", "good", "best"] = setting(
        "best",
        "Plan of --data: of ten minutes, the shortest that is nearly the best, or the best.",
    )


@dataclass(frozen=True)
class Config:
    """One experiment."""

    name: FolderName = setting("experiment", "Name of the experiment and of its folder.")
    work: NonEmptyStr = setting("work", "Folder of all experiments.")
    seed: NonNegativeInt = setting(1, "Seed of everything that is random.")
    data: Data = field(default_factory=Data)
    sample: Sample = field(default_factory=Sample)
    scenes: Scenes = field(default_factory=Scenes)
    clusters: Clusters = field(default_factory=Clusters)
    ocr: Ocr = field(default_factory=Ocr)
    split: Split = field(default_factory=Split)
    pseudo_label: PseudoLabelling = field(default_factory=PseudoLabelling)
    train: Model = field(default_factory=Model)
    backbones: dict[str, Backbone] = field(default_factory=dict)
    text_encoders: dict[str, TextEncoder] = field(default_factory=dict)
    models: dict[str, Model] = field(default_factory=dict)
    predict: Predict = field(default_factory=Predict)
    features: Features = field(default_factory=Features)
    stack: Stack = field(default_factory=Stack)
    blend: Blend = field(default_factory=Blend)
    inference: Inference = field(default_factory=Inference)
    cascade: Cascade = field(default_factory=Cascade)
    run: Run = field(default_factory=Run)

    @property
    def classifiers(self) -> dict[str, Model]:
        """The models that classify products."""
        return {n: m for n, m in self.models.items() if m.kind == "classification"}

    @property
    def segmenters(self) -> dict[str, Model]:
        """The models that draw coarse masks."""
        return {n: m for n, m in self.models.items() if m.kind == "segmentation"}

    @property
    def multi_label(self) -> bool:
        """Whether a product has a set of classes, and no single one."""
        return self.data.source == "openimages" and self.clusters.multi_label

    @property
    def composes_train(self) -> bool:
        """Whether composed scenes are among the labelled images."""
        return self.data.source == "openimages" and self.scenes.num_images > 0

    @property
    def composes_test(self) -> bool:
        """Whether composed scenes are the images to classify."""
        is_used = self.data.source == "openimages" and not self.data.test
        return is_used and self.scenes.num_test_images > 0

    @property
    def model_weights(self) -> dict[str, float]:
        """The weight of each model in means over models and in the published blend."""
        return {name: model.blend_weight for name, model in self.classifiers.items()}

    @property
    def fusion_inputs(self) -> set[str]:
        """The models, backbones and text encoders whose embeddings a fusion reads."""
        return {name for model in self.models.values() for name in model.fusion.inputs}

    @property
    def mirrored_inputs(self) -> set[str]:
        """Those of them whose embeddings of mirrored images a fusion reads too."""
        return {n for m in self.models.values() if m.fusion.flip for n in m.fusion.inputs}

    @property
    def embedding_models(self) -> list[str]:
        """The models and backbones that embed every image, for k-NN features or for a fusion."""
        names = {*self.predict.embed_models, *self.fusion_inputs}
        return [name for name in (*self.backbones, *self.models) if name in names]

    def network_names_of(self, name: str) -> list[str]:
        """Folder names of the networks of a model, or of the one network of anything else."""
        return network_names(self.models[name]) if name in self.models else ["frozen"]

    @property
    def sources(self) -> list[str]:
        """The sources of feature columns: "mean", the name of each model, "multi"."""
        chosen = self.stack.sources
        return [
            *(["mean"] if "mean" in chosen else []),
            *(self.classifiers if "per_model" in chosen else []),
            *(["multi"] if "multi" in chosen else []),
        ]

    def layers(self, source: str) -> dict[str, tuple[str, ...]]:
        """The boosters of each layer of a source, lowest layer first."""
        stack = self.stack
        if source == "multi":
            return {"l2": stack.multi_l2}
        layers: dict[str, tuple[str, ...]] = {"l2": stack.l2, "l3": stack.l3, "l4": stack.l4}
        return {layer: boosters for layer, boosters in layers.items() if boosters}

    @property
    def stack_part(self) -> str:
        """The labelled part that trains the boosters: every model scores it out-of-fold.

        It is the same for all sources, because the blend needs rows that every member scored.
        """
        return "fit" if all(m.n_folds > 1 for m in self.classifiers.values()) else "holdout"


def fold_names(model: Model) -> list[str]:
    """The folds that networks leave out, as in `fold0`; `full` if none is left out."""
    return ["full"] if model.n_folds == 1 else [f"fold{i}" for i in range(model.n_folds)]


def network_names(model: Model) -> list[str]:
    """Folder names of a model's networks: one for each fold that is left out.

    Of mosaics that are split, one for each group and fold, as in `fold0-images2` for products of
    two images; the folds of the first group come first.
    """
    if not model.mosaic.split_at:
        return fold_names(model)
    firsts = [first for first, _ in model.mosaic.groups]
    return [f"{fold}{GROUP_MARK}{first}" for first in firsts for fold in fold_names(model)]


def network_of(model: Model, name: str) -> tuple[str, Model]:
    """The fold that a network leaves out, and its settings: those of its own group alone."""
    fold, _, first = name.partition(GROUP_MARK)
    if not first:
        return fold, model
    return fold, replace(model, mosaic=model.mosaic.of_group(int(first)))


def as_dict(settings: Any, *skip: str) -> dict[str, Any]:
    """A dataclass of settings as the dict that goes into a manifest, without the keys in `skip`."""
    return {key: value for key, value in asdict(settings).items() if key not in skip}
