"""Load items in a pool, ahead of their use."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Executor, Future
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def prefetch(
    pool: Executor, items: Iterable[Item], load: Callable[[Item], Result], ahead: int
) -> Generator[Result, None, None]:
    """Yield `load(item)` for each item, in the order of the items.

    pool: runs `load`. ahead: how many items are loaded before the caller needs them, at least 0.
    `items` is read in the caller's thread, one item at a time. If the caller stops early, loads
    that have not started are cancelled. An exception in `load` is raised where its result is due.
    """
    pending: deque[Future[Result]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(load, item))
            if len(pending) > ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()
