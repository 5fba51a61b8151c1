"""Files of boosters: as they are read, behind their digest, and as each library parses them."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from lib.errors import UserError
from lib.pipeline.reading import reading
from lib.stacking.boosters import forests, registry
from tests.fuzz.family import Family, write
from tests.stacking.boosters.toy_tasks import fitted, table

NAMES = ("xgboost", "lightgbm", "catboost", "extra_trees")
ROWS = 8


def make_seeds(name: str, folder: Path) -> list[bytes]:
    """A small model; its digest comes after a mark."""
    model = fitted(name)
    registry.save(model, folder / "m")
    return [(folder / "m").read_bytes()]


def read_checked(name: str, data: bytes, inside: Path) -> None:
    """With the digest of the model as it was written: nothing else reaches the library."""
    import hashlib

    digest = inside / "m.sha256"
    if not digest.exists():  # the first input is the model itself
        write(digest, f"{hashlib.sha256(data).hexdigest()}  m\n".encode())
    same = hashlib.sha256(data).hexdigest().encode() in digest.read_bytes()
    try:
        registry.load(name, write(inside / "m", data))
    except UserError:
        if same:
            raise AssertionError("a whole model was refused") from None
        raise
    if not same:
        raise AssertionError("a damaged model was loaded")


def read_raw(name: str, data: bytes, inside: Path) -> None:
    """The library itself; what it does to damaged bytes is why they are compared before."""
    x = table(ROWS, 1)[0]
    module = registry.module_of(name)
    model = module.load(data, 1)
    model.predict(x)
    model.importances()


def read_forest(data: bytes, inside: Path) -> None:
    """The own format of forests, which must stand any bytes by itself."""
    with reading(inside / "m"):
        model = forests.load(data, 1)
        model.predict(np.zeros((ROWS, len(model.edges)), np.float32))


def _raw(name: str) -> Family:
    is_own = name == "extra_trees"
    return Family(
        f"boosters-{name}-raw",
        partial(make_seeds, name),
        read_forest if is_own else partial(read_raw, name),
        behind_checksum=not is_own,
        weight=0.5 if is_own else 0.02,
        is_slow=not is_own,
    )


def _checked(name: str) -> Family:
    make: Callable = partial(make_seeds, name)
    return Family(f"boosters-{name}", make, partial(read_checked, name), weight=3)


FAMILIES = [*map(_checked, NAMES), *map(_raw, NAMES)]
