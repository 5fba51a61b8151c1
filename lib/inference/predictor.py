"""Class probabilities of images or products, averaged over views and fold models, by batches.

Nothing here outlives its batch: lib/inference/topk_writer.py keeps the most probable classes.
"""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch

from lib.config.model import Model
from lib.config.schema import Predict, Run
from lib.data.aspect.reader import batch_shapes
from lib.data.crops import crop, tta_crops
from lib.data.image_reader import ImageReader
from lib.runtime import device as devices
from lib.training.checkpoint import load_classifier, load_fusion_model
from lib.training.loaders.embedding_loader import EmbeddingLoader


class BatchProbs(NamedTuple):
    """Probabilities float [b, num_classes] of a batch, averaged over fold models; on any device.

    tta: also averaged over all views (test-time augmentation). center: of the center view alone.
    """

    tta: torch.Tensor
    center: torch.Tensor


class Predictor(Protocol):
    """The networks of one model, and the images or products that they classify.

    num_classes, num_models: numbers of classes and of fold models, in each group.
    row_of_image: int [I], the row that is classified for each image; images of a row are
        neighbors. None if each image is its own row.
    corrupt: bool [I], images that could not be decoded so far.
    multi_label: whether probabilities of a row are independent, and do not sum to 1.
    group_of_row: int [R], the group whose fold models classify each row; None for one group.
        Fold models are counted group by group.
    """

    num_classes: int
    num_models: int
    multi_label: bool
    group_of_row: np.ndarray | None

    @property
    def row_of_image(self) -> np.ndarray | None:
        """int [I], or None if each image is its own row."""
        ...

    @property
    def corrupt(self) -> np.ndarray:
        """bool [I], images that could not be decoded."""
        ...

    def batch_order(self, rows: np.ndarray) -> np.ndarray:
        """Positions int64 [n] of `rows`, in the order in which they make the fewest batches."""
        ...

    def predict_batches(self, rows: np.ndarray, models: Sequence[int]) -> Iterator[BatchProbs]:
        """Mean over fold models number `models`, by batches of rows int64 [n] in order."""
        ...


class ImagePredictor:
    """Classifies the rows of a reader (images, or mosaics of products) by views of them.

    checkpoints: one for each fold model; of several groups, those of the first group first.
    multi_label: a class is probable or not whatever the others are (sigmoid, no softmax).
    row_of_image: int [I], the product of each image, for a reader of mosaics; None for images.
        Views crop and mirror the mosaic as a whole, as in training.
    group_of_row: int [R], the group of each row; None for one group.
    """

    def __init__(
        self,
        model: Model,
        settings: Predict,
        checkpoints: Sequence[Path],
        reader: ImageReader,
        run: Run,
        row_of_image: np.ndarray | None = None,
        multi_label: bool = False,
        group_of_row: np.ndarray | None = None,
    ) -> None:
        self.model, self.reader, self.row_of_image = model, reader, row_of_image
        self.multi_label, self.group_of_row = multi_label, group_of_row
        self.batch_size = devices.image_batch_size(run)
        self.device = devices.select_device(run, model)
        self.geometric = settings.tta_mean == "geometric"
        self.shapes = batch_shapes(reader, model)
        self._views = [
            tta_crops(shape.resize, shape.crop, settings.tta_views, model.flip)
            for shape in self.shapes
        ]
        self.views = max(self._views, key=len)  # the same number for every shape, but tiny ones
        self._nets = [load_classifier(path, model, self.device) for path in checkpoints]
        first, *others = self._nets
        self._prefix_is_shared = all(net.has_prefix_of(first) for net in others)
        self.num_models = len(self._nets) // len(model.mosaic.groups)
        self.num_classes = self._nets[0].num_classes

    @property
    def corrupt(self) -> np.ndarray:
        """bool [I], images that the reader could not decode so far."""
        return self.reader.corrupt

    def batch_order(self, rows: np.ndarray) -> np.ndarray:
        """Positions int64 [n] of `rows`: one aspect cluster after the other, if there are any."""
        return self.reader.batch_order(rows)

    @torch.inference_mode()
    def predict_batches(self, rows: np.ndarray, models: Sequence[int]) -> Iterator[BatchProbs]:
        """Mean over fold models number `models`, by batches of rows int64 [n] in order."""
        for batch_rows, images in self.reader.batches(rows, self.batch_size):
            shape = self.reader.shape_of(batch_rows)
            yield self._predict(devices.to_device(images, self.device), models, shape)

    def _predict(self, images: torch.Tensor, models: Sequence[int], shape: int) -> BatchProbs:
        """Images uint8 [b, 3, h, w] of shape number `shape` -> probabilities of the batch."""
        views, crop_size = self._views[shape], self.shapes[shape].crop
        tta: torch.Tensor | float = 0.0
        center: torch.Tensor | float = 0.0
        for i, box in enumerate(views):
            for logits in self._logits(crop(images, box, crop_size), models):
                scores = _scores(logits, self.geometric, self.multi_label)
                tta = tta + scores / (len(models) * len(views))
                if i == 0:
                    center = center + scores / len(models)
        probs = (_probs(mean, self.geometric, self.multi_label) for mean in (tta, center))
        return BatchProbs(*probs)

    def _logits(self, images: torch.Tensor, models: Sequence[int]) -> Iterator[torch.Tensor]:
        """Images uint8 [b, 3, h, w] -> logits float32 [b, num_classes] of each fold model.

        What the fold models have in common is computed once.
        """
        shared = None
        for net in (self._nets[i] for i in models):
            with devices.autocast(self.model, self.device):
                maps = net.prefix(net.normalise(images)) if shared is None else shared
                if self._prefix_is_shared and len(models) > 1:
                    shared, maps = maps, deepcopy(maps)  # `classify` may overwrite it
                logits = net.classify(maps)
            yield logits


