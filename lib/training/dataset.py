"""What a network learns from, whatever its rows are: pictures, mosaics, drawings or embeddings."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lib.errors import UserError
from lib.models.classifier import Classifier
from lib.training.loader import Loader


@dataclass(frozen=True)
class TrainingSet:
    """What a network learns from; row i is a picture, or whatever the feed makes of a row.

    build(weights) makes the network, its random parts from torch's generator.
    labels int16 [I]: class of each row; product int32 [I]: whose it is. train_rows, valid_rows
    int64, ascending: rows that train, and rows that only watch (may be empty: best.pt is then
    last.pt). levels: int [classes] for each upper level of the category tree. weights float [I]:
    of each row's loss, None for 1.
    """

    feed: Loader
    build: Callable[[str], Classifier]
    labels: np.ndarray
    product: np.ndarray
    train_rows: np.ndarray
    valid_rows: np.ndarray
    classes: int
    levels: Sequence[np.ndarray] = ()
    weights: np.ndarray | None = None

    def check(self) -> None:
        """Raises UserError if too little is left to train on, ValueError for a row of no class."""
        labels, rows, classes = self.labels, self.train_rows, self.classes
        if len(rows) < 2:
            raise UserError(
                f"{len(rows)} pictures are left to train on; lower split.locked or folds"
            )
        wrong = (labels[rows] < 0) | (labels[rows] >= classes)
        if wrong.any():
            raise ValueError(f"picture row {rows[wrong.argmax()]} has no class below {classes}")
