import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.config.model import LRSchedule
from lib.training.rates import MOMENTA, MOMENTUM, START, momentum, plateaus, rate


def rates(plan: LRSchedule, steps: int, peak: float = 1.0) -> list[float]:
    return [rate(plan, peak, step, steps, 0, 0) for step in range(steps)]


@given(st.integers(4, 500), st.floats(1e-4, 1.0))
def test_the_default_rises_once_and_falls_once(steps, peak):
    found = rates(LRSchedule(), steps, peak)
    top = int(np.argmax(found))
    assert 0 < max(found) <= peak
    assert abs(top - LRSchedule().warmup_fraction * steps) <= 1
    assert all(a < b for a, b in itertools.pairwise(found[: top + 1]))
    assert all(a > b for a, b in itertools.pairwise(found[top:]))
    assert found[0] == pytest.approx(START * peak)


def test_cosines_begin_at_the_peak_again():
    found = rates(LRSchedule(warmup_fraction=0.0, num_cycles=3, min_lr_ratio=0.1), 300)
    assert [found[at] for at in (0, 100, 200)] == pytest.approx([1.0] * 3)
    assert [found[at] for at in (99, 199, 299)] == pytest.approx([0.1] * 3, abs=1e-3)
    assert found[50] == pytest.approx(0.55)


def test_triangles_go_up_and_down():
    found = rates(LRSchedule("cyclical", num_cycles=2, min_lr_ratio=0.2), 200)
    assert [found[at] for at in (0, 50, 100, 150)] == pytest.approx([0.2, 1.0, 0.2, 1.0])
    assert found[25] == pytest.approx(0.6)


def test_a_table_goes_by_epochs():
    plan = LRSchedule("multistep", milestones=((0, 3e-4), (7, 1e-4), (9, 5e-5)))
    found = [rate(plan, 1.0, 0, 10, epoch, 0) for epoch in (0, 6, 7, 8, 9, 20)]
    assert found == [3e-4, 3e-4, 1e-4, 1e-4, 5e-5, 5e-5]


def test_a_constant_rate_still_warms_up():
    assert rates(LRSchedule("constant", warmup_fraction=0.5), 4) == pytest.approx(
        [0.04, 0.52, 1, 1]
    )


def test_the_rate_falls_at_each_plateau():
    plan = LRSchedule("plateau", warmup_fraction=0.0, plateau_factor=0.1)
    assert [rate(plan, 2.0, 5, 10, 1, falls) for falls in (0, 1, 2)] == [
        2.0,
        0.2,
        0.02000_0000_0000_0000_4,
    ]


@pytest.mark.parametrize(
    ("losses", "patience", "falls"),
    [
        ([], 1, 0),
        ([3.0, 2.0, 1.0], 1, 0),
        ([3.0, 3.0], 1, 1),
        ([3.0, 3.1, 2.0, 2.1], 1, 2),
        ([3.0, 3.1, 2.0, 2.1], 2, 0),
        ([3.0, 3.1, 3.2, 3.1, 3.1], 2, 2),
        ([3.0, 2.99999], 1, 1),  # as good as no gain
    ],
)
def test_plateaus_are_counted(losses, patience, falls):
    assert plateaus(LRSchedule("plateau", plateau_patience=patience), losses) == falls


def test_one_cycle_moves_the_momentum_the_other_way():
    plan = LRSchedule("one_cycle")
    found = [momentum(plan, step, 100) for step in range(100)]
    assert int(np.argmin(found)) == 25
    assert found[25] == pytest.approx(MOMENTA[0])
    assert max(found) <= MOMENTA[1]
    assert momentum(LRSchedule(), 25, 100) == MOMENTUM
