"""Read what earlier stages wrote: catalogs, top-k predictions, candidate rows, booster scores."""

import json
from typing import NamedTuple

import numpy as np

from lib.data.catalog import Catalog, read_catalog, read_categories
from lib.data.sources.source_files import image_path
from lib.inference.topk import TopK
from lib.pipeline.experiment import Experiment, side_of


class Member(NamedTuple):
    """A booster that takes part in blends, as in ("mean", "l2", "xgboost")."""

    source: str
    layer: str
    booster: str


class CandidateRows(NamedTuple):
    """The candidate rows of a part.

    product: int32 [R], ascending; class_id: int16 [R]; fold: int8 [R], -1 for none.
    target: int8 [R], 1 if the class is the product's own, else 0; -1 in the test part.
    """

    product: np.ndarray
    class_id: np.ndarray
    fold: np.ndarray
    target: np.ndarray


def catalog_of_part(experiment: Experiment, part: str) -> Catalog:
    """The catalog that holds the products of a part: the test side for "test", else train."""
    side = side_of(part)
    return read_catalog(experiment.path(f"extract/{side}"), image_path(experiment, side))


def num_classes(experiment: Experiment) -> int:
    """The number of categories."""
    return len(read_categories(experiment.path("extract/categories")))


def read_topk(experiment: Experiment, model: str, part: str, prefix: str = "tta") -> TopK:
    """Top-k predictions of a model; prefix "tta" for all views, "center" for the center view."""
    return TopK.load(experiment.path(f"predictions/{model}/{part}"), prefix)


def read_topk_of_all(experiment: Experiment, part: str) -> list[TopK]:
    """Top-k predictions of every model, in the order of the config."""
    return [read_topk(experiment, model, part) for model in experiment.config.models]


def read_candidates(experiment: Experiment, part: str) -> CandidateRows:
    """The candidate rows of a part, as stage 04 wrote them."""
    folder = experiment.path(f"features/candidates/{part}")
    product, class_id, fold = (
        np.load(folder / f"{n}.npy") for n in ("product", "class_id", "fold")
    )
    is_test = part == "test"
    target = np.full(len(product), -1, np.int8) if is_test else np.load(folder / "target.npy")
    return CandidateRows(product, class_id, fold, target)


def all_members(experiment: Experiment) -> list[Member]:
    """Every booster of every source and layer, in the order of the stages."""
    config = experiment.config
    return [
        Member(source, layer, booster)
        for source in config.sources
        for layer, boosters in config.layers(source).items()
        for booster in boosters
    ]


def read_scores(experiment: Experiment, member: Member, part: str) -> np.ndarray:
    """float32 [R]: out-of-fold scores on the part that trains the boosters, else the mean over
    the fold models."""
    source, layer, booster = member
    if part == experiment.config.stack_part:
        return np.load(experiment.path(f"stack/{source}/{layer}/{booster}") / "oof.npy")
    folder = experiment.path(f"scores/{source}/{layer}/{part}")
    names = json.loads((folder / "names.json").read_text())
    return np.load(folder / "scores.npy", mmap_mode="r")[:, names.index(booster)]
