"""The study of partial drawings."""

from argparse import Namespace

import numpy as np
import pytest

from lib.config.load import load
from lib.errors import UserError
from lib.pipeline.experiment import Experiment
from lib.stages import extract
from lib.stages.order import build_stage
from studies import quickdraw_strokes, trials
from tests.conftest import ROOT
from tests.studies.conftest import write_ndjson


@pytest.fixture
def strokes(tmp_path):
    """40 zigzags across and 40 along the square."""
    rng = np.random.default_rng(0)
    for first_key, name in ((400, "flat"), (500, "steep")):
        drawings = []
        for _ in range(40):
            steep = [rng.integers(0, 40, 6).tolist(), [0, 50, 99, 150, 200, 255]]
            stroke = steep if name == "steep" else steep[::-1]
            drawings.append([stroke, stroke[::-1]])
        write_ndjson(tmp_path / "drawn" / f"{name}.ndjson", first_key, drawings)
    changes = [f"work={tmp_path}", f'data.root="{tmp_path}"', 'data.train="drawn"']
    config = load(ROOT / "configs/quickdraw_strokes.toml", [*changes, "train.batch_size=8"])
    experiment = Experiment(config)
    build_stage(extract, experiment, rebuild=False)
    return experiment


def test_accuracy_is_reported_for_every_fraction(strokes, arguments, read_csv, tmp_path):
    data = trials.load_drawings(strokes)
    few = arguments(model="modern", categories=0, epochs=3, seeds=1)
    quickdraw_strokes.study(few, strokes, data)
    (name,) = [path.stem for path in (tmp_path / "docs" / "quickdraw").glob("*.csv")]
    rows = read_csv(name)
    assert [float(row["fraction"]) for row in rows] == list(quickdraw_strokes.FRACTIONS)
    assert max(float(row["pen_partial"]) for row in rows) > 0.8


def test_a_config_without_strokes_is_an_error(experiment):
    data = trials.load_drawings(experiment)
    with pytest.raises(UserError, match='"npy"; this study needs "strokes"'):
        quickdraw_strokes.study(Namespace(config="x.toml"), experiment, data)
