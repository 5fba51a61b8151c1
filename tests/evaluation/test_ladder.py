import json
from dataclasses import replace

import numpy as np

from lib.evaluation import ladder
from lib.evaluation.ladder import LadderRow


def rows() -> list[LadderRow]:
    rng = np.random.default_rng(0)
    easy = rng.random(1000)
    return [
        LadderRow("a", "cnn", easy < 0.70),
        LadderRow("a ", "cnn tta", easy < 0.72),
        LadderRow("b ", "cnn tta", easy < 0.75),
        LadderRow("fitted", "blend", easy < 0.80),
    ]


def test_the_ladder_is_written_as_json_and_as_a_table(tmp_path):
    ladder.write(tmp_path, rows(), "fitted")
    records = json.loads((tmp_path / "scores.json").read_text())
    assert [set(record) for record in records] == [
        {"name", "layer", "part", "accuracy", "low", "high", "n"}
    ] * 4
    assert records[3]["n"] == 1000
    assert records[3]["low"] < records[3]["accuracy"] < records[3]["high"]
    text = (tmp_path / "ladder.txt").read_text()
    assert text.count("<- submitted") == 1
    assert "fewer errors than the best single CNN with TTA (b ;" in text


def test_errors_are_compared_with_those_of_the_best_single_network():
    single, fewer = ladder.reduction_over_single_cnn(rows(), "fitted")
    assert single.name == "b "
    assert 0.15 < fewer.value < 0.25
    assert fewer.low > 0


def test_a_difference_of_zero_is_called_no_gain():
    same = rows()
    same[3] = LadderRow("fitted", "blend", same[2].correct)
    assert "no gain, the interval contains zero" in ladder.to_text(same, "fitted")


def test_the_table_tells_of_groups_and_of_a_missing_submission():
    group = np.repeat(np.arange(250), 4)
    text = ladder.to_text([replace(r, group=group) for r in rows()], "fitted", submitted=False)
    assert "1,000 products in 250 groups" in text
    assert "submitted" not in text
    assert text.count("<- final") == 1


def test_the_final_row_is_compared_with_the_baselines():
    compared = rows()
    compared[1] = replace(compared[1], baseline="a lower one")
    compared[2] = replace(compared[2], correct=compared[3].correct, baseline="its equal")
    text = ladder.to_text(compared, "fitted")
    more = 100 * (compared[3].correct.mean() - compared[1].correct.mean())
    assert f"fitted: {more:+.2f} points against cnn tta a , a lower one (95 %" in text
    assert "its equal (95 % interval +0.00 .. +0.00): no gain" in text
