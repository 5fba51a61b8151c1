import numpy as np
import pytest

from lib.similarity import support
from lib.similarity.support import UsualDistances, is_far, standardised


def alone(labelled, new, group, seed=0):
    """What `is_far` says of each new product among the labelled ones, one after the other."""
    answers = []
    for row in new:
        columns = standardised(np.concatenate([labelled, row[None]]))
        answers.append(bool(is_far(columns[:-1], columns[-1:], group, seed)[0]))
    return answers


@pytest.mark.parametrize(("count", "size"), [(1500, 1), (1500, 3), (60, 1), (1, 1)])
def test_products_that_come_one_by_one_get_the_answer_of_all_distances(count, size, monkeypatch):
    monkeypatch.setattr(support, "MAX_SAMPLE", 1000)
    rng = np.random.default_rng(5)
    labelled = rng.normal(3, 2, (count, 3)).astype(np.float32)
    new = (3 + np.linspace(0, 12, 40)[:, None] * rng.normal(size=(40, 3))).astype(np.float32)
    group = np.arange(count) // size
    found = UsualDistances(labelled, group, 0).is_far_alone(new)
    assert found.tolist() == alone(labelled, new, group)
    assert found.any() == (count > 1)


def test_a_product_at_the_limit_is_compared_with_all(monkeypatch):
    """Points of a grid: every distance is the same, so that the limit is reached exactly."""
    labelled = np.stack(np.meshgrid(np.arange(30.0), np.arange(30.0)), -1).reshape(-1, 2)
    labelled, group = labelled.astype(np.float32), np.arange(900)
    new = np.array([[30, 30], [30.0005, 14], [14, 29.9995], [3.5, 3.5]], np.float32)
    usual = UsualDistances(labelled, group, 0)
    assert usual.is_far_alone(new).tolist() == alone(labelled, new, group)
    compared = []
    monkeypatch.setattr(support, "is_far", lambda *_: compared.append(1) or np.zeros(1, bool))
    usual.is_far_alone(new)
    assert len(compared) == 2


def test_a_constant_column_has_no_scale():
    labelled = np.column_stack([np.random.default_rng(0).normal(size=400), np.ones(400)])
    labelled, group = labelled.astype(np.float32), np.arange(400)
    new = np.array([[0, 1], [0, 2]], np.float32)
    assert UsualDistances(labelled, group, 0).is_far_alone(new).tolist() == [False, True]
    assert alone(labelled, new, group) == [False, True]
