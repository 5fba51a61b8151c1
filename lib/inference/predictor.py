"""What a model's networks say, batch by batch, averaged densely over views and networks (C6).

Nothing here outlives its batch: `lib/inference/dumps.py` keeps the first classes of what it is
told.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from lib.config.model import Model
from lib.config.schema import Predict, Run
from lib.data.crops import crop, tta_crops
from lib.data.image_reader import ImageReader
from lib.inference.dumps import BatchProbs
from lib.runtime import device as devices
from lib.training import trained
from lib.training.embedding_loader import EmbeddingLoader


class ImagePredictor:
    """Scores what a reader gives: pictures, or mosaics of products, cut into views.

    whose int [I], with a reader whose rows are products: the product of each picture. Of a mosaic,
    views are cut and mirrored as a whole, as it was when the network learnt from it.
    """

    def __init__(
        self,
        model: Model,
        settings: Predict,
        checkpoints: Sequence[Path],
        reader: ImageReader,
        run: Run,
        whose: np.ndarray | None = None,
    ) -> None:
        self.model, self.reader, self.batch, self.whose = (
            model,
            reader,
            run.predict_batch_size,
            whose,
        )
        self.device = devices.select_device(run, model)
        self.geometric = settings.tta_mean == "geometric"
        self.views = tta_crops(model.resize, model.crop, settings.tta_views, model.flip)
        self._nets = [trained.network(path, model, self.device) for path in checkpoints]
        self.nets, self.classes = len(self._nets), self._nets[0].num_classes

    @property
    def rotten(self) -> np.ndarray:
        return self.reader.corrupt

    @torch.inference_mode()
    def said(self, rows: np.ndarray, nets: Sequence[int]) -> Iterator[BatchProbs]:
        for _, pictures in self.reader.batches(rows, self.batch):
            yield self._of_batch(pictures, nets)

    def _of_batch(self, pictures: np.ndarray, nets: Sequence[int]) -> BatchProbs:
        whole = devices.to_device(pictures, self.device)
        mean: torch.Tensor | float = 0.0
        centre: torch.Tensor | float = 0.0
        for net in (self._nets[number] for number in nets):
            for view_number, place in enumerate(self.views):
                with devices.autocast(self.model, self.device):
                    logits = net(net.normalise(crop(whole, place, self.model.crop)))
                part = _to_average(logits, self.geometric)
                mean = mean + part / (len(nets) * len(self.views))
                if view_number == 0:
                    centre = centre + part / len(nets)
        return BatchProbs(_averaged(mean, self.geometric), _averaged(centre, self.geometric))


class FusionPredictor:
    """Scores products by the embeddings of all their pictures (T2), which are of one view.

    feeds[i] gives what checkpoints[i] was trained on: embeddings by its own networks.
    whose int [I]: the product of each picture.
    """

    def __init__(
        self,
        model: Model,
        settings: Predict,
        checkpoints: Sequence[Path],
        feeds: Sequence[EmbeddingLoader],
        run: Run,
        whose: np.ndarray,
    ) -> None:
        self.model, self.batch, self.whose = model, run.predict_batch_size, whose
        self.device = devices.select_device(run, model)
        self.geometric = settings.tta_mean == "geometric"
        self.feeds = list(feeds)
        self._nets = [
            trained.fused(path, model, feed.width, self.device)
            for path, feed in zip(checkpoints, feeds, strict=True)
        ]
        self.nets, self.classes = len(self._nets), self._nets[0].num_classes
        self.rotten = np.zeros(len(whose), bool)  # who embedded the pictures has told

    @torch.inference_mode()
    def said(self, rows: np.ndarray, nets: Sequence[int]) -> Iterator[BatchProbs]:
        fed = [self.feeds[number].plain(rows, self.batch) for number in nets]
        for seen in zip(*fed, strict=True):
            mean: torch.Tensor | float = 0.0
            for (_, inputs), number in zip(seen, nets, strict=True):
                net = self._nets[number]
                with devices.autocast(self.model, self.device):
                    logits = net(net.normalise(devices.to_device(inputs, self.device)))
                mean = mean + _to_average(logits, self.geometric) / len(nets)
            probs = _averaged(mean, self.geometric)
            yield BatchProbs(probs, probs)


def _to_average(logits: torch.Tensor, geometric: bool) -> torch.Tensor:
    """[n, classes]: what is added up over views and networks, logarithms for a geometric mean."""
    return logits.float().log_softmax(1) if geometric else logits.float().softmax(1)


def _averaged(mean: torch.Tensor | float, geometric: bool) -> torch.Tensor:
    """Probabilities of such a mean."""
    assert torch.is_tensor(mean)
    return mean.softmax(1) if geometric else mean
