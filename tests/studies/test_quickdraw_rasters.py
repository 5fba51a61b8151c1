"""The study of bitmaps and rasterized strokes."""

from dataclasses import replace

import numpy as np

from studies import quickdraw_rasters, trials
from tests.conftest import ROOT
from tests.studies.conftest import CATEGORIES, write_ndjson


def test_both_kinds_are_learned_and_evaluated(experiment, arguments, read_csv, tmp_path):
    """Each kind is learned, but not from the other: strokes are centered, these bitmaps are not."""
    for number, name in enumerate(CATEGORIES):
        drawings = []
        for key in range(20):
            rows = np.linspace(70 * number + key, 70 * number + 40, 4).astype(int).clip(0, 255)
            drawings.append([[[0, 255], [int(row)] * 2] for row in rows])
        write_ndjson(tmp_path / "lines" / f"{name}.ndjson", 1000 * number, drawings)
    text = (ROOT / "configs/quickdraw_strokes.toml").read_text()
    text = text.replace('root = "../shared/data/quickdraw"', f'root = "{tmp_path}"')
    (tmp_path / "strokes.toml").write_text(text.replace('"strokes"\ntest', '"lines"\ntest'))
    config = experiment.config
    longer = replace(config, models={"cnn2": replace(config.models["cnn2"], epochs=15)})
    experiment = replace(experiment, config=longer)
    given = arguments(seeds=1, strokes=str(tmp_path / "strokes.toml"), rebuild=False)
    quickdraw_rasters.study(given, experiment, trials.load_drawings(experiment))
    table = read_csv("rasters")
    pairs = [(row["trained_on"], row["evaluated_on"]) for row in table]
    assert pairs == [(a, b) for a in quickdraw_rasters.KINDS for b in quickdraw_rasters.KINDS]
    same_kind = [row for row in table if row["trained_on"] == row["evaluated_on"]]
    assert min(float(row["accuracy"]) for row in same_kind) > 0.9
