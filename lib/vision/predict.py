"""Scores pictures with trained networks: views, nets, top-k, in shards (C6).

Probabilities are averaged densely over views and networks before the first k are kept. A shard
is one file of a fixed number of pictures, skipped when it lies there already; at the end they
become the arrays of `lib.topk` and go.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from lib.artifacts import replacing
from lib.catalogue.reader import PictureReader
from lib.config import Model, Predict, Run
from lib.errors import UserError
from lib.topk import TopK
from lib.vision import device as devices
from lib.vision import zoo
from lib.vision.network import Network
from lib.vision.views import Place, cut, places

Arrays = dict[str, np.ndarray]


def load(checkpoint: Path, model: Model, device: torch.device) -> Network:
    """The network of a `last.pt` or `best.pt`, ready to predict.

    Raises UserError for a file that is missing, damaged or of another network.
    """
    try:
        saved = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{checkpoint}: no such checkpoint; run 02_train_cnn.py first") from None
    except Exception as error:  # a damaged zip or pickle fails in many ways
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{checkpoint}: not a readable checkpoint: {reason}") from None
    if saved["network"] != model.network:
        raise UserError(f"{checkpoint} holds {saved['network']}, the config says {model.network}")
    net = zoo.network(model, saved["classes"], "none")
    net.load_state_dict(saved["model"])
    return ready(net, device)


def ready(net: Network, device: torch.device) -> Network:
    """For answers alone: on the device, nothing trains, batch norms are folded."""
    net.freeze_body(True)
    return net.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def predict(
    folder: Path,
    model: Model,
    settings: Predict,
    checkpoints: list[Path],
    net_of_row: np.ndarray | None,
    reader: PictureReader,
    rows: np.ndarray,
    run: Run,
    plain: bool,
) -> dict[str, Any]:
    """Write `top_*.npy` (with `plain` also `plain_*.npy`, the centre view alone) into `folder`.

    rows int64 [n], ascending. net_of_row int8 [n]: row i is scored by checkpoints[net_of_row[i]]
    alone (out-of-fold); None: by the mean of all.
    Returns facts: images, rotten (pictures read as plain grey), views.
    """
    if net_of_row is not None and not ((net_of_row >= 0) & (net_of_row < len(checkpoints))).all():
        raise ValueError("net_of_row names a network that is not there")
    device = devices.choose(run, model)
    views = places(model.resize, model.crop, settings.views, model.flip)
    nets = [load(path, model, device) for path in checkpoints]
    scorer = _Scorer(model, settings, nets, views, reader, run.predict_batch, device)
    starts = range(0, len(rows), settings.shard)
    shards = [folder / f"shard-{number:05}.npz" for number in range(len(starts))]
    with tqdm(total=len(rows), unit=" images", desc=_title(folder), disable=None) as bar:
        for path, start in zip(shards, starts, strict=True):
            piece = slice(start, start + settings.shard)
            if not path.exists():
                own = None if net_of_row is None else net_of_row[piece]
                with replacing(path) as temporary, temporary.open("wb") as file:
                    np.savez(file, **scorer.shard(rows[piece], own, bar))  # type: ignore[arg-type]
            bar.update(min(len(rows), start + settings.shard) - bar.n)
    rotten = _merge(folder, shards, rows, plain, scorer.k)
    return {"images": len(rows), "rotten": rotten, "views": len(views)}


class _Scorer:
    def __init__(
        self,
        model: Model,
        settings: Predict,
        nets: list[Network],
        views: list[Place],
        reader: PictureReader,
        batch: int,
        device: torch.device,
    ) -> None:
        self.model, self.nets, self.views = model, nets, views
        self.reader, self.batch, self.device = reader, batch, device
        self.geometric = settings.mean == "geometric"
        self.k = min(settings.top_k, nets[0].classes)

    def shard(self, rows: np.ndarray, net_of_row: np.ndarray | None, bar: tqdm) -> Arrays:
        """Arrays [n, ...] of these rows, in their order."""
        found: Arrays = {}
        for places_in_shard, nets in self._turns(len(rows), net_of_row):
            done = 0
            batches = self.reader.batches(rows[places_in_shard], self.batch)
            for piece, pictures in batches:
                here = places_in_shard[done : done + len(piece)]
                for name, values in self._score(pictures, nets).items():
                    if name not in found:
                        found[name] = np.zeros((len(rows), *values.shape[1:]), values.dtype)
                    found[name][here] = values
                done += len(piece)
                bar.update(len(piece))
        found["rotten"] = rows[self.reader.rotten[rows]]
        return found

    def _turns(
        self, count: int, net_of_row: np.ndarray | None
    ) -> Iterator[tuple[np.ndarray, list[Network]]]:
        """(places in the shard, networks that score them), one network at a time out-of-fold."""
        if net_of_row is None:
            yield np.arange(count), self.nets
            return
        for number in np.unique(net_of_row):
            yield np.flatnonzero(net_of_row == number), [self.nets[number]]

    @torch.inference_mode()
    def _score(self, pictures: np.ndarray, nets: list[Network]) -> Arrays:
        whole = devices.moved(pictures, self.device)
        mean: torch.Tensor | float = 0.0
        centre: torch.Tensor | float = 0.0
        for net in nets:
            for view_number, place in enumerate(self.views):
                with devices.autocast(self.model, self.device):
                    logits = net(net.normalise(cut(whole, place, self.model.crop)))
                said = averaged_as(logits, self.geometric)
                mean = mean + said / (len(nets) * len(self.views))
                if view_number == 0:
                    centre = centre + said / len(nets)
        assert torch.is_tensor(mean)
        assert torch.is_tensor(centre)
        probs = [value.softmax(1) if self.geometric else value for value in (mean, centre)]
        return _top(probs[0], self.k, "top") | _top(probs[1], self.k, "plain")


def averaged_as(logits: torch.Tensor, geometric: bool) -> torch.Tensor:
    """[n, classes]: what is added up over views and networks, logarithms for a geometric mean."""
    return logits.float().log_softmax(1) if geometric else logits.float().softmax(1)


def _top(probs: torch.Tensor, k: int, prefix: str) -> Arrays:
    """The first k of dense probabilities [n, classes], and what is left."""
    values, classes = probs.topk(k, sorted=True)
    rest = (1 - values.sum(1)).clamp(min=0)
    return {
        f"{prefix}_class": classes.cpu().numpy().astype(np.int16),
        f"{prefix}_prob": values.cpu().numpy().astype(np.float16),
        f"{prefix}_rest": rest.cpu().numpy().astype(np.float16),
    }


def _merge(folder: Path, shards: list[Path], rows: np.ndarray, plain: bool, k: int) -> int:
    """Turn the shards into the final arrays and delete them; the number of rotten pictures."""
    for prefix in ("top", "plain") if plain else ("top",):
        TopK(
            image=rows,
            classes=_joined(shards, f"{prefix}_class", np.zeros((0, k), np.int16)),
            probs=_joined(shards, f"{prefix}_prob", np.zeros((0, k), np.float16)),
            rest=_joined(shards, f"{prefix}_rest", np.zeros(0, np.float16)),
        ).save(folder, prefix)
    rotten = len(_joined(shards, "rotten", np.zeros(0, int)))
    for path in shards:
        path.unlink()
    return rotten


def _joined(shards: list[Path], name: str, empty: np.ndarray) -> np.ndarray:
    return np.concatenate([empty, *(_read(path, name) for path in shards)])


def _read(shard: Path, name: str) -> np.ndarray:
    with np.load(shard) as arrays:
        return arrays[name]


def _title(folder: Path) -> str:
    return f"{folder.parent.name}/{folder.name.removesuffix('.partial')}"
