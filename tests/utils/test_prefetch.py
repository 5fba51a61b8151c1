import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.utils.prefetch import prefetch


@given(st.lists(st.integers(), max_size=30), st.integers(0, 8), st.integers(1, 4))
def test_results_come_in_the_order_of_the_items(items, ahead, threads):
    with ThreadPoolExecutor(threads) as pool:
        assert list(prefetch(pool, items, lambda i: i * 2, ahead)) == [i * 2 for i in items]


def test_only_the_given_number_of_items_is_loaded_ahead():
    submitted = []

    def items():
        for i in range(10):
            submitted.append(i)
            yield i

    with ThreadPoolExecutor(1) as pool:
        results = prefetch(pool, items(), lambda i: i, 3)
        assert submitted == []
        assert next(results) == 0
        assert submitted == [0, 1, 2, 3]
        assert next(results) == 1
        assert submitted == [0, 1, 2, 3, 4]


def test_items_are_loaded_before_they_are_needed():
    loaded = threading.Semaphore(0)

    def load(i):
        loaded.release()
        return i

    with ThreadPoolExecutor(1) as pool:
        results = prefetch(pool, range(5), load, 4)
        next(results)
        for _ in range(5):
            assert loaded.acquire(timeout=60)


def test_an_error_is_raised_where_its_result_is_due():
    def load(i):
        if i == 2:
            raise ValueError("item 2")
        return i

    with ThreadPoolExecutor(2) as pool:
        results = prefetch(pool, range(5), load, 4)
        assert [next(results), next(results)] == [0, 1]
        with pytest.raises(ValueError, match="item 2"):
            next(results)


def test_loads_that_have_not_started_are_cancelled_when_the_caller_stops():
    release, loaded = threading.Event(), []

    def load(i):
        if i == 1:
            release.wait(60)
        loaded.append(i)
        return i

    with ThreadPoolExecutor(1) as pool:
        results = prefetch(pool, range(10), load, 5)
        assert next(results) == 0
        results.close()
        release.set()
    assert set(loaded) <= {0, 1}
