"""Who is given which product: compared with sets, several people and tabs at once."""

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.labelling.review.log import ABSENT, CLASS, SKIP, ReviewLog, decisions
from lib.labelling.review.queue import ReviewQueue, StaleProduct

KEYS = ["a", "b", "c", "d"]
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
ACTIONS = st.tuples(
    st.sampled_from([1, 2]),
    st.sampled_from([CLASS, ABSENT, SKIP, "undo", "look", "restart"]),
    st.sampled_from(KEYS),
    st.booleans(),  # to the product that the person holds, or to the drawn one
)


@settings(max_examples=80, deadline=None)
@given(st.lists(ACTIONS, max_size=30))
def test_any_actions_of_two_people(actions):
    """Decided is what somebody decided and did not undo, whatever the order of actions."""
    decided: dict[str, int] = {}
    skipped: dict[int, set[str]] = {1: set(), 2: set()}
    history: dict[int, list[str]] = {1: [], 2: []}
    with (
        tempfile.TemporaryDirectory(dir=MEMORY) as folder,
        ReviewLog(Path(folder) / "answers.sqlite") as log,
    ):
        queue = ReviewQueue(log, KEYS)
        for person, kind, drawn, holds in actions:
            if kind == "restart":
                queue = ReviewQueue(log, KEYS)
            turn = queue.turn(person)
            held = None if turn.product is None else KEYS[turn.product]
            still = set(KEYS) - set(decided) - skipped[person]
            assert (held is None) == (not still)
            assert held is None or held in still
            assert turn.decided == len(decided)
            assert turn.skipped == len(skipped[person] - set(decided))
            assert turn.own == sum(by == person for by in decided.values())
            last = history[person][-1] if history[person] else None
            assert (turn.last.product if turn.last else None) == last
            if kind == "undo":
                product = last if holds else drawn
                if last is None or product != last:
                    with pytest.raises(StaleProduct):
                        queue.undo(person, product or drawn)
                    continue
                queue.undo(person, product)
                history[person].pop()
                if product in skipped[person]:
                    skipped[person].remove(product)
                else:
                    del decided[product]
                if product not in decided:  # else the other person decided it meanwhile
                    assert KEYS[queue.turn(person).product] == product
            elif kind in (CLASS, ABSENT, SKIP):
                product = held if holds and held else drawn
                class_key = "7" if kind == CLASS else None
                if product != held:
                    with pytest.raises(StaleProduct):
                        queue.answer(person, product, kind, class_key)
                    continue
                queue.answer(person, product, kind, class_key)
                history[person].append(product)
                if kind == SKIP:
                    skipped[person].add(product)
                else:
                    decided[product] = person
        stand = decisions(log.answers())
        assert {k: a.person for k, a in stand.items() if a.kind != SKIP} == decided


def test_products_come_in_order_and_to_one_person_each(log):
    queue = ReviewQueue(log, KEYS)
    assert [queue.turn(person).product for person in (1, 2, 1)] == [0, 1, 0]
    queue.answer(1, "a", CLASS, "7")
    assert queue.turn(1).product == 2
    queue.answer(1, "c", SKIP)
    queue.answer(1, "d", CLASS, "7")
    # What the other person holds is the last thing to be given.
    assert queue.turn(1).product == 1
    queue.answer(1, "b", CLASS, "7")
    with pytest.raises(StaleProduct):
        queue.answer(2, "b", CLASS, "8")
    assert queue.turn(2).product == 2  # which the first one skipped
    assert queue.turn(1).product is None
    assert queue.turn(1).skipped == 1
    assert (queue.num_own(1), queue.num_own(2)) == (3, 0)


def test_answers_to_other_products_are_passed_over(log):
    log.append(1, "gone", CLASS, "7")
    log.append(1, "b", CLASS, "7")
    queue = ReviewQueue(log, KEYS)
    assert queue.num_decided == 1
    assert queue.turn(1).last.product == "b"


def test_four_people_at_once_decide_every_product_once(log):
    keys = [str(number) for number in range(60)]
    queue = ReviewQueue(log, keys)

    def decide(person):
        count = 0
        while (place := queue.turn(person).product) is not None:
            try:
                queue.answer(person, keys[place], CLASS, str(person))
                count += 1
            except StaleProduct:  # the last ones may be held by two people
                continue
        return count

    with ThreadPoolExecutor(4) as pool:
        counts = list(pool.map(decide, range(1, 5)))
    assert sum(counts) == len(log.answers()) == len(decisions(log.answers())) == 60
