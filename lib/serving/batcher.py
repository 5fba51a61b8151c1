"""Requests that come at once are answered together: a bounded queue, and the thread behind it."""

import logging
import queue
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any, Protocol

import pyarrow as pa

from lib.errors import UserError

logger = logging.getLogger(__name__)

MAX_BATCH = 32  # pictures that are answered together
Row = dict[str, Any]


class Predictor(Protocol):
    """What answers a batch: `LoadedPredictor`."""

    def predict_each(self, pictures: Mapping[str, bytes]) -> pa.Table:
        """One row for each picture, sorted by name."""


class QueueFull(Exception):
    """More pictures wait than the queue holds."""


class Batcher:
    """Answers pictures in the order in which they come, as many together as wait."""

    def __init__(self, predictor: Predictor, max_waiting: int) -> None:
        """max_waiting: pictures that may wait."""
        self.predictor, self.max_waiting = predictor, max_waiting
        self.num_batches = self.num_pictures = 0
        self._waiting: queue.Queue[tuple[bytes, str, Future[Row]] | None] = queue.Queue()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="batcher", daemon=True)
        self._thread.start()

    @property
    def num_waiting(self) -> int:
        """Pictures that wait at this moment."""
        return self._waiting.qsize()

    def submit(self, pictures: list[tuple[bytes, str]]) -> list["Future[Row]"]:
        """Queue pictures, each with its suffix as in ".jpg"; the row of each, when it is there.

        Raises QueueFull, and then queues none of them.
        """
        futures: list[Future[Row]] = [Future() for _ in pictures]
        with self._lock:
            if self.num_waiting + len(pictures) > self.max_waiting:
                raise QueueFull
            for (data, suffix), future in zip(pictures, futures, strict=True):
                self._waiting.put((data, suffix, future))
        return futures

    def close(self) -> None:
        """Answer what waits, and stop."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (first := self._waiting.get()) is not None:
            batch, is_last = [first], False
            while len(batch) < MAX_BATCH and not is_last and not self._waiting.empty():
                item = self._waiting.get()
                is_last = item is None
                batch += [] if item is None else [item]
            self._answer(batch)
            if is_last:
                return

    def _answer(self, batch: list[tuple[bytes, str, "Future[Row]"]]) -> None:
        names = [f"{number:04}{suffix}" for number, (_, suffix, _) in enumerate(batch)]
        pictures = {name: data for name, (data, _, _) in zip(names, batch, strict=True)}
        try:
            rows = self.predictor.predict_each(pictures).to_pylist()
        except Exception as error:
            if len(batch) > 1:  # one picture must not cost the others their answer
                for item in batch:
                    self._answer([item])
                return
            if not isinstance(error, UserError):
                logger.exception("a picture was not answered")
            batch[0][2].set_exception(error)
            return
        self.num_batches += 1
        self.num_pictures += len(batch)
        for (_, _, future), row in zip(batch, rows, strict=True):
            future.set_result(row)
