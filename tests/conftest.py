"""Small real parts for all tests: BSON files, JPEGs, and the shared data where it is at hand."""

import logging
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import bson
import cv2
import numpy as np
import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from lib.data.catalog import Catalog

os.environ.setdefault("OMP_NUM_THREADS", "1")  # a file a core
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as lib.cli does
# Small products of matrices: threads of BLAS that wait for a busy core take minutes instead.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
settings.register_profile("no_deadline", deadline=None)  # a busy machine is slow
settings.load_profile("no_deadline")

ROOT = Path(__file__).parent.parent
SHARED = Path(os.environ.get("SHARED_DATA", ROOT.parent / "shared" / "data"))


TORCHRUN = {
    "RANK": "1",
    "LOCAL_RANK": "1",
    "WORLD_SIZE": "4",
    "LOCAL_WORLD_SIZE": "4",
    "MASTER_ADDR": "localhost",
}


# Slow folders start first, so that no core waits for another's long file at the end.
SLOW_FIRST = ("stages", "bench", "studies", "runtime", "models", "training")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def turn(item: pytest.Item) -> int:
        folder = item.path.relative_to(ROOT / "tests").parts[0]
        return SLOW_FIRST.index(folder) if folder in SLOW_FIRST else len(SLOW_FIRST)

    items.sort(key=turn)


@pytest.fixture
def by_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of one of four processes that torchrun starts on a machine."""
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="session", autouse=True)
def workers_that_fork() -> Iterator[None]:
    """Workers start with the libraries: `fresh_workers` is for tests of how they start."""
    from tests.scripts import fork_workers

    with pytest.MonkeyPatch.context() as patch:
        fork_workers(patch)
        yield


@pytest.fixture
def fresh_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers of the pipeline are fresh interpreters, as users have them."""
    monkeypatch.setattr("lib.runtime.workers.get_context", multiprocessing.get_context)


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    """Undo `configure_logging`: pytest sees only records that reach the root logger."""
    logger = logging.getLogger("lib")
    level, propagate, handlers = logger.level, logger.propagate, logger.handlers[:]
    yield
    for handler in set(logger.handlers) - set(handlers):
        handler.close()
    logger.handlers[:] = handlers
    logger.setLevel(level)
    logger.propagate = propagate


@pytest.fixture(scope="session")
def shared_data() -> Path:
    if not SHARED.is_dir():
        pytest.skip("the shared data folder is not on this machine (SHARED_DATA)")
    return SHARED


def jpeg(seed: int, height: int = 40, width: int = 32) -> bytes:
    """A picture of its own for each seed."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (4, 4, 3), np.uint8)
    picture = cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST)
    return cv2.imencode(".jpg", picture)[1].tobytes()


def product(number: int, pictures: Sequence[bytes], category: int | None = None) -> dict:
    record: dict = {"_id": number, "imgs": [{"picture": picture} for picture in pictures]}
    return record if category is None else record | {"category_id": category}


@pytest.fixture
def write_bson(tmp_path: Path) -> Callable[..., Path]:
    def write(records: Sequence[dict], name: str = "train.bson") -> Path:
        path = tmp_path / name
        path.write_bytes(b"".join(bson.encode(record) for record in records))
        return path

    return write


@pytest.fixture
def index_products(tmp_path: Path, write_bson: Callable[..., Path]) -> "Callable[..., Catalog]":
    """index_products(records): the catalog of products of category 7."""
    from lib.data.catalog import Categories, read_catalog
    from lib.data.sources.bson_file import index_bson

    def index(records: Sequence[dict]) -> "Catalog":
        path, folder = write_bson(records), tmp_path / "index"
        folder.mkdir()
        categories = Categories(np.array([7]), [("a", "b", "c")])
        index_bson(folder, path, categories, True, 0.0, processes=1)
        return read_catalog(folder, path)

    return index


@pytest.fixture
def odd_pictures(index_products: "Callable[..., Catalog]") -> "Catalog":
    """A large image, five small ones, and one that cannot be decoded: three products."""
    return index_products(
        [
            product(1, [jpeg(0, height=1000, width=500)], 7),
            product(2, [jpeg(seed) for seed in range(5)], 7),
            product(3, [b"not an image"], 7),
        ]
    )


@pytest.fixture
def write_categories(tmp_path: Path) -> Callable[..., Path]:
    def write(categories: Sequence[int]) -> Path:
        path = tmp_path / "category_names.csv"
        lines = ["category_id,category_level1,category_level2,category_level3"]
        lines += [f"{c},TOP,MIDDLE {c % 2},LEAF {c}" for c in categories]
        path.write_text("\n".join(lines) + "\n")
        return path

    return write
