import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.config.model import LRSchedule, Model
from lib.training.schedule import (
    CHUNK_STEPS,
    MOMENTUM,
    ONE_CYCLE_MOMENTA,
    WARMUP_START,
    Schedule,
    learning_rate,
    momentum,
    num_plateaus,
)

MODEL = Model(head_only_epochs=1, epochs=3, batch_size=8, lr=1.0)


def learning_rates(settings: LRSchedule, steps: int, peak: float = 1.0) -> list[float]:
    return [learning_rate(settings, peak, step, steps, 0, 0) for step in range(steps)]


def test_a_growing_batch_makes_fewer_steps():
    schedule = Schedule(replace(MODEL, batch_size_schedule=((1, 16), (2, 32))), 100)
    assert [schedule.batch_size(epoch) for epoch in range(4)] == [8, 8, 16, 32]
    assert [schedule.num_steps(epoch) for epoch in range(4)] == [12, 12, 6, 3]
    assert [schedule.num_images(epoch) for epoch in range(4)] == [96, 96, 96, 96]


def test_accumulated_gradients_divide_a_batch_into_micro_batches():
    schedule = Schedule(replace(MODEL, grad_accum_steps=4), 100)
    assert schedule.batch_size(1) == 8
    assert schedule.micro_batch_size(1) == 2
    assert schedule.num_steps(1) == 12


def test_fewer_rows_than_a_batch_are_one_step():
    schedule = Schedule(MODEL, 5)
    assert (schedule.batch_size(0), schedule.num_steps(0)) == (5, 1)


@given(st.integers(1, 3 * CHUNK_STEPS))
def test_chunks_cover_every_step_of_an_epoch_once(num_steps):
    schedule = Schedule(replace(MODEL, batch_size=1), num_steps)
    chunks = range(schedule.num_chunks(0) + 1)
    starts = [schedule.first_step(chunk) for chunk in chunks]
    assert starts[0] == 0
    assert starts[-2] < num_steps <= starts[-1]
    assert {b - a for a, b in itertools.pairwise(starts)} == {CHUNK_STEPS}


def test_the_unfreeze_schedule_counts_epochs_of_the_body():
    schedule = Schedule(replace(MODEL, unfreeze_schedule=(3, 1), freeze_until=4), 100)
    assert [schedule.first_trainable_unit(epoch) for epoch in range(4)] == [3, 3, 1, 1]
    assert schedule.model_cfg.lowest_trainable_unit == 1


def test_without_an_unfreeze_schedule_the_same_units_train_in_every_epoch():
    schedule = Schedule(replace(MODEL, freeze_until=4), 100)
    assert {schedule.first_trainable_unit(epoch) for epoch in range(4)} == {4}
    assert schedule.model_cfg.lowest_trainable_unit == 4


def test_head_only_epochs_have_their_own_learning_rate():
    schedule = Schedule(replace(MODEL, head_lr=0.5), 100)
    assert schedule.lr_and_momentum(0, 3, []) == (0.5, MOMENTUM)


def test_the_learning_rate_of_the_head_may_fall_by_epoch():
    model = replace(MODEL, head_only_epochs=4, head_lr_milestones=((0, 1e-3), (2, 1e-4)))
    schedule = Schedule(model, 100)
    rates = [schedule.lr_and_momentum(epoch, 0, [])[0] for epoch in range(4)]
    assert rates == [1e-3, 1e-3, 1e-4, 1e-4]


def test_the_schedule_spans_epochs_of_different_lengths():
    model = replace(
        MODEL, batch_size_schedule=((1, 32),), lr_schedule=LRSchedule(warmup_fraction=0.0)
    )
    schedule = Schedule(model, 96)  # 12, 3 and 3 steps of the body

    def lr(epoch: int, step: int) -> float:
        return schedule.lr_and_momentum(epoch, step, [])[0]

    assert lr(1, 0) == pytest.approx(1.0)
    assert lr(1, 9) == pytest.approx(0.5)
    assert lr(3, 2) < 0.02
    assert lr(2, 0) > lr(2, 1)


