"""Second round: which set of pseudo-labels a network trains on, and how it is read.

Pseudo-labels for a network that excludes fold k come only from first-round hashes and networks that
also excluded fold k. No pseudo-labeller ever saw `holdout` or `locked`. Where the boosters are
trained on `holdout`, no network saw it, so all networks share one set of labels.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lib.config.model import Model
from lib.config.schema import Config
from lib.pipeline.experiment import Experiment

if TYPE_CHECKING:
    import numpy as np

    from lib.data.catalog import Catalog

ALL_FOLDS = "everybody"  # the set of labels that all networks may train on


@dataclass(frozen=True)
class PseudoLabelled:
    """catalog: the labelled catalog, then the test catalog with its pseudo-labels.

    products: int64, ascending rows of `catalog` that have a pseudo-label.
    """

    catalog: "Catalog"
    products: "np.ndarray"


def label_set_name(config: Config, model: Model, fold: str) -> str:
    """The set of pseudo-labels for one network: `everybody`, or as in `fold0-of-4`."""
    return ALL_FOLDS if config.stack_part == "holdout" else f"{fold}-of-{model.n_folds}"


def add_pseudo_labels(
    experiment: Experiment, model: Model, fold: str, labelled: "Catalog"
) -> PseudoLabelled:
    """The labelled catalog and the test products that one network also trains on."""
    import numpy as np

    from lib.data.catalog import concat_catalogs
    from lib.stacking import pseudo
    from lib.stages.read import catalog_of_part

    test = catalog_of_part(experiment, "test")
    name = label_set_name(experiment.config, model, fold)
    labels = pseudo.read(experiment.path(f"pseudo/{name}"))
    label = np.full(len(test.product_id), -1, np.int16)
    label[labels.product] = labels.cls
    catalog = concat_catalogs(labelled, test)
    catalog.label[len(labelled.product_id) :] = label
    return PseudoLabelled(catalog, len(labelled.product_id) + labels.product)
