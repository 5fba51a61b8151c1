"""Results that are loaded once and kept, by a process that answers many requests.

    with keeping(results):
        net = load_classifier(path, model, device)    # read from disk at the first call alone

Outside of `keeping`, functions that are marked `kept` do as without the mark.
"""

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
Results = dict[Any, Any]

_lock = threading.RLock()
_results: Results | None = None  # of the block of `keeping` that runs, for its threads too


@contextmanager
def keeping(results: Results) -> Iterator[None]:
    """Keep what `kept` functions return in `results`; one block at a time, others wait."""
    global _results
    with _lock:
        _results, before = results, _results
        try:
            yield
        finally:
            _results = before


def forget(results: Results, text: str) -> None:
    """Drop the results of calls in whose arguments a text occurs, such as a folder that is gone."""
    for key in [key for key in results if any(text in part for part in key[1:])]:
        del results[key]


def kept(load: Callable[P, R]) -> Callable[P, R]:
    """Mark a function whose result depends on what its arguments say, as `repr` shows them.

    Whoever uses the result must not change it.
    """

    @functools.wraps(load)
    def load_once(*args: P.args, **kwargs: P.kwargs) -> R:
        results = _results
        if results is None:
            return load(*args, **kwargs)
        key = (load, repr(args), repr(kwargs))
        if key not in results:
            results[key] = load(*args, **kwargs)
        return results[key]

    return load_once
