"""Pretrained encoders of texts, by model2vec or sentence-transformers

Weights are read from a folder, or from the cache of the Hugging Face hub and then from the hub. No
code that comes with them is run.
"""

import logging
from collections.abc import Callable
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from lib.config.inputs.text import TextEncoder
from lib.errors import UserError
from lib.models.workarounds import hub_without_retries, import_torchvision
from lib.utils.kept import kept

PACKAGES = "requirements-text.txt"
BATCH_SIZE = 256  # texts of a forward pass

# Texts -> their embeddings float32 [n, width].
Encode = Callable[[list[str]], np.ndarray]


@kept
def load_encoder(settings: TextEncoder, device: torch.device) -> Encode:
    """The encoder with its weights; static vectors stay on the CPU.

    Raises UserError if its package is not installed, or its weights cannot be read or reached.
    """
    package = settings.library.replace("_", "-")
    if find_spec(settings.library) is None:
        raise UserError(
            f"{package} is not installed; run .venv/bin/pip install -r {PACKAGES}, or leave"
            " text_encoders out"
        )
    if _is_path(settings.weights) and not Path(settings.weights).is_dir():
        raise UserError(f"weights = {settings.weights!r}: there is no such folder")
    try:
        with nullcontext() if Path(settings.weights).is_dir() else hub_without_retries():
            return _load(settings, device)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        # Each package raises errors of its own kinds, of many lines.
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(
            f"weights = {settings.weights!r}: {package} cannot read them: {reason}; name a folder"
            " with its model, or a name on the Hugging Face hub"
        ) from None


def _load(settings: TextEncoder, device: torch.device) -> Encode:
    if settings.library == "model2vec":
        from model2vec import StaticModel

        static = StaticModel.from_pretrained(settings.weights)
        return lambda texts: _float32(static.encode(texts, use_multiprocessing=False))

    import_torchvision()  # transformers imports it too
    from sentence_transformers import SentenceTransformer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # of loading, which takes no time
    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)  # it reports each load
    network = SentenceTransformer(settings.weights, device=str(device))

    def encode(texts: list[str]) -> np.ndarray:
        return _float32(network.encode(texts, batch_size=BATCH_SIZE, show_progress_bar=False))

    return encode


def join_columns(texts: pa.Table) -> list[str]:
    """One text for each product: its columns, in their order; empty where all are missing."""
    rows = zip(*(column.to_pylist() for column in texts.columns), strict=True)
    return [" ".join(text for text in row if text) for row in rows]


def _float32(vectors: Any) -> np.ndarray:
    return np.asarray(vectors, np.float32)


def _is_path(weights: str) -> bool:
    """Whether weights are meant as a folder: names on the hub have one slash at most."""
    return weights.startswith((".", "/", "~")) or weights.count("/") > 1
