"""Scores the pictures of products with networks on embeddings (T2); dumps as of any other network.

Every picture of a product gets the product's own probabilities, so nothing after stage 03 knows
what kind of model it reads. Both kinds of dump hold the same: embeddings are of one view.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from lib.artifacts import replacing
from lib.config import Model, Predict, Run
from lib.errors import UserError
from lib.vision import device as devices
from lib.vision.embedding_feed import EmbeddingFeed
from lib.vision.fusion import FusedNetwork
from lib.vision.predict import Arrays, _merge, _title, _top, averaged_as

Seer = tuple[EmbeddingFeed, FusedNetwork]


def load(checkpoint: Path, model: Model, width: int, device: torch.device) -> FusedNetwork:
    """The network of a `last.pt` or `best.pt`, ready to predict from embeddings of `width` values.

    Raises UserError for a file that is missing, damaged or of other embeddings or settings.
    """
    try:
        saved = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{checkpoint}: no such checkpoint; run 02_train_cnn.py first") from None
    except Exception as error:  # a damaged zip or pickle fails in many ways
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{checkpoint}: not a readable checkpoint: {reason}") from None
    net = FusedNetwork(model.fusion, width, saved["classes"])
    try:
        net.load_state_dict(saved["model"])
    except RuntimeError:
        raise UserError(
            f"{checkpoint} is of another fusion than the config says ({width} values a picture,"
            f" hidden = {list(model.fusion.hidden)}); delete its folder and run 02_train_cnn.py"
        ) from None
    return net.eval().to(device)


def predict_fused(
    folder: Path,
    model: Model,
    settings: Predict,
    checkpoints: Sequence[Path],
    net_of_row: np.ndarray | None,
    feeds: Sequence[EmbeddingFeed],
    image_product: np.ndarray,
    rows: np.ndarray,
    run: Run,
    plain: bool,
) -> dict[str, Any]:
    """Write `top_*.npy` (with `plain` also `plain_*.npy`, the same) into `folder`.

    feeds[i] gives what checkpoints[i] was trained on: embeddings by its own networks. rows int64
    [n], ascending pictures; image_product int32 [I]: whose each is. A product is scored by all its
    pictures, in `rows` or not. net_of_row int8 [n]: the product of row i is scored by
    checkpoints[net_of_row[i]] alone (out-of-fold); None: by the mean of all.
    Returns facts: images.
    """
    if net_of_row is not None and not ((net_of_row >= 0) & (net_of_row < len(checkpoints))).all():
        raise ValueError("net_of_row names a network that is not there")
    scorer = _Scorer(model, settings, checkpoints, feeds, run)
    starts = range(0, len(rows), settings.shard)
    shards = [folder / f"shard-{number:05}.npz" for number in range(len(starts))]
    with tqdm(total=len(rows), unit=" images", desc=_title(folder), disable=None) as bar:
        for path, start in zip(shards, starts, strict=True):
            piece = slice(start, start + settings.shard)
            if not path.exists():
                own = None if net_of_row is None else net_of_row[piece]
                found = scorer.shard(image_product[rows[piece]], own)
                with replacing(path) as temporary, temporary.open("wb") as file:
                    np.savez(file, **found)  # type: ignore[arg-type]
            bar.update(len(rows[piece]))
    _merge(folder, shards, rows, plain, scorer.k)
    return {"images": len(rows)}


class _Scorer:
    def __init__(
        self,
        model: Model,
        settings: Predict,
        checkpoints: Sequence[Path],
        feeds: Sequence[EmbeddingFeed],
        run: Run,
    ) -> None:
        self.model, self.batch = model, run.predict_batch
        self.device = devices.choose(run, model)
        self.geometric = settings.mean == "geometric"
        self.seers = [
            (feed, load(path, model, feed.width, self.device))
            for path, feed in zip(checkpoints, feeds, strict=True)
        ]
        self.k = min(settings.top_k, self.seers[0][1].classes)

    def shard(self, owner: np.ndarray, net_of_row: np.ndarray | None) -> Arrays:
        """Arrays [n, ...] of pictures of these products int32 [n], neighbours where the same."""
        products, first, place = np.unique(owner, return_index=True, return_inverse=True)
        found = self._of_products(products, None if net_of_row is None else net_of_row[first])
        of_pictures = {name: values[place] for name, values in found.items()}
        return of_pictures | {"rotten": np.zeros(0, np.int64)}

    def _of_products(self, products: np.ndarray, net_of_product: np.ndarray | None) -> Arrays:
        """The first k of each product; only those of a batch are ever dense."""
        found: Arrays = {}
        for places, seers in self._turns(len(products), net_of_product):
            done = 0
            for probs in self._batches(products[places], seers):
                here = places[done : done + len(probs)]
                for prefix in ("top", "plain"):
                    for name, values in _top(probs, self.k, prefix).items():
                        if name not in found:
                            found[name] = np.zeros((len(products), *values.shape[1:]), values.dtype)
                        found[name][here] = values
                done += len(probs)
        return found

    def _turns(
        self, count: int, net_of_product: np.ndarray | None
    ) -> Iterator[tuple[np.ndarray, list[Seer]]]:
        """(places in the shard, who scores them), one network at a time out-of-fold."""
        if net_of_product is None:
            yield np.arange(count), self.seers
            return
        for number in np.unique(net_of_product):
            yield np.flatnonzero(net_of_product == number), [self.seers[number]]

    @torch.inference_mode()
    def _batches(self, products: np.ndarray, seers: list[Seer]) -> Iterator[torch.Tensor]:
        """Mean probabilities [b, classes] of the products, batch by batch."""
        feeds = [feed.plain(products, self.batch) for feed, _ in seers]
        for seen in zip(*feeds, strict=True):
            mean: torch.Tensor | float = 0.0
            for (_, inputs), (_, net) in zip(seen, seers, strict=True):
                with devices.autocast(self.model, self.device):
                    logits = net(net.normalise(devices.moved(inputs, self.device)))
                mean = mean + averaged_as(logits, self.geometric) / len(seers)
            assert torch.is_tensor(mean)
            yield mean.softmax(1) if self.geometric else mean
