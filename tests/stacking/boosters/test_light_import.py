import subprocess
import sys

from lib.stacking.boosters.light_import import without_sklearn

SCRIPT = """
import sys
from lib.stacking.boosters import registry
for name in ("xgboost", "lightgbm"):
    registry.module_of(name)
print("sklearn" in sys.modules, "catboost" in sys.modules)
from sklearn.linear_model import LogisticRegression
"""


def test_boosters_leave_scikit_learn_to_those_who_need_it():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "False"]


def test_what_is_imported_already_stays():
    import sklearn

    with without_sklearn():
        assert sys.modules["sklearn"] is sklearn
    assert sys.modules["sklearn"] is sklearn