def test_plateaus_lower_only_the_learning_rate_of_the_body():
    settings = LRSchedule("plateau", warmup_fraction=0.0, plateau_factor=0.5)
    schedule = Schedule(replace(MODEL, lr_schedule=settings), 100)
    assert schedule.lr_and_momentum(3, 0, [1.0, 1.0])[0] == 0.5
    assert schedule.lr_and_momentum(0, 0, [1.0, 1.0])[0] == MODEL.head_lr


@given(st.integers(4, 500), st.floats(1e-4, 1.0))
def test_the_default_rises_once_and_falls_once(steps, peak):
    rates = learning_rates(LRSchedule(), steps, peak)
    top = int(np.argmax(rates))
    assert 0 < max(rates) <= peak
    assert abs(top - LRSchedule().warmup_fraction * steps) <= 1
    assert all(a < b for a, b in itertools.pairwise(rates[: top + 1]))
    assert all(a > b for a, b in itertools.pairwise(rates[top:]))
    assert rates[0] == pytest.approx(WARMUP_START * peak)


def test_every_cosine_cycle_starts_at_the_peak():
    rates = learning_rates(LRSchedule(warmup_fraction=0.0, num_cycles=3, min_lr_ratio=0.1), 300)
    assert [rates[i] for i in (0, 100, 200)] == pytest.approx([1.0] * 3)
    assert [rates[i] for i in (99, 199, 299)] == pytest.approx([0.1] * 3, abs=1e-3)
    assert rates[50] == pytest.approx(0.55)


def test_cyclical_rates_rise_and_fall_linearly():
    rates = learning_rates(LRSchedule("cyclical", num_cycles=2, min_lr_ratio=0.2), 200)
    assert [rates[i] for i in (0, 50, 100, 150)] == pytest.approx([0.2, 1.0, 0.2, 1.0])
    assert rates[25] == pytest.approx(0.6)


def test_milestones_count_epochs():
    settings = LRSchedule("multistep", milestones=((0, 3e-4), (7, 1e-4), (9, 5e-5)))
    rates = [learning_rate(settings, 1.0, 0, 10, epoch, 0) for epoch in (0, 6, 7, 8, 9, 20)]
    assert rates == [3e-4, 3e-4, 1e-4, 1e-4, 5e-5, 5e-5]


def test_a_constant_rate_has_a_warmup():
    rates = learning_rates(LRSchedule("constant", warmup_fraction=0.5), 4)
    assert rates == pytest.approx([0.04, 0.52, 1, 1])


def test_the_rate_falls_at_each_plateau():
    settings = LRSchedule("plateau", warmup_fraction=0.0, plateau_factor=0.1)
    rates = [learning_rate(settings, 2.0, 5, 10, 1, plateaus) for plateaus in (0, 1, 2)]
    assert rates == [2.0, 0.2, 0.02000_0000_0000_0000_4]


@pytest.mark.parametrize(
    ("losses", "patience", "plateaus"),
    [
        ([], 1, 0),
        ([3.0, 2.0, 1.0], 1, 0),
        ([3.0, 3.0], 1, 1),
        ([3.0, 3.1, 2.0, 2.1], 1, 2),
        ([3.0, 3.1, 2.0, 2.1], 2, 0),
        ([3.0, 3.1, 3.2, 3.1, 3.1], 2, 2),
        ([3.0, 2.99999], 1, 1),  # too small a gain
    ],
)
def test_plateaus_are_counted(losses, patience, plateaus):
    assert num_plateaus(LRSchedule("plateau", plateau_patience=patience), losses) == plateaus


def test_one_cycle_moves_the_momentum_against_the_rate():
    momenta = [momentum(LRSchedule("one_cycle"), step, 100) for step in range(100)]
    assert int(np.argmin(momenta)) == 25
    assert momenta[25] == pytest.approx(ONE_CYCLE_MOMENTA[0])
    assert max(momenta) <= ONE_CYCLE_MOMENTA[1]
    assert momentum(LRSchedule(), 25, 100) == MOMENTUM
