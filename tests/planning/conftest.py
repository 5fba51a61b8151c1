"""Facts of catalogs, and the speed of a machine, as the planner measures them."""

from pathlib import Path

import numpy as np
import pytest

from lib.planning.catalog import Facts
from lib.planning.costs import Speed
from lib.planning.rates import Rates
from tests.conftest import jpeg

FASHION = Facts(
    products={"train": 26_190, "test": 6_548},
    images={"train": 35_574, "test": 8_771},
    labelled=26_190,
    classes=126,
    smallest=5,
    median=42,
    height=80,
    width=60,
    ids=True,
)
LUMA = Facts({"train": 449}, {"train": 706}, 449, 15, 9, 34, 180, 180, ids=False)


@pytest.fixture
def fashion() -> Facts:
    return FASHION


@pytest.fixture
def luma() -> Facts:
    return LUMA


def speed_of(area: int) -> Speed:
    """Two idle cores, on each of which a network sees 110 images of 120x90 pixels in training."""
    return Speed(Rates(head=280 * 10_800 / area, body=110 * 10_800 / area), area, 2)


@pytest.fixture
def folder_of_classes(tmp_path) -> Path:
    """Three classes of eight pictures of 40x32 pixels, in `shop/train`, and three in `shop/new`."""
    rng = np.random.default_rng(0)
    for number in range(24):
        path = tmp_path / "shop" / "train" / f"class {number % 3}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(int(rng.integers(1 << 20))))
    for number in range(3):
        path = tmp_path / "shop" / "new" / f"{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(jpeg(99 + number))
    return tmp_path / "shop" / "train"