class FusionPredictor:
    """Classifies products by the embeddings of all their images, which are of the center view.

    With embeddings of mirrored images, and more views than one, the second view has these.
    loaders: loaders[i] gives what checkpoints[i] was trained on, embeddings by its own networks.
    row_of_image: int [I], the product of each image.
    """

    def __init__(
        self,
        model: Model,
        settings: Predict,
        checkpoints: Sequence[Path],
        loaders: Sequence[EmbeddingLoader],
        run: Run,
        row_of_image: np.ndarray,
    ) -> None:
        self.model, self.row_of_image = model, row_of_image
        self.batch_size = run.predict_batch_size
        self.device = devices.select_device(run, model)
        self.geometric, self.multi_label = settings.tta_mean == "geometric", False
        self.group_of_row: np.ndarray | None = None
        self.loaders = list(loaders)
        is_mirrored = bool(self.loaders[0].mirrored) and settings.tta_views > 1
        self.mirrors = (False, True) if is_mirrored else (False,)
        self._nets = [
            load_fusion_model(path, model, loader.width, self.device)
            for path, loader in zip(checkpoints, loaders, strict=True)
        ]
        self.num_models, self.num_classes = len(self._nets), self._nets[0].num_classes
        # Corrupt images were reported when they were embedded.
        self.corrupt = np.zeros(len(row_of_image), bool)

    def batch_order(self, rows: np.ndarray) -> np.ndarray:
        """Positions int64 [n] of `rows`, as they are: embeddings have one shape."""
        return np.arange(len(rows))

    @torch.inference_mode()
    def predict_batches(self, rows: np.ndarray, models: Sequence[int]) -> Iterator[BatchProbs]:
        """Mean over fold models number `models`, by batches of rows int64 [n] in order."""
        views = [(i, mirror) for mirror in self.mirrors for i in models]
        batches = [self.loaders[i].eval_batches(rows, self.batch_size, m) for i, m in views]
        for inputs_of_views in zip(*batches, strict=True):
            tta: torch.Tensor | float = 0.0
            center: torch.Tensor | float = 0.0
            for (_, inputs), (i, mirror) in zip(inputs_of_views, views, strict=True):
                net = self._nets[i]
                with devices.autocast(self.model, self.device):
                    logits = net(net.normalise(devices.to_device(inputs, self.device)))
                scores = _scores(logits, self.geometric)
                tta = tta + scores / len(views)
                center = center if mirror else center + scores / len(models)
            yield BatchProbs(*(_probs(mean, self.geometric) for mean in (tta, center)))


def _scores(logits: torch.Tensor, geometric: bool, multi_label: bool = False) -> torch.Tensor:
    """What is averaged: probabilities, or their logarithms for a geometric mean; [b, classes].

    With multi_label the geometric mean is that of the odds, whose logarithms are the logits.
    """
    logits = logits.float()
    if multi_label:
        return logits if geometric else logits.sigmoid()
    return logits.log_softmax(1) if geometric else logits.softmax(1)


def _probs(mean: torch.Tensor | float, geometric: bool, multi_label: bool = False) -> torch.Tensor:
    """Probabilities [b, classes] from the mean of `_scores`."""
    assert torch.is_tensor(mean)
    if multi_label:
        return mean.sigmoid() if geometric else mean
    return mean.softmax(1) if geometric else mean
