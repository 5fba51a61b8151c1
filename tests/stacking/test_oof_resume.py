"""Fits resume after a kill, all folds have one number of rounds, and no library prints."""

import json
import time
from dataclasses import replace

import numpy as np
import pytest

from lib.config.schema import BOOSTERS_L2, RANKERS
from lib.stacking import oof
from lib.stacking.boosters import registry
from tests.stacking.toy_layers import SMALL, fit, learnable, rankable


@pytest.mark.parametrize("booster", [*BOOSTERS_L2, *RANKERS])
def test_an_interrupted_fit_resumes_to_the_same_bytes(booster, tmp_path):
    data = rankable(products=60)
    fit(tmp_path / "uninterrupted", booster, data, threads=2)
    (tmp_path / "interrupted").mkdir()
    ending = registry.extension(booster)
    stored = tmp_path / "interrupted" / f"fold-2.{ending}"
    for path in (tmp_path / "uninterrupted").glob(f"fold-2.{ending}*"):
        stored.with_name(path.name).write_bytes(path.read_bytes())
    damaged = stored.with_name(f"fold-1.{ending}")  # fitted again: no library may parse it
    damaged.write_bytes(b"damaged" + stored.read_bytes())
    damaged.with_name(damaged.name + ".sha256").write_text("0" * 64)
    (tmp_path / "interrupted" / f".fold-0.{ending}.tmp").write_bytes(b"half a model")
    before = stored.stat().st_mtime_ns
    fit(tmp_path / "interrupted", booster, data, threads=1)
    assert stored.stat().st_mtime_ns == before
    for path in (tmp_path / "uninterrupted").glob("[!_]*"):  # _time-0.json: seconds, of no digest
        assert (tmp_path / "interrupted" / path.name).read_bytes() == path.read_bytes(), path.name


@pytest.mark.parametrize("booster", ["lightgbm", "xgboost", "catboost", "lambdarank"])
@pytest.mark.parametrize("killed", ["fitting", "choosing", "cutting", "clearing"])
def test_early_stopping_resumes_after_a_kill_at_any_step(booster, killed, tmp_path, monkeypatch):
    data = rankable(products=60)
    stack = replace(SMALL, n_estimators=30, early_stopping_rounds=2, learning_rate=0.5)
    uninterrupted, interrupted = tmp_path / "uninterrupted", tmp_path / "interrupted"
    facts = fit(uninterrupted, booster, data, stack=stack)

    class Killed(Exception):
        pass

    def die_at(count, real):
        calls = iter(range(100))

        def called(*arguments, **more):
            if next(calls) == count:
                raise Killed
            return real(*arguments, **more)

        return called

    steps = {
        "fitting": (registry, "fit", 2),
        "choosing": (oof, "best_num_rounds", 0),
        "cutting": (oof.FoldModels, "save", 6),  # after four models, at the third interrupted
        "clearing": (oof.FoldModels, "predict_oof", 0),
    }
    owner, name, count = steps[killed]
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, die_at(count, getattr(owner, name)))
        with pytest.raises(Killed):
            fit(interrupted, booster, data, stack=stack)
    assert fit(interrupted, booster, data, stack=stack) == facts
    assert sorted(path.name for path in interrupted.iterdir()) == sorted(
        path.name for path in uninterrupted.iterdir()
    )
    for path in uninterrupted.iterdir():
        assert (interrupted / path.name).read_bytes() == path.read_bytes(), path.name


@pytest.mark.parametrize("booster", ["lightgbm", "xgboost", "catboost", *RANKERS])
def test_all_folds_are_trimmed_to_one_number_of_rounds(booster, tmp_path):
    """Each model is the one that as many trees, without early stopping, would have given."""
    data = rankable()
    stack = replace(SMALL, n_estimators=40, early_stopping_rounds=3, learning_rate=0.4)
    facts = fit(tmp_path / "early", booster, data, stack=stack)
    stored = json.loads((tmp_path / "early" / "rounds.json").read_text())
    assert facts["rounds"] == stored["rounds"] == int(np.argmin(stored["loss"])) + 1
    assert 1 <= facts["rounds"] < 40
    fixed = replace(stack, n_estimators=facts["rounds"], early_stopping_rounds=0)
    plain = fit(tmp_path / "plain", booster, data, stack=fixed)
    early, plain_scores = (np.load(tmp_path / name / "oof.npy") for name in ("early", "plain"))
    np.testing.assert_allclose(early, plain_scores, rtol=1e-4)
    assert "rounds" not in plain
    if booster not in RANKERS:
        assert stored["loss"][facts["rounds"] - 1] == pytest.approx(facts["log_loss"], abs=0.01)


def test_forests_ignore_early_stopping(tmp_path):
    data = learnable()
    facts = fit(tmp_path / "a", "extra_trees", data, stack=replace(SMALL, early_stopping_rounds=3))
    assert "rounds" not in facts
    fit(tmp_path / "b", "extra_trees", data)
    first, second = ((tmp_path / name / "fold-1.npz").read_bytes() for name in "ab")
    assert first == second


@pytest.mark.parametrize("booster", ["lightgbm", "lambdarank", "xgboost", "catboost"])
def test_no_library_prints_on_any_thread(booster, tmp_path, capfd):
    """LightGBM's own setting for that holds on the main thread only."""
    tables, target, fold, product = rankable()
    tables[1].values[:, 0] = np.arange(len(product)) % 400
    fit(
        tmp_path,
        booster,
        (tables, target, fold, product),
        stack=replace(SMALL, early_stopping_rounds=3),
    )
    assert capfd.readouterr() == ("", "")


def test_fits_that_share_a_gpu_run_one_after_the_other():
    running, highest = 0, 0

    def work(k, threads):
        nonlocal running, highest
        running += 1
        highest = max(highest, running)
        time.sleep(0.01)
        running -= 1
        return k, threads

    assert oof.run_in_threads(work, 3, 4, "title", sequential=True) == [(0, 4), (1, 4), (2, 4)]
    assert highest == 1
    assert oof.run_in_threads(work, 3, 4, "title") == [(0, 1), (1, 1), (2, 1)]


def test_the_best_round_is_that_of_the_mean_over_the_shortest_history():
    histories = [[0.9, 0.5, 0.4, 0.1], [0.8, 0.4, 0.6], [0.7, 0.6, 0.5, 0.0, 0.0]]
    count, mean = oof.best_num_rounds(histories)
    assert count == 2
    np.testing.assert_allclose(mean, [0.8, 0.5, 0.5])


def test_an_empty_history_is_refused():
    with pytest.raises(ValueError, match="no rounds"):
        oof.best_num_rounds([[0.3], []])
