"""A classifier on the embeddings of all images of a product: gate, pool, hidden layers.

Trained like any other network, on an `EmbeddingLoader`. One gate serves all images, so neither
their order nor the number of missing ones changes the result.
Source: 2nd-place Cdiscount team (gated fusion).
"""

import numpy as np
import torch
from torch import nn

from lib.config.inputs.fusion import Fusion
from lib.models.classifier import SingleStageClassifier
from lib.models.heads import LastLinear


class FusionModel(SingleStageClassifier):
    """Embeddings float32 [n, views, width + 1] (from `normalise`) -> logits [n, num_classes].

    mean, std: buffers float32 [width], of the embeddings of the training products.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, settings: Fusion, width: int, num_classes: int) -> None:
        super().__init__()
        self.body = _FusionEncoder(settings, width)
        self.head = LastLinear(
            settings.hidden_sizes[-1] if settings.hidden_sizes else width, num_classes
        )
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("std", torch.ones(width))

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Normalised embeddings [n, views, width + 1] -> logits, both float32."""
        return self.head(self.body(embeddings))

    def normalise(self, inputs: torch.Tensor) -> torch.Tensor:
        """Embeddings [n, views, width], NaN for a missing image -> float32 [n, views, width + 1].

        The last value is 1 for an image and 0 for a missing one, whose other values are 0.
        """
        present = ~inputs.isnan().any(2, keepdim=True)
        values = torch.where(present, (inputs.float() - self.mean) / self.std, 0.0)
        return torch.cat([values, present.float()], 2)


def create_fusion_model(
    settings: Fusion, num_classes: int, mean: np.ndarray, std: np.ndarray
) -> FusionModel:
    """A new model; random weights come from torch's global generator.

    mean, std: float [width], of each value of the training embeddings.
    """
    net = FusionModel(settings, len(mean), num_classes)
    net.mean.copy_(torch.from_numpy(mean))
    net.std.copy_(torch.from_numpy(std))
    return net


class _FusionEncoder(nn.Module):
    """[n, views, width + 1] -> [n, size of the last hidden layer]."""

    def __init__(self, settings: Fusion, width: int) -> None:
        super().__init__()
        self.pooling = settings.pooling
        self.input_dropout = nn.Dropout(settings.input_dropout)
        self.gate = None
        if settings.squeeze_excitation:
            self.gate = _squeeze_excitation(width, settings.squeeze_ratio)
        self.layers = _hidden_layers(settings, width)

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Normalised embeddings float32 [n, views, width + 1] -> float32 [n, hidden_sizes[-1]]."""
        values, present = self.input_dropout(embeddings[..., :-1]), embeddings[..., -1:]
        if self.gate is not None:
            values = values * self.gate(values)
        if self.pooling == "max":
            largest = values.masked_fill(present == 0, -torch.inf).amax(1)
            return self.layers(torch.where((present > 0).any(1), largest, 0.0))
        # A missing image is 0 before and after its gate. Multiplying by the mask would be wrong:
        # mixup has already weighted both products' images, and the mask would do so again.
        return self.layers(values.sum(1))


def _squeeze_excitation(width: int, ratio: int) -> nn.Module:
    """A weight between 0 and 1 for each value: [..., width] -> [..., width]."""
    inner = max(width // ratio, 1)
    return nn.Sequential(nn.Linear(width, inner), nn.ReLU(), nn.Linear(inner, width), nn.Sigmoid())


def _hidden_layers(settings: Fusion, width: int) -> nn.Module:
    layers: list[nn.Module] = []
    for size in settings.hidden_sizes:
        layers += [nn.Linear(width, size), nn.PReLU(), nn.Dropout(settings.dropout)]
        width = size
    return nn.Sequential(*layers)
