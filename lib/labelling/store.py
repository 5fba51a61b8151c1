"""Labels in SQLite: a row for each thing a person did, and none is ever changed (Q2).

A person goes through the places 0 to N - 1 of an order. What is done names the place it is done at,
and counts only where the person stands there: a key pressed twice, or in a second tab, is told
where the person really stands. To undo is one more row. A row is on disk (write-ahead log, synced
at every commit) before its call returns.
"""

import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from lib.errors import UserError

NONE, SKIPPED = -2, -1  # in place of a class: not answered yet; "I can not tell"
FORMAT = "labels 1"
WAIT = 20.0  # seconds for another process that writes

SCHEMA = """
CREATE TABLE IF NOT EXISTS about (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS event (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    time REAL NOT NULL,              -- seconds since 1970
    person INTEGER NOT NULL,
    place INTEGER NOT NULL CHECK (place >= 0),  -- in the person's order; of an undo: what is undone
    kind TEXT NOT NULL CHECK (kind IN ('label', 'skip', 'undo')),
    class INTEGER CHECK ((class IS NOT NULL) = (kind = 'label'))
);
CREATE INDEX IF NOT EXISTS event_of_person ON event (person, place);
"""
STANDS = (
    "SELECT coalesce(sum(CASE kind WHEN 'undo' THEN -1 ELSE 1 END), 0) FROM event WHERE person = ?"
)
ANSWERS = """
SELECT place, class FROM event WHERE id IN (
    SELECT max(id) FROM event WHERE person = :person AND kind != 'undo' GROUP BY place
) AND place < :stands
"""


class StalePosition(Exception):
    """The person stands at another place than the one named."""

    def __init__(self, stands: int) -> None:
        super().__init__(f"the person stands at {stands}")
        self.stands = stands


class Store:
    """The labels in one file. Safe for threads, and for other processes on the same file."""

    def __init__(self, path: Path) -> None:
        """Opens or creates the file. Raises UserError for one that is no such database."""
        self.path = path
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._base = sqlite3.connect(
                path, timeout=WAIT, isolation_level=None, check_same_thread=False
            )
            mode = self._base.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            self._base.execute("PRAGMA synchronous = FULL")
            self._base.executescript(SCHEMA)
        except (sqlite3.Error, OSError) as error:
            raise UserError(
                f"{path}: no database of labels ({error}); choose another --data"
            ) from None
        if mode != "wal":
            raise UserError(f"{path}: its disk allows no write-ahead log; choose another --data")

    def close(self) -> None:
        with self._lock:
            self._base.close()

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def about(self) -> dict[str, str]:
        """What the labels are about; empty for a new file."""
        with self._lock:
            return dict(self._base.execute("SELECT key, value FROM about").fetchall())

    def settle(self, about: Mapping[str, str]) -> None:
        """Say what the labels are about. Raises UserError if they are about something else."""
        wanted = {"format": FORMAT, **about}
        with self._writing():
            held = dict(self._base.execute("SELECT key, value FROM about").fetchall())
            if not held:
                self._base.executemany("INSERT INTO about VALUES (?, ?)", wanted.items())
                return
        other = [f"{k} {held.get(k)} -> {wanted[k]}" for k in wanted if held.get(k) != wanted[k]]
        if other:
            raise UserError(
                f"{self.path}: labels of another sheet ({'; '.join(other)}); choose another --data,"
                " or the settings that it was begun with"
            )

    def stands(self, person: int) -> int:
        """The place that the person is to answer next."""
        with self._lock:
            return self._stands(person)

    def answer(self, person: int, place: int, cls: int | None) -> int:
        """Write down a class, or None for "I can not tell"; the next place.

        Raises Elsewhere if the person does not stand at `place`.
        """
        with self._writing():
            self._stop_elsewhere(person, place)
            self._add(person, place, "skip" if cls is None else "label", cls)
        return place + 1

    def undo(self, person: int, place: int) -> int:
        """Take back the answer before `place`; the place that is open again.

        Raises Elsewhere if the person does not stand at `place`, or has nothing to take back.
        """
        with self._writing():
            self._stop_elsewhere(person, place)
            if place == 0:
                raise StalePosition(0)
            self._add(person, place - 1, "undo", None)
        return place - 1

    def people(self) -> list[int]:
        """All who ever answered, ascending."""
        with self._lock:
            found = self._base.execute("SELECT DISTINCT person FROM event ORDER BY person")
            return [person for (person,) in found]

    def answers(self, person: int, count: int) -> np.ndarray:
        """int16 [count] in the person's order: a class, SKIPPED or NONE."""
        found = np.full(count, NONE, np.int16)
        with self._lock:
            asked = {"person": person, "stands": self._stands(person)}
            for place, cls in self._base.execute(ANSWERS, asked):
                found[place] = SKIPPED if cls is None else cls
        return found

    def _stands(self, person: int) -> int:
        return self._base.execute(STANDS, (person,)).fetchone()[0]

    def _stop_elsewhere(self, person: int, place: int) -> None:
        stands = self._stands(person)
        if stands != place:
            raise StalePosition(stands)

    def _add(self, person: int, place: int, kind: str, cls: int | None) -> None:
        self._base.execute(
            "INSERT INTO event (time, person, place, kind, class) VALUES (?, ?, ?, ?, ?)",
            (time.time(), person, place, kind, cls),
        )

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One transaction: all of it is on disk at its end, or nothing."""
        with self._lock:
            # At once: a lock that is only asked for at the first write could meet another writer's.
            self._base.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._base.execute("COMMIT")
            except BaseException:
                if self._base.in_transaction:
                    self._base.execute("ROLLBACK")
                raise
