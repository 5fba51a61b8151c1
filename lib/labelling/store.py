"""SQLite log of labels: one row for each action of a person; no row is ever changed.

A person goes through positions 0 to N - 1 of an order. Each action names its position and counts
only if the person is at that position. A repeated key press or a second browser tab therefore
cannot count twice: it gets the person's real position instead. An undo is one more row.
"""

import time

import numpy as np

from lib.labelling.database import Database

UNANSWERED, SKIPPED = -2, -1  # in place of a class id; SKIPPED: "I cannot tell"
FORMAT = "labels 2"

SCHEMA = """
CREATE TABLE IF NOT EXISTS event (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    time REAL NOT NULL,  -- seconds since 1970
    person INTEGER NOT NULL,
    position INTEGER NOT NULL CHECK (position >= 0),  -- of an undo: the label that it removes
    kind TEXT NOT NULL CHECK (kind IN ('label', 'skip', 'undo')),
    class_id INTEGER CHECK ((class_id IS NOT NULL) = (kind = 'label'))
);
CREATE INDEX IF NOT EXISTS event_of_person ON event (person, position);
"""
# Format 1 had other names for a table, two columns and two keys. Its rows stay as they are.
FORMAT_1_TO_2 = (
    "ALTER TABLE about RENAME TO metadata",
    "ALTER TABLE event RENAME COLUMN place TO position",
    "ALTER TABLE event RENAME COLUMN class TO class_id",
    "UPDATE metadata SET key = 'items' WHERE key = 'drawings'",
    "UPDATE metadata SET key = 'task' WHERE key = 'sheet'",
    f"UPDATE metadata SET value = '{FORMAT}' WHERE key = 'format'",
)
TABLES = "SELECT name FROM sqlite_master WHERE type = 'table'"
POSITION = (
    "SELECT coalesce(sum(CASE kind WHEN 'undo' THEN -1 ELSE 1 END), 0) FROM event WHERE person = ?"
)
LABELS = """
SELECT position, class_id FROM event WHERE id IN (
    SELECT max(id) FROM event WHERE person = :person AND kind != 'undo' GROUP BY position
) AND position < :end
"""


class StalePosition(Exception):
    """An action names another position than the person's current one, `position`."""

    def __init__(self, position: int) -> None:
        super().__init__(f"the person is at position {position}")
        self.position = position


class Store(Database):
    """The labels in one file. Safe for threads, and for other processes on the same file."""

    CONTENT, REMEDY, FORMAT, SCHEMA = "labels", "choose another --data", FORMAT, SCHEMA

    def position(self, person: int) -> int:
        """The position that the person labels next."""
        with self._lock:
            return self._position(person)

    def answer(self, person: int, position: int, class_id: int | None) -> int:
        """Record a class, or None for "I cannot tell"; returns the next position.

        Raises StalePosition if the person is not at `position`.
        """
        with self._transaction():
            self._check_position(person, position)
            self._append(person, position, "skip" if class_id is None else "label", class_id)
        return position + 1

    def undo(self, person: int, position: int) -> int:
        """Remove the label before `position`; returns the position that is open again.

        Raises StalePosition if the person is not at `position`, or if there is no label to remove.
        """
        with self._transaction():
            self._check_position(person, position)
            if position == 0:
                raise StalePosition(0)
            self._append(person, position - 1, "undo", None)
        return position - 1

    def people(self) -> list[int]:
        """The numbers of all people with at least one action, ascending."""
        with self._lock:
            rows = self._connection.execute("SELECT DISTINCT person FROM event ORDER BY person")
            return [person for (person,) in rows]

    def labels(self, person: int, num_items: int) -> np.ndarray:
        """int16 [num_items] in the person's order: a class id, SKIPPED or UNANSWERED."""
        labels = np.full(num_items, UNANSWERED, np.int16)
        with self._lock:
            parameters = {"person": person, "end": self._position(person)}
            for position, class_id in self._connection.execute(LABELS, parameters):
                labels[position] = SKIPPED if class_id is None else class_id
        return labels

    def _upgrade(self) -> None:
        """Bring a file of format 1 to the current one."""
        tables = {name for (name,) in self._connection.execute(TABLES)}
        if "about" in tables and "metadata" not in tables:
            for statement in FORMAT_1_TO_2:
                self._connection.execute(statement)

    def _position(self, person: int) -> int:
        return self._connection.execute(POSITION, (person,)).fetchone()[0]

    def _check_position(self, person: int, position: int) -> None:
        current = self._position(person)
        if current != position:
            raise StalePosition(current)

    def _append(self, person: int, position: int, kind: str, class_id: int | None) -> None:
        self._connection.execute(
            "INSERT INTO event (time, person, position, kind, class_id) VALUES (?, ?, ?, ?, ?)",
            (time.time(), person, position, kind, class_id),
        )
