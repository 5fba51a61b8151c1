"""The settings of an experiment, their defaults, and what follows from them.

`lib/config_file.py` reads them from TOML. `[run]` may differ between two runs without making an
artifact stale; every other setting belongs to the artifacts that it decides.
"""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
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
    max_damaged: float = 0.01  # share of rotten records above which stage 01 stops
    sha256: dict[str, str] = field(default_factory=dict)  # published digests by file name


@dataclass(frozen=True)
class Sample:
    """Dials of the catalogue that `lib/catalogue/sample.py` draws; defaults are Cdiscount's own."""

    train_products: int = 4000
    test_products: int = 1000
    classes: int = 60  # leaves of the three-level tree
    image_size: int = 64  # pixels a side
    image_counts: tuple[float, ...] = (67.0, 7.0, 3.0, 5.0)  # weights of 1, 2, 3, 4 images
    copies: float = 0.37  # share of train images that are copies of another
    conflicts: float = 0.015  # share of distinct pictures with more than one label
    test_shared: float = 0.42  # share of test products that share a picture with train
    test_unambiguous: float = 0.36  # share of test products whose shared pictures have one label
    placeholders: int = 3  # pictures shared by very many classes
    label_noise: float = 0.03  # share of products with a wrong label
    tail: float = 1.0  # Zipf exponent of the class sizes
    batch: int = 40  # mean length of a seller's run of ids with few classes
    difficulty: float = 0.5  # 0 clean drawings, 1 hardly readable


@dataclass(frozen=True)
class Split:
    """Shares of the labelled products; what is left is `fit`. `locked` is only ever scored."""

    holdout: float = 0.0
    locked: float = 0.1
    folds: int = 4  # of `fit` and, apart, of `holdout`; the boosters use them all


@dataclass(frozen=True)
class Model:
    """One network and how it is trained. The same keys in `[train]` are defaults for all."""

    network: str = "resnet18"
    weights: str = "imagenet"  # "imagenet", "none" or the path of a state dict
    folds: int = 4  # nets, each trained without its share of `fit`; 1 = one net on all of `fit`
    resize: tuple[int, int] = (180, 180)  # height, width that every picture is brought to
    crop: tuple[int, int] = (160, 160)  # height, width of the network's input, cut from `resize`
    flip: bool = True
    trainable_from: int = 0  # units (blocks, or stem and layers) before this one stay as loaded
    head_epochs: int = 1  # epochs with everything but the head frozen
    epochs: int = 5  # epochs after that with all layers that `trainable_from` leaves
    batch: int = 64
    optimizer: str = "sgd"  # "sgd" (Nesterov) or "adamw"
    lr: float = 0.05  # peak of the one-cycle schedule
    head_lr: float = 0.001  # Adam's, while the head trains alone
    weight_decay: float = 0.0005
    label_smoothing: float = 0.0
    clip_norm: float = 5.0  # of the gradient; 0 = no clipping
    precision: str = "auto"  # "auto" (bf16 on a GPU, float32 on a CPU), "bf16" or "float32"
    checkpoint: str = "last"  # which epoch predicts: "last", or "best" on the pictures left out
    seed: int = 0  # added to the experiment's seed
    weight: float = 1.0  # in the weighted means and in the published blend


@dataclass(frozen=True)
class Predict:
    views: int = 2  # 1 centre; 2 with its flip; 5 centre and corners; 10 those and their flips
    top_k: int = 20  # classes kept an image
    shard: int = 50_000  # images in one resumable piece
    embeddings: tuple[str, ...] = ()  # models whose view of each picture is kept, for neighbours
    dims: int = 128  # of a kept embedding, at most


@dataclass(frozen=True)
class Features:
    top_k: int = 5  # classes of an image and a model that become candidates and raw columns
    hash_k: int = 5  # classes of a picture's hash that do
    near_k: int = 0  # products nearest by id whose classes do
    neighbour_k: int = 5  # pictures nearest in an embedding whose classes do
    cap: int = 0  # candidates a product, at most; 0 = all
    windows: tuple[int, ...] = (50_000,)  # nearest products by |id difference| in the local priors
    alike_windows: tuple[int, ...] = (8, 32)  # nearest products by id whose looks are compared
    hashes: bool = True  # columns and candidates from pictures that are the same
    alike: bool = False  # also from pictures that only look the same (a perceptual hash)
    raw: bool = True  # the 80 raw columns of the document
    test_uses_locked: bool = True  # labels of `locked` count in the tables behind `test` features


