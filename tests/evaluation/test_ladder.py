import json
from dataclasses import replace

import numpy as np

from lib.evaluation import ladder
from lib.evaluation.ladder import LadderRow


def rungs() -> list[LadderRow]:
    rng = np.random.default_rng(0)
    easy = rng.random(1000)
    return [
        LadderRow("a", "cnn", easy < 0.70),
        LadderRow("a ", "cnn tta", easy < 0.72),
        LadderRow("b ", "cnn tta", easy < 0.75),
        LadderRow("fitted", "blend", easy < 0.80),
    ]


def test_rows_for_machines_and_a_table_for_people(tmp_path):
    ladder.write(tmp_path, rungs(), "fitted")
    rows = json.loads((tmp_path / "scores.json").read_text())
    assert [set(row) for row in rows] == [
        {"name", "layer", "part", "accuracy", "low", "high", "n"}
    ] * 4
    assert rows[3]["n"] == 1000
    assert rows[3]["low"] < rows[3]["accuracy"] < rows[3]["high"]
    text = (tmp_path / "ladder.txt").read_text()
    assert text.count("<- submitted") == 1
    assert "fewer errors than the best single CNN with TTA (b ;" in text


def test_gain_is_against_the_best_single_network():
    single, fewer = ladder.fewer_than_single(rungs(), "fitted")
    assert single.name == "b "
    assert 0.15 < fewer.value < 0.25
    assert fewer.low > 0


def test_no_gain_is_called_no_gain():
    same = rungs()
    same[3] = LadderRow("fitted", "blend", same[2].correct)
    assert "no gain, the interval holds zero" in ladder.text(same, "fitted")


def test_groups_and_a_ladder_without_a_submission_are_said():
    group = np.repeat(np.arange(250), 4)
    text = ladder.text([replace(r, group=group) for r in rungs()], "fitted", submitted=False)
    assert "1,000 products in 250 groups" in text
    assert "submitted" not in text
    assert text.count("<- final") == 1


def test_the_final_rung_is_compared_with_the_baselines():
    told = rungs()
    told[1] = replace(told[1], baseline="a lower one")
    told[2] = replace(told[2], correct=told[3].correct, baseline="its equal")
    text = ladder.text(told, "fitted")
    more = 100 * (told[3].correct.mean() - told[1].correct.mean())
    assert f"fitted: {more:+.2f} points against cnn tta a , a lower one (95 %" in text
    assert "its equal (95 % interval +0.00 .. +0.00): no gain" in text
