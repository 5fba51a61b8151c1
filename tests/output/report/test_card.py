from lib.output.report.card import CardFacts, Network, model_card
from tests.output.report.sections.test_scores import CALIBRATION, ESTIMATE, LADDER, PROMISE

RULE = {"temperature": 0.8, "products": 300, "threshold": 0.75, "precision": 0.95, "level": 0.95}


def card(**changes):
    facts = CardFacts(
        "mine",
        "fitted",
        {"labelled": 1234, "locked": 100},
        {"train": "abc"},
        [Network("a/fold0", "resnet18", "imagenet", 900, 5, "def")],
        {"mean/l2/xgboost": "012"},
        LADDER,
        PROMISE,
        CALIBRATION,
        RULE,
    )
    return model_card(facts._replace(**changes))


def test_the_card_has_counts_digests_figures_and_limits():
    text = card()
    assert "| labelled | 1,234 |" in text
    assert "| train | `abc` |" in text
    assert "| a/fold0 | resnet18 | imagenet | 900 | 5 | `def` |" in text
    assert "| mean/l2/xgboost | `012` |" in text
    assert "| blend | fitted | 0.7000 | 0.6000 .. 0.8000 |" in text
    assert "temperature 0.800, fitted on 300 out-of-fold products" in text
    assert "Predictions from 0.750 on are accepted, 25.0 % of the locked part" in text
    assert "look unlike the labelled ones; expect 50.0 % (40.0 .. 60.0) there" in text
    assert "## What the promise does not cover" in text


def test_what_was_not_measured_is_not_promised():
    promise = {"out_of_fold": ESTIMATE, "locked_without_twin": None, "locked_with_twin": 0}
    text = card(promise=promise, rule=RULE | {"threshold": None})
    assert "No prediction is accepted there at a precision of 95.0 %." in text
    assert "to classify look" not in text
    assert "near twin in training; of" not in text
