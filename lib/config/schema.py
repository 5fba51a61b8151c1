"""The settings of an experiment, their defaults, and what follows from them.

`lib/config/load.py` reads them from TOML. `[run]` may differ between two runs without making an
artifact stale; every other setting belongs to the artifacts that it decides.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

BOOSTERS_L2 = ("xgboost", "lightgbm", "catboost", "random_forest", "extra_trees")
BOOSTERS_L3 = ("xgboost", "lgbm_1", "lgbm_2", "lgbm_3")
RANKERS = ("lambdarank", "xgb_rank")  # learn the order of a product's candidates
BOOSTERS = tuple(dict.fromkeys((*BOOSTERS_L2, *BOOSTERS_L3, *RANKERS)))


@dataclass(frozen=True)
class Data:
    """Where the catalogue lies, and what it is.

    source  what `train` and `test` are
    bson    BSON files of Cdiscount's kind
    csv     tables of one row a product, which name its pictures
    folders folders of pictures; in `train` one folder a class, nested ones are levels
    npy     folders of <class>.npy, uint8 [n, h, w] or [n, h * h], each row a product
    strokes folders of <class>.ndjson, simplified drawings of Quick, Draw!, each a product
    sample  stage 01 draws a catalogue from [sample]
    """

    source: str = "bson"
    root: str = "."  # folder that the names below are relative to
    train: str = "train.bson"
    test: str = "test.bson"  # the products to classify; "" = none, only the ladder is made
    categories: str = "category_names.csv"  # of bson; the other sources have their own
    id_column: str = "product"  # of a csv: any text, unique; whole numbers serve as a feature too
    label_column: str = "category"  # a path such as Men/Tops/Tees, or any text
    images_column: str = "images"  # names of pictures, separated by |
    images_root: str = ""  # folder they are relative to; "" = images beside the csv, else its own
    group_by: str = ""  # column whose equal values stay in one part and fold; "" = none
    classes: tuple[str, ...] = ()  # of npy and strokes: these classes alone; () = all
    max_per_class: int = 0  # of npy and strokes: the first so many of each class; 0 = all
    bitmap_size: int = 28  # of strokes: pixels a side of the pictures that they are made into
    max_bad_fraction: float = 0.01  # share of rotten records above which stage 01 stops
    sha256: dict[str, str] = field(default_factory=dict)  # published digests by file name


@dataclass(frozen=True)
class Sample:
    """Dials of the catalogue that `lib/data/synthetic/catalog.py` draws; defaults are Cdiscount's
    own."""

    train_products: int = 4000
    test_products: int = 1000
    num_classes: int = 60  # leaves of the three-level tree
    image_size: int = 64  # pixels a side
    image_count_weights: tuple[float, ...] = (67.0, 7.0, 3.0, 5.0)  # weights of 1, 2, 3, 4 images
    duplicate_fraction: float = 0.37  # share of train images that are copies of another
    conflict_fraction: float = 0.015  # share of distinct pictures with more than one label
    test_shared_fraction: float = 0.42  # share of test products that share a picture with train
    test_unambiguous_fraction: float = (
        0.36  # share of test products whose shared pictures have one label
    )
    num_placeholders: int = 3  # pictures shared by very many classes
    label_noise: float = 0.03  # share of products with a wrong label
    zipf_exponent: float = 1.0  # Zipf exponent of the class sizes
    run_length: int = 40  # mean length of a seller's run of ids with few classes
    difficulty: float = 0.5  # 0 clean drawings, 1 hardly readable


@dataclass(frozen=True)
class PseudoLabelling:
    """A second round: test products that the round before is sure of join the training (C15)."""

    teacher: str = (
        ""  # the config of the round before, relative to this folder; "" = no second round
    )
    min_precision: float = 0.97  # share of the labels by confidence that is right, at least
    loss_weight: float = 0.5  # of such a picture in the loss; a labelled one has 1
    use_hashes: bool = True  # also products whose pictures labelled products hold, all of one class


@dataclass(frozen=True)
class Split:
    """Shares of the labelled products; what is left is `fit`. `locked` is only ever scored."""

    holdout: float = 0.0
    locked: float = 0.1
    n_folds: int = 4  # of `fit` and, apart, of `holdout`; the boosters use them all


@dataclass(frozen=True)
class LRSchedule:
    """How the learning rate of the body goes, from `lr`, its peak.

    cosine    down along `cycles` cosines, each from the peak; after a warm-up
    one_cycle the same, and the momentum goes the other way round
    cyclical  up and down in `cycles` triangles
    plateau   times `factor` whenever the watched loss has not fallen for `patience` epochs
    multistep by the body's epochs: [[0, 3e-4], [7, 1e-4]] is 1e-4 from the eighth on
    constant
    """

    kind: str = "cosine"
    warmup_fraction: float = 0.25  # share of the steps in which the rate first rises in a line
    num_cycles: int = 1
    min_lr_ratio: float = 0.0  # share of the peak that cosines and triangles end at
    plateau_factor: float = 0.1
    plateau_patience: int = 1
    milestones: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Augment:
    """How training pictures are altered at most, beside the random place of the crop and `flip`.

    An epoch's strength goes from 0 (none of this) to 1: it is the share of each range, and of the
    shares of pictures, that is in use.
    """

    min_area: float = 1.0  # share of the crop that is shown at least, enlarged to all of it
    max_stretch: float = (
        0.0  # share by which what is shown is taller or wider than the crop, at most
    )
    max_rotation: float = 0.0  # degrees either way, at most
    rot90: bool = False  # by 0, 90, 180 or 270 degrees
    brightness: float = 0.0  # times 1 +- this, at most; so are the next two
    contrast: float = 0.0  # distance from the mean grey of the picture
    saturation: float = 0.0  # distance from the grey of the pixel
    grayscale_prob: float = 0.0  # share of pictures shown without colour
    erase_prob: float = 0.0  # share of pictures in which a rectangle is blotted out
    no_aug_epochs: int = 0  # last epochs of strength 0
    ramp_epochs: int = 0  # first epochs of the body, in which the strength rises to 1
    ramp_start: float = 0.0  # strength that it rises from


@dataclass(frozen=True)
class Loss:
    """Cross-entropy, and what is added to it."""

    label_smoothing: float = 0.0  # of the labels
    focal_gamma: float = 0.0  # exponent of (1 - p): what is learnt already counts less
    mixup_alpha: float = 0.0  # parameter of the Beta that two pictures are mixed by; 0 = none
    hierarchy_weight: float = (
        0.0  # weight of the same loss on the two upper levels of the category tree
    )


@dataclass(frozen=True)
class Sampling:
    """Which pictures an epoch shows."""

    class_balance: float = 0.0  # weight n ** -balance for a class of n: 0 as they are, 1 all alike
    one_image_per_product: bool = False  # one picture of each product, drawn anew for every epoch
    hard_example_weight: float = 0.0  # weight 1 + hard * (1 - p of the true class when last seen)


@dataclass(frozen=True)
class WeightAveraging:
    """A mean of the weights along the way, which then is what predicts.

    ema  of the last 1 / (1 - decay) steps or so
    swa  of the ends of the epochs from `swa_start` on; the batch norms are measured anew
    """

    kind: str = "none"
    ema_decay: float = 0.999
    swa_start: float = 0.75  # share of the body's epochs


@dataclass(frozen=True)
class Fusion:
    """A network on the embeddings of a product's pictures (input = "embedding").

    It has a head and dropout of its own and sees no pictures: `head`, `dropout`, `flip`, `augment`
    and `weights` of its model mean nothing. Of a second round it learns through its members alone.
    """

    inputs: tuple[str, ...] = ()  # models and backbones whose embeddings stand side by side
    hidden_sizes: tuple[int, ...] = (1024, 512)  # sizes of the hidden layers
    dropout: float = 0.5
    pooling: str = "sum"  # how the pictures of a product come together: "sum" or "max"
    squeeze_excitation: bool = (
        True  # each picture's values are weighed first (squeeze and excitation)
    )


@dataclass(frozen=True)
class Mosaic:
    """Which products train a model with input = "mosaic" (T1), by how many pictures they have.

    It scores all of them: one of a single picture as that picture, one of more than four by the
    first four. Crops, flips and turns, in training and in views, are of the mosaic as a whole.
    """

    min_images: int = 1
    max_images: int = 0  # 0 = any number


@dataclass(frozen=True)
class Backbone:
    """A network that is never trained: models with input = "embedding" read its embeddings."""

    arch: str = "resnet50"
    weights: str = "imagenet"
    resize: tuple[int, int] = (180, 180)
    crop: tuple[int, int] = (160, 160)
    precision: str = "auto"


@dataclass(frozen=True)
class Model:
    """One network and how it is trained. The same keys in `[train]` are defaults for all."""

    input: str = "image"  # or "mosaic" (all images of a product in one), or "embedding"
    arch: str = "resnet18"
    weights: str = "imagenet"  # "imagenet", "none" or the path of a state dict
    head: str = "linear"  # "linear", or "wide": two more layers as wide as there are classes
    head_rank: int = 0  # of a wide head's matrices; 0 = full
    dropout: float = 0.0  # before the head's last layers
    n_folds: int = 4  # nets, each trained without its share of `fit`; 1 = one net on all of `fit`
    resize: tuple[int, int] = (180, 180)  # height, width that every picture is brought to
    crop: tuple[int, int] = (160, 160)  # height, width of the network's input, cut from `resize`
    flip: bool = True
    freeze_until: int = 0  # units (blocks, or stem and layers) before this one stay as loaded
    unfreeze_schedule: tuple[
        int, ...
    ] = ()  # the same, by epoch of the body, the last for all that follow
    head_only_epochs: int = 1  # epochs with everything but the head frozen
    epochs: int = 5  # epochs after that with all layers that `freeze_until` leaves
    batch_size: int = 64
    batch_size_schedule: tuple[
        tuple[int, int], ...
    ] = ()  # [[2, 128]]: 128 from the body's third epoch on
    grad_accum_steps: int = 1  # pieces of a batch that pass one by one: the memory of one piece
    optimizer: str = "sgd"  # "sgd" (Nesterov) or "adamw"
    lr: float = 0.05  # peak of the schedule in `rate`
    head_lr: float = 0.001  # Adam's, while the head trains alone
    weight_decay: float = 0.0005
    clip_grad_norm: float = 5.0  # of the gradient; 0 = no clipping
    precision: str = "auto"  # "auto" (bf16 on a GPU, float32 on a CPU), "bf16" or "float32"
    compile: bool = False  # torch.compile: minutes at the start, faster steps after
    checkpoint: str = "last"  # which epoch predicts: "last", or "best" on the pictures left out
    seed: int = 0  # added to the experiment's seed
    blend_weight: float = 1.0  # in the weighted means and in the published blend
    lr_schedule: LRSchedule = field(default_factory=LRSchedule)
    augment: Augment = field(default_factory=Augment)
    loss: Loss = field(default_factory=Loss)
    sampling: Sampling = field(default_factory=Sampling)
    weight_average: WeightAveraging = field(default_factory=WeightAveraging)
    fusion: Fusion = field(default_factory=Fusion)
    mosaic: Mosaic = field(default_factory=Mosaic)


@dataclass(frozen=True)
class Predict:
    tta_views: int = 2  # 1 centre; 2 with its flip; 5 centre and corners; 10 those and their flips
    tta_mean: str = (
        "arithmetic"  # of the views and networks of a model: "arithmetic" or "geometric"
    )
    top_k: int = 20  # classes kept an image
    shard_size: int = 50_000  # images in one resumable piece
    embed_models: tuple[str, ...] = ()  # models whose view of each picture is kept, for neighbours
    embedding_dim: int = 128  # of a kept embedding, at most


@dataclass(frozen=True)
class Features:
    top_k: int = 5  # classes of an image and a model that become candidates and raw columns
    hash_k: int = 5  # classes of a picture's hash that do
    id_neighbors: int = 0  # products nearest by id whose classes do
    knn_k: int = 5  # pictures nearest in an embedding whose classes do
    max_candidates: int = 0  # candidates a product, at most; 0 = all
    id_windows: tuple[int, ...] = (
        50_000,
    )  # nearest products by |id difference| in the local priors
    similar_id_windows: tuple[int, ...] = (8, 32)  # nearest products by id whose looks are compared
    use_md5: bool = True  # columns and candidates from pictures that are the same
    use_phash: bool = False  # also from pictures that only look the same (a perceptual hash)
    use_raw_topk: bool = True  # the 80 raw columns of the document
    test_uses_locked: bool = True  # labels of `locked` count in the tables behind `test` features


@dataclass(frozen=True)
class Stack:
    sources: tuple[str, ...] = ("mean", "per_model", "multi")  # whose columns the boosters see
    l2: tuple[str, ...] = BOOSTERS_L2
    l3: tuple[str, ...] = BOOSTERS_L3
    l4: tuple[str, ...] = ()  # one more layer, on what the third says; () = none
    multi_l2: tuple[str, ...] = ("xgboost",)  # boosters that see every CNN's columns side by side
    n_estimators: int = 200  # boosting rounds, at most
    early_stopping_rounds: int = (
        0  # rounds without gain on the folds left out after which none follow; 0 = off
    )
    forest_n_estimators: int = 100  # of random forest and extra trees
    learning_rate: float = 0.1
    num_leaves: int = 31  # of a tree, at most
    min_data_in_leaf: int = 20  # rows in a leaf, at least
    seed: int = 0  # added to the experiment's seed
    native_categories: bool = False  # XGBoost too splits class codes by sets, not by thresholds


@dataclass(frozen=True)
class Blend:
    submit: str = "fitted"  # which blend is submitted: "fitted", "simple", "published"
    method: str = "selected"  # how its weights are found: "greedy", "convex", or that of "selected"
    greedy_steps: int = 50  # rounds of the greedy selection


@dataclass(frozen=True)
class Inference:
    """What is said of new products (`--new FILE`), and which answers are accepted."""

    top_k: int = 5  # classes named for a product, best first
    min_precision: float = 0.95  # share of the accepted answers that is right, at least


@dataclass(frozen=True)
class Run:
    """Never part of an artifact: may change from one call to the next."""

    threads: int = 0  # 0 = all cores
    workers: int = 0  # networks side by side on a CPU (a GPU takes one); 0 = one a thread
    device: str = "auto"  # "auto", "cpu", "cuda"
    predict_batch_size: int = 256


@dataclass(frozen=True)
class Config:
    name: str = "experiment"
    work: str = "work"
    seed: int = 1
    data: Data = field(default_factory=Data)
    sample: Sample = field(default_factory=Sample)
    split: Split = field(default_factory=Split)
    pseudo_label: PseudoLabelling = field(default_factory=PseudoLabelling)
    train: Model = field(default_factory=Model)
    backbones: dict[str, Backbone] = field(default_factory=dict)
    models: dict[str, Model] = field(default_factory=dict)
    predict: Predict = field(default_factory=Predict)
    features: Features = field(default_factory=Features)
    stack: Stack = field(default_factory=Stack)
    blend: Blend = field(default_factory=Blend)
    inference: Inference = field(default_factory=Inference)
    run: Run = field(default_factory=Run)

    @property
    def model_weights(self) -> dict[str, float]:
        """The weight of each model in the weighted means and in the published blend."""
        return {name: model.blend_weight for name, model in self.models.items()}

    @property
    def fused(self) -> set[str]:
        """The models and backbones whose embeddings a fusion reads."""
        return {name for model in self.models.values() for name in model.fusion.inputs}

    @property
    def embedded(self) -> list[str]:
        """The models and backbones that embed every picture: for neighbours, or for a fusion."""
        wanted = {*self.predict.embed_models, *self.fused}
        return [name for name in (*self.backbones, *self.models) if name in wanted]

    def nets_of(self, name: str) -> list[str]:
        """Folder names of the networks of a model, or of a backbone's only one."""
        return nets(self.models[name]) if name in self.models else ["frozen"]

    @property
    def sources(self) -> list[str]:
        """Whose columns the stack reads: the mean's, each network's, all side by side (C13)."""
        sources, models = self.stack.sources, list(self.models)
        return [
            *(["mean"] if "mean" in sources else []),
            *(models if "per_model" in sources else []),
            *(["multi"] if "multi" in sources else []),
        ]

    def layers(self, source: str) -> dict[str, tuple[str, ...]]:
        """The boosters of each layer of a source, lowest first."""
        stack = self.stack
        if source == "multi":
            return {"l2": stack.multi_l2}
        layers = {"l2": stack.l2, "l3": stack.l3, "l4": stack.l4}
        return {layer: boosters for layer, boosters in layers.items() if boosters}

    @property
    def stack_part(self) -> str:
        """Which labelled part trains the boosters: the one that every CNN scores out-of-fold.

        One part for all sources, not one for each: the blend needs rows that every member scored.
        """
        return "fit" if all(model.n_folds > 1 for model in self.models.values()) else "holdout"


def nets(model: Model) -> list[str]:
    """Folder names of a model's networks: `full`, or one for each fold left out."""
    return ["full"] if model.n_folds == 1 else [f"fold{i}" for i in range(model.n_folds)]


def plain(section: Any, *skip: str) -> dict[str, Any]:
    """A dataclass as the plain dict that goes into a manifest, less the keys in `skip`."""
    values = dataclasses.asdict(section)
    return {key: value for key, value in values.items() if key not in skip}
