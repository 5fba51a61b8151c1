"""Import a booster library without scikit-learn, which only its unused classes need.

XGBoost and LightGBM import scikit-learn, and with it most of scipy, for estimators that nothing
here uses: a second that a few new products would wait for. Both go without where it is missing.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

NAME = "sklearn"


@contextmanager
def without_sklearn() -> Iterator[None]:
    """Imports in this block find no scikit-learn, unless it is imported already."""
    if NAME in sys.modules:
        yield
        return
    sys.modules[NAME] = None  # type: ignore[assignment]  # as Python's documentation says
    try:
        yield
    finally:
        del sys.modules[NAME]
