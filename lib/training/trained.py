"""Networks as stage 02 has left them, ready to predict."""

from pathlib import Path
from typing import Any

import torch

from lib.config.model import Model
from lib.errors import UserError
from lib.models import factory
from lib.models.classifier import ImageClassifier
from lib.models.fusion import FusionModel


def network(checkpoint: Path, model: Model, device: torch.device) -> ImageClassifier:
    """The network of a `last.pt` or `best.pt` that sees pictures.

    Raises UserError for a file that is missing, damaged or of another network.
    """
    saved = _read(checkpoint)
    if saved["network"] != model.arch:
        raise UserError(f"{checkpoint} holds {saved['network']}, the config says {model.arch}")
    net = factory.create_from_config(model, saved["classes"], "none")
    net.load_state_dict(saved["model"])
    return ready(net, device)


def fused(checkpoint: Path, model: Model, width: int, device: torch.device) -> FusionModel:
    """The same of one that sees embeddings of `width` values.

    Raises UserError for a file that is missing, damaged or of other embeddings or settings.
    """
    saved = _read(checkpoint)
    net = FusionModel(model.fusion, width, saved["classes"])
    try:
        net.load_state_dict(saved["model"])
    except RuntimeError:
        raise UserError(
            f"{checkpoint} is of another fusion than the config says ({width} values a picture,"
            f" hidden_sizes = {list(model.fusion.hidden_sizes)}); delete its folder and run"
            " 02_train_cnn.py"
        ) from None
    return net.eval().to(device)


def ready(net: ImageClassifier, device: torch.device) -> ImageClassifier:
    """For answers alone: on the device, nothing trains, batch norms are folded."""
    net.freeze_body(True)
    return net.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def _read(checkpoint: Path) -> dict[str, Any]:
    try:
        return torch.load(checkpoint, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{checkpoint}: no such checkpoint; run 02_train_cnn.py first") from None
    except Exception as error:  # a damaged zip or pickle fails in many ways
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{checkpoint}: not a readable checkpoint: {reason}") from None
