"""Checkpoints of torch, and files of weights of others: read without running code in them."""

import io
import pickle
import random
import zipfile
from pathlib import Path

import torch
from safetensors.torch import save as save_safetensors

from lib.models.weights import read_state_dict
from lib.training import checkpoint
from tests.fuzz.family import Family, write
from tests.fuzz.mutators import PICKLES

MODEL = {"body.a": torch.arange(6.0).reshape(2, 3), "head.b": torch.zeros(2, dtype=torch.int64)}
WEIGHTS = {"network": "resnet18", "classes": 3, "model": MODEL}
RESUME = {
    "optimizer": {
        "state": {0: {"exp_avg": torch.ones(2)}},
        "param_groups": [{"lr": 0.1, "params": [0]}],
    },
    "progress": {"epoch": 1, "history": [{"valid_accuracy": 0.5}]},
    "hardness": torch.zeros(2, 0),
}


def _saved(value: object, **options: object) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, **options)
    return file.getvalue()


def make_seeds(folder: Path) -> list[bytes]:
    """last.pt of a running and of a finished training, and the format of old versions."""
    old = _saved(WEIGHTS, _use_new_zipfile_serialization=False)
    return [_saved(WEIGHTS), _saved(WEIGHTS | RESUME), old]


def read(data: bytes, inside: Path) -> None:
    """Read it as a resume does, and as a prediction does."""
    path = write(inside / "last.pt", data)
    saved = checkpoint.read(path)
    if saved is None:
        raise AssertionError("no checkpoint")
    if "progress" in saved:
        checkpoint.read_progress(path, saved)
    checkpoint._require(path)
    for value in saved["model"].values():
        torch.is_tensor(value) and value.sum()


def weight_seeds(folder: Path) -> list[bytes]:
    """Files of weights as other programs write them."""
    return [_saved(MODEL), _saved({"state_dict": MODEL}), save_safetensors(MODEL)]


def read_weights(data: bytes, inside: Path) -> None:
    """A file that a config names, as both of its kinds."""
    from lib.errors import UserError

    refused = None
    for name in ("weights.pth", "weights.safetensors"):
        try:
            state = read_state_dict(write(inside / name, data))
            sum(float(value.double().sum()) for value in state.values())
        except UserError as error:
            refused = error
            continue
        return
    assert refused is not None
    raise refused


def put_pickle(rng: random.Random, data: bytes) -> bytes:
    """A pickle that runs a command, alone or in the place of the file's own."""
    payload = rng.choice(PICKLES)
    if rng.random() < 0.3:
        return payload
    changed = io.BytesIO()
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(changed, "w") as new:
            for name in old.namelist():
                content = old.read(name)
                if name.endswith("data.pkl"):
                    content = rng.choice(
                        [payload, content + payload, content[:2] + payload[2:-1] + content[2:]]
                    )
                new.writestr(rng.choice([name, name, "../" + name, "/" + name]), content)
    except Exception:
        return data
    return changed.getvalue()


def change_pickle(rng: random.Random, data: bytes) -> bytes:
    """Other sizes, strides, offsets and names in the pickle of a zip, whose sums stay right."""
    changed = io.BytesIO()
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(changed, "w") as new:
            for name in old.namelist():
                content = bytearray(old.read(name))
                if name.endswith("data.pkl"):
                    for _ in range(rng.randrange(1, 4)):
                        at = rng.randrange(len(content))
                        content[at] = rng.choice(
                            [0, 1, 2, 255, 128, rng.randrange(256), content[at] ^ 1]
                        )
                new.writestr(name, bytes(content))
    except Exception:
        return data
    return changed.getvalue()


WORDS = (b"cos\nsystem\n", b"ctorch._utils\n_rebuild_tensor_v2\n", pickle.dumps([]), b"PK\x03\x04")
OWN = (put_pickle, change_pickle, change_pickle)
FAMILIES = [
    Family("checkpoints-own", make_seeds, read, own=OWN, tokens=WORDS, weight=0.6),
    Family("checkpoints-weights", weight_seeds, read_weights, own=OWN, tokens=WORDS, weight=0.6),
]