@dataclass(frozen=True)
class Stack:
    orders: tuple[int, ...] = (1, 2)  # 1: networks averaged before the layers; 2: layers for each
    layer2: tuple[str, ...] = BOOSTERS_L2
    layer3: tuple[str, ...] = BOOSTERS_L3
    layer4: tuple[str, ...] = ()  # one more layer, on what the third says; () = none
    multi: tuple[str, ...] = ("xgboost",)  # boosters that see every CNN's columns side by side
    trees: int = 200  # boosting rounds, at most
    patience: int = 0  # rounds without gain on the folds left out after which none follow; 0 = off
    forest_trees: int = 100  # of random forest and extra trees
    learning_rate: float = 0.1
    leaves: int = 31  # of a tree, at most
    min_leaf: int = 20  # rows in a leaf, at least
    seed: int = 0  # added to the experiment's seed
    native_categories: bool = False  # XGBoost too splits class codes by sets, not by thresholds


@dataclass(frozen=True)
class Blend:
    final: str = "fitted"  # which blend is submitted: "fitted", "simple", "published"
    fit: str = "selected"  # how its weights are found: "greedy", "convex", or that of "selected"
    steps: int = 50  # rounds of the greedy selection


@dataclass(frozen=True)
class New:
    """What is said of new products (`--new FILE`), and which answers are accepted."""

    top: int = 5  # classes named for a product, best first
    precision: float = 0.95  # share of the accepted answers that is right, at least


@dataclass(frozen=True)
class Asked:
    """The new products of `--new`; made by `lib/new.py`, never read from TOML.

    path: absolute; source: what it is, as in `data.source`; slug: the name of its folder.
    """

    path: str
    source: str
    slug: str


@dataclass(frozen=True)
class Run:
    """Never part of an artifact: may change from one call to the next."""

    threads: int = 0  # 0 = all cores
    jobs: int = 0  # networks side by side on a CPU (a GPU takes one); 0 = one a thread
    device: str = "auto"  # "auto", "cpu", "cuda"
    predict_batch: int = 256


@dataclass(frozen=True)
class Config:
    name: str = "experiment"
    work: str = "work"
    seed: int = 1
    data: Data = field(default_factory=Data)
    sample: Sample = field(default_factory=Sample)
    split: Split = field(default_factory=Split)
    train: Model = field(default_factory=Model)
    models: dict[str, Model] = field(default_factory=dict)
    predict: Predict = field(default_factory=Predict)
    features: Features = field(default_factory=Features)
    stack: Stack = field(default_factory=Stack)
    blend: Blend = field(default_factory=Blend)
    new: New = field(default_factory=New)
    run: Run = field(default_factory=Run)
    asked: Asked | None = field(default=None, metadata={"setting": False})

    @property
    def folder(self) -> Path:
        return Path(self.work) / self.name

    def at(self, name: str) -> Path:
        """The folder of an artifact, as in "features/mean/test".

        With `--new`, what depends on the new products has its own place, beside the experiment's.
        """
        if self.asked is not None and depends_on_test(name):
            return self.folder / "new" / self.asked.slug / name
        return self.folder / name

    @property
    def has_test(self) -> bool:
        """Whether there are products to classify."""
        return self.asked is not None or self.data.test != ""

    @property
    def scored_parts(self) -> tuple[str, ...]:
        """The parts that are scored by what is fitted: `locked` and, if there is one, `test`."""
        return ("locked", "test") if self.has_test else ("locked",)

    @property
    def sides(self) -> tuple[str, ...]:
        """The files or folders of the catalogue."""
        return ("train", "test") if self.has_test else ("train",)

    @property
    def sources(self) -> list[str]:
        """Whose columns the stack reads: the mean's, each network's, all side by side (C13)."""
        orders, models = self.stack.orders, list(self.models)
        return [
            *(["mean"] if 1 in orders else []),
            *(models if 2 in orders else []),
            *(["multi"] if self.stack.multi else []),
        ]

    def layers(self, source: str) -> dict[str, tuple[str, ...]]:
        """The boosters of each layer of a source, lowest first."""
        stack = self.stack
        if source == "multi":
            return {"l2": stack.multi}
        layers = {"l2": stack.layer2, "l3": stack.layer3, "l4": stack.layer4}
        return {layer: boosters for layer, boosters in layers.items() if boosters}

    @property
    def stack_part(self) -> str:
        """Which labelled part trains the boosters: the one that every CNN scores out-of-fold.

        One part for all sources, not one for each: the blend needs rows that every member scored.
        """
        return "fit" if all(model.folds > 1 for model in self.models.values()) else "holdout"


def depends_on_test(name: str) -> bool:
    """Whether an artifact is made of the products to classify, not of labelled data alone."""
    return name == "submit" or name.endswith("/test")


def plain(section: Any, *skip: str) -> dict[str, Any]:
    """A dataclass as the plain dict that goes into a manifest, less the keys in `skip`."""
    values = dataclasses.asdict(section)
    return {key: value for key, value in values.items() if key not in skip}
