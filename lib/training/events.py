"""TensorBoard event files: the figures of each epoch, while networks train (`run.tensorboard`)

work/<name>/tensorboard/<model>/<network>    tensorboard --logdir work/<name>/tensorboard

They lie outside of the artifacts, whose bytes do not depend on them.
"""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lib.config.schema import Run
from lib.errors import UserError

FOLDER, PACKAGE = "tensorboard", "tensorboard==2.21.0"
SCALARS = {
    "loss/train": "loss",
    "loss/valid": "valid_loss",
    "accuracy/train": "accuracy",
    "accuracy/valid": "valid_accuracy",
    "learning rate": "lr",
    "images per second": "images_per_second",
}


def check_tensorboard(run: Run) -> None:
    """Raise UserError if event files are wanted and nothing can write them."""
    if run.tensorboard and find_spec("tensorboard") is None:
        raise UserError(f"run.tensorboard = true: .venv/bin/pip install {PACKAGE}, or set false")


def events_folder(folder: Path) -> Path:
    """Where the events of the network lie that trains in `work/<name>/cnn/<model>/<network>`."""
    network = folder.name.removesuffix(".partial")
    return folder.parent.parent.parent / FOLDER / folder.parent.name / network


def write_epoch(folder: Path, line: Mapping[str, Any]) -> None:
    """Write the figures of an epoch. folder: of the network. line: of its history.

    Each epoch has a file of its own, so that a run which was killed goes on; later epochs of an
    earlier run are hidden.
    """
    from torch.utils.tensorboard import SummaryWriter

    epoch = line["epoch"]
    with SummaryWriter(str(events_folder(folder)), purge_step=epoch) as writer:
        for name, key in SCALARS.items():
            if line.get(key) is not None:
                writer.add_scalar(name, line[key], epoch)
