from dataclasses import replace

import numpy as np
import pytest

from lib.evaluation import abstention
from lib.evaluation.abstention import (
    AbstentionRule,
    evaluate_abstention,
    fit_abstention_rule,
    reweight_rule,
)
from lib.evaluation.metrics import Estimate
from lib.evaluation.shift import Shift

Rows = tuple[np.ndarray, np.ndarray, np.ndarray]


def candidates(num_products: int, seed: int, sharpness: float = 8.0) -> Rows:
    """score, product, target of three candidates a product; scores are their true chances."""
    rng = np.random.default_rng(seed)
    margin = sharpness * rng.random((num_products, 3))
    share = np.exp(margin) / np.exp(margin).sum(axis=1, keepdims=True)
    truth = (rng.random((num_products, 1)) > np.cumsum(share, axis=1)).sum(axis=1)
    target = np.arange(3) == np.minimum(truth, 2)[:, None]
    product = np.repeat(np.arange(num_products, dtype=np.int32), 3)
    return share.ravel().astype(np.float32), product, target.ravel().astype(np.int8)


def test_accepted_predictions_reach_the_required_precision():
    rule = fit_abstention_rule(*candidates(4000, seed=0), min_precision=0.95)
    assert rule.threshold is not None
    assert 0 < rule.coverage < 1
    result = evaluate_abstention(rule, *candidates(4000, seed=1))
    assert result.precision is not None
    assert result.precision.value >= 0.95 > result.accuracy.value
    assert result.num_accepted == result.precision.n < result.accuracy.n == 4000


def test_nothing_is_accepted_where_the_precision_cannot_be_shown():
    rule = fit_abstention_rule(*candidates(200, seed=0), min_precision=0.999)
    assert rule.threshold is None
    assert rule.coverage == 0
    assert not rule.accepts(np.ones(3, np.float32)).any()
    result = evaluate_abstention(rule, *candidates(200, seed=1))
    assert result.num_accepted == 0
    assert result.precision is None
    assert "no probability is high enough for a precision of 0.999" in abstention.describe(result)


def test_the_threshold_is_tested_on_one_product_of_each_group():
    rows = candidates(300, seed=0)
    group = np.arange(300, dtype=np.int32) // 3
    rule = fit_abstention_rule(*rows, min_precision=0.5, group=group)
    assert (rule.num_products, rule.num_tested) == (300, 100)
    assert fit_abstention_rule(*rows, min_precision=0.5).num_tested == 300


def test_intervals_are_wider_where_products_come_in_groups():
    rows = candidates(900, seed=0)
    rule = fit_abstention_rule(*rows, min_precision=0.9)
    group = np.arange(900, dtype=np.int32) // 300
    single, grouped = evaluate_abstention(rule, *rows), evaluate_abstention(rule, *rows, group)
    assert single.accuracy.value == grouped.accuracy.value
    assert single.precision is not None
    assert grouped.precision is not None
    assert single.precision.value == grouped.precision.value
    assert single.accuracy != grouped.accuracy


def test_a_rule_is_read_as_it_was_written(tmp_path):
    rule = fit_abstention_rule(*candidates(500, seed=0), min_precision=0.9)
    rule.save(tmp_path)
    assert AbstentionRule.load(tmp_path) == rule


@pytest.mark.parametrize("threshold", [0.5, None])
def test_a_product_is_accepted_from_the_threshold_on(threshold):
    fitted = fit_abstention_rule(*candidates(500, seed=0), min_precision=0.9)
    rule = replace(fitted, threshold=threshold)
    accepted = rule.accepts(np.array([0.499, 0.5, 1.0], np.float32))
    assert accepted.tolist() == [False, threshold is not None, threshold is not None]


def test_the_summary_tells_when_the_precision_is_missed_or_not_measured():
    rule = fit_abstention_rule(*candidates(1000, seed=0), min_precision=0.9)
    result = evaluate_abstention(rule, *candidates(1000, seed=1))
    line = abstention.summary_line(result)
    assert line.startswith(f"accepted {result.num_accepted:,} of 1,000 locked products (precision")
    assert "less than required" not in line
    missed = replace(result, min_precision=0.9999)
    assert abstention.describe(missed).endswith("which is less than required")
    unmeasured = replace(result, precision=None)
    assert abstention.describe(unmeasured).endswith("no product of the locked part is accepted")


def test_plain_data_holds_what_was_measured():
    rule = fit_abstention_rule(*candidates(1000, seed=0), min_precision=0.9)
    result = evaluate_abstention(rule, *candidates(1000, seed=1))
    data = abstention.to_dict(result)
    assert (data["precision_wanted"], data["threshold"]) == (0.9, rule.threshold)
    locked = data["locked"]
    assert locked["accepted"] == locked["precision"]["n"] == result.num_accepted
    assert locked["coverage"] == round(result.num_accepted / 1000, 6)
    assert sum(row["n"] for row in locked["reliability"]) == 1000


def shift_of(low, num_products, effective=100.0):
    auc = Estimate(low + 0.02, low, low + 0.04, 2 * num_products)
    return Shift(auc, np.ones(num_products), np.ones(num_products, bool), effective)


def test_a_rule_stays_where_new_products_do_not_differ():
    rows = candidates(1000, seed=0)
    rule = fit_abstention_rule(*rows, min_precision=0.9)
    same = reweight_rule(rule, shift_of(0.48, 1000), np.ones(1000), *rows)
    assert replace(same, shift=None) == rule


def test_weight_on_uncertain_products_makes_the_rule_stricter():
    rows = candidates(4000, seed=0)
    rule = fit_abstention_rule(*rows, min_precision=0.9)
    probability = rule.probability(rows[0], rows[1]).reshape(-1, 3).max(axis=1)
    shift = shift_of(0.505, 4000)
    uncertain = reweight_rule(rule, shift, np.where(probability < 0.92, 3.0, 0.5), *rows)
    certain = reweight_rule(rule, shift, np.where(probability < 0.92, 0.5, 3.0), *rows)
    assert uncertain.threshold is not None
    assert uncertain.threshold > rule.threshold
    assert uncertain.coverage < rule.coverage
    assert certain.threshold == rule.threshold


def test_a_rule_is_withdrawn_where_new_products_differ_too_much():
    rows = candidates(1000, seed=0)
    rule = fit_abstention_rule(*rows, min_precision=0.9)
    withdrawn = reweight_rule(rule, shift_of(abstention.MAX_AUC + 0.01, 1000), np.ones(1000), *rows)
    assert (withdrawn.threshold, withdrawn.coverage) == (None, 0.0)
    assert withdrawn.shift is not None
    assert withdrawn.shift.labelled_threshold == rule.threshold


def test_a_rule_for_new_products_is_read_as_it_was_written(tmp_path):
    rows = candidates(500, seed=0)
    rule = fit_abstention_rule(*rows, min_precision=0.9)
    assert "shift" not in rule.to_dict()
    new = reweight_rule(rule, shift_of(0.4, 500), np.ones(500), *rows)
    new.save(tmp_path)
    assert AbstentionRule.load(tmp_path) == new


def test_one_weight_for_each_product_is_needed():
    rows = candidates(100, seed=0)
    rule = fit_abstention_rule(*rows, min_precision=0.5)
    with pytest.raises(ValueError, match="99 weights of 100 products"):
        reweight_rule(rule, shift_of(0.51, 100), np.ones(99), *rows)
