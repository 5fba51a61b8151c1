from dataclasses import replace

import pytest

from lib.config.model import LRSchedule, Model
from lib.training.schedule import Schedule

MODEL = Model(head_only_epochs=1, epochs=3, batch_size=8, lr=1.0)


def test_a_growing_batch_makes_fewer_steps():
    plan = Schedule(replace(MODEL, batch_size_schedule=((1, 16), (2, 32))), 100)
    assert [plan.batch(epoch) for epoch in range(4)] == [8, 8, 16, 32]
    assert [plan.steps(epoch) for epoch in range(4)] == [12, 12, 6, 3]


def test_a_batch_passes_in_pieces():
    plan = Schedule(replace(MODEL, grad_accum_steps=4), 100)
    assert (plan.batch(1), plan.piece(1), plan.steps(1)) == (8, 2, 12)


def test_fewer_items_than_a_batch_are_one_step():
    plan = Schedule(MODEL, 5)
    assert (plan.batch(0), plan.steps(0)) == (5, 1)


def test_units_thaw_by_epoch():
    plan = Schedule(replace(MODEL, unfreeze_schedule=(3, 1), freeze_until=4), 100)
    assert [plan.trainable_from(epoch) for epoch in range(4)] == [3, 3, 1, 1]
    assert plan.lowest_unit == 1
    still = Schedule(replace(MODEL, freeze_until=4), 100)
    assert {still.trainable_from(epoch) for epoch in range(4)} == {4} == {still.lowest_unit}


def test_the_head_has_a_rate_of_its_own():
    plan = Schedule(replace(MODEL, head_lr=0.5), 100)
    assert plan.rate(0, 3, [])[0] == 0.5


def test_the_schedule_spans_epochs_of_different_lengths():
    model = replace(
        MODEL, batch_size_schedule=((1, 32),), lr_schedule=LRSchedule(warmup_fraction=0.0)
    )
    plan = Schedule(model, 96)  # 12, 3 and 3 steps of the body
    assert plan.rate(1, 0, [])[0] == pytest.approx(1.0)
    assert plan.rate(1, 9, [])[0] == pytest.approx(0.5)
    assert plan.rate(3, 2, [])[0] < 0.02
    assert plan.rate(2, 0, [])[0] > plan.rate(2, 1, [])[0]


def test_plateaus_lower_the_rate_of_the_body_alone():
    plan = Schedule(
        replace(MODEL, lr_schedule=LRSchedule("plateau", warmup_fraction=0.0, plateau_factor=0.5)),
        100,
    )
    assert plan.rate(3, 0, [1.0, 1.0])[0] == 0.5
    assert plan.rate(0, 0, [1.0, 1.0])[0] == MODEL.head_lr
