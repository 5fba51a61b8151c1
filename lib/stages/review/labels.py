"""Stage 02: products that people reviewed, as labelled products for the networks of a next run

    [pseudo_label]
    reviewed = "reviewed.csv"       # answers.csv of a review, or any table of product and class

    work/<name>/pseudo/reviewed     product.npy, class_id.npy: rows of the test catalog, ascending
                                    twin_of_fold.npy: bool [n, folds], has a near twin in the fold
                                    twin_of_scored.npy: bool [n], has one in `holdout` or `locked`

People see the labels of the nearest pictures. So no network trains on a reviewed product that has a
near twin among the products it is scored on: neither those of its own fold, nor of `holdout` and
`locked`. The parts and folds of the labelled products, and the features, stay as they are.
"""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.errors import UserError
from lib.pipeline.artifact import Artifact
from lib.pipeline.experiment import Experiment, catalog_inputs
from lib.pipeline.graph import Graph
from lib.stages.extract import declare as declare_extract

if TYPE_CHECKING:
    import numpy as np

NAME = "pseudo/reviewed"


@dataclass(frozen=True)
class ReviewedLabels:
    """Reviewed products of the test catalog: product int64 [n], class_id int16 [n].

    twin_of_fold: bool [n, folds]; twin_of_scored: bool [n]; see the head of this module.
    """

    product: "np.ndarray"
    class_id: "np.ndarray"
    twin_of_fold: "np.ndarray"
    twin_of_scored: "np.ndarray"

    @classmethod
    def load(cls, folder: Path) -> "ReviewedLabels":
        """Read what `label_reviewed` wrote."""
        from lib.pipeline.reading import load_array

        return cls(*(load_array(folder / f"{name}.npy") for name in cls.__dataclass_fields__))

    def for_network(self, n_folds: int, fold: str) -> "np.ndarray":
        """Which of them a network may train on: bool [n]. fold: "full" or such as "fold0"."""
        import numpy as np

        may_train = np.array(~self.twin_of_scored)
        if fold != "full":
            own = int(fold.removeprefix("fold"))
            may_train &= ~self.twin_of_fold[:, own::n_folds].any(axis=1)
        return may_train


def declare(graph: Graph) -> list[Artifact]:
    """The labels of reviewed products; nothing unless `pseudo_label.reviewed` names a table."""
    experiment = graph.experiment
    if not experiment.config.pseudo_label.reviewed:
        return []
    of_train = [*catalog_inputs("train"), "extract/categories", "extract/splits", "extract/twins"]
    sizes = ["extract/sizes/test"] if experiment.needs_sizes else []
    names = [*catalog_inputs("test"), "extract/nearest/test", *sizes]
    test = graph.artifacts
    if experiment.target is not None:  # the experiment's own products, and not those of --new
        own = Graph(replace(experiment, target=None), frozen=True)
        declare_extract(own)
        test = own.artifacts
    files: dict[str, Artifact | Path] = {name: test[name] for name in names}
    files["reviewed"] = Path(experiment.config.pseudo_label.reviewed)
    labels = graph.add(NAME, partial(label_reviewed, experiment), inputs=of_train, files=files)
    frozen = [test[name] for name in names] if experiment.target is not None else []
    return [*frozen, labels]


def label_reviewed(experiment: Experiment, folder: Path) -> dict[str, Any]:
    """Write the labels of the reviewed products; returns counts.

    Raises UserError for a table that is none of reviewed products, or names no test product.
    """
    import numpy as np

    from lib.data.catalog import read_splits
    from lib.stages.read import catalog_of_part

    test, train = (catalog_of_part(experiment, side) for side in ("test", "train"))
    path = Path(experiment.config.pseudo_label.reviewed)
    answers = read_answers(experiment, path)
    rows = [row for row in range(len(test.product_id)) if test.key(row) in answers]
    if not rows:
        raise UserError(f"{path}: none of its {len(answers):,} products is one of data.test")
    splits = read_splits(experiment.path("extract/splits"))
    product = np.array(rows)
    twin_fold, twin_scored = _twins(experiment, product, train.image_product, splits)
    class_id = np.array([answers[test.key(row)] for row in rows], np.int16)
    labels = ReviewedLabels(product, class_id, twin_fold, twin_scored)
    for name in labels.__dataclass_fields__:
        np.save(folder / f"{name}.npy", getattr(labels, name))
    return {
        "products": len(rows),
        "not_in_test": len(answers) - len(rows),
        "twins_of_scored": int(twin_scored.sum()),
    }


def read_answers(experiment: Experiment, path: Path) -> dict[str, int]:
    """The class_id of each product of a table of answers; errors of `read_class_table`."""
    from lib.data.catalog import read_categories
    from lib.data.corrections import read_class_table

    return read_class_table(path, read_categories(experiment.path("extract/categories")))


def _twins(
    experiment: Experiment, product: "np.ndarray", labelled: "np.ndarray", splits: Any
) -> tuple["np.ndarray", "np.ndarray"]:
    """The last two arrays of `ReviewedLabels`. labelled: the product of each labelled image."""
    import numpy as np

    from lib.data.catalog import FIT
    from lib.stages.read import catalog_of_part, read_nearest, read_twins

    catalog = catalog_of_part(experiment, "test")
    cosine, row = read_nearest(experiment, "test")
    images = catalog.images_of(product)
    alike = (row[images] >= 0) & (cosine[images] >= read_twins(experiment).threshold)
    image, rank = np.nonzero(alike)
    own = np.searchsorted(product, catalog.image_product[images[image]])
    twin = labelled[row[images[image], rank]]
    in_fit = splits.part[twin] == FIT
    twin_of_fold = np.zeros((len(product), experiment.config.split.n_folds), bool)
    twin_of_fold[own[in_fit], splits.fold[twin[in_fit]]] = True
    twin_of_scored = np.zeros(len(product), bool)
    twin_of_scored[own[~in_fit]] = True
    # Where every neighbor is a twin, there may be more of them, in any part.
    twin_of_scored[own[alike.all(axis=1)[image]]] = True
    return twin_of_fold, twin_of_scored
