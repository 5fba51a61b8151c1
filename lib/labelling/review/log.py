"""SQLite log of a review: one row for each action of a person; no row is ever changed.

Products and classes are named as the catalog names them. So the answers outlive the predictions
that they were given to: after another training they still stand for the same products.
"""

import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from lib.labelling.database import Database

CLASS, ABSENT, SKIP, UNDO = "class", "absent", "skip", "undo"

SCHEMA = f"""
CREATE TABLE IF NOT EXISTS answer (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    time REAL NOT NULL,  -- seconds since 1970
    person INTEGER NOT NULL,
    product TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('{CLASS}', '{ABSENT}', '{SKIP}', '{UNDO}')),
    class TEXT CHECK ((class IS NOT NULL) = (kind = '{CLASS}'))
);
"""
ROWS = "SELECT time, person, product, kind, class FROM answer ORDER BY id"
INSERT = "INSERT INTO answer (time, person, product, kind, class) VALUES (?, ?, ?, ?, ?)"


class Answer(NamedTuple):
    """What a person says of a product.

    kind: CLASS, ABSENT ("its class is not in the list"), SKIP ("I cannot tell"), or UNDO of the
    person's answer to this product. class_key: the catalog's name of the class, None but for CLASS.
    time: seconds since 1970.
    """

    time: float
    person: int
    product: str
    kind: str
    class_key: str | None


class ReviewLog(Database):
    """The answers in one file. Safe for threads, and for other processes on the same file."""

    CONTENT, FORMAT, SCHEMA = "answers", "review 1", SCHEMA
    REMEDY = "move the file elsewhere"

    def append(self, person: int, product: str, kind: str, class_key: str | None = None) -> Answer:
        """Append an answer; when this returns, it is on disk."""
        answer = Answer(time.time(), person, product, kind, class_key)
        with self._transaction():
            self._connection.execute(INSERT, answer)
        return answer

    def answers(self) -> list[Answer]:
        """All rows, undone ones and undos included, oldest first."""
        with self._lock:
            return [Answer(*row) for row in self._connection.execute(ROWS)]


def standing(answers: Iterable[Answer]) -> dict[int, dict[str, Answer]]:
    """The answers that are not undone: by person, by product, in the order they were given."""
    people: dict[int, dict[str, Answer]] = {}
    for answer in answers:
        of_person = people.setdefault(answer.person, {})
        of_person.pop(answer.product, None)
        if answer.kind != UNDO:
            of_person[answer.product] = answer
    return people


def decisions(answers: Sequence[Answer]) -> dict[str, Answer]:
    """By product, the last answer that stands; one that skips only where no other stands."""
    turn = {answer: number for number, answer in enumerate(answers)}
    everyone = [a for of_person in standing(answers).values() for a in of_person.values()]
    everyone.sort(key=lambda answer: (answer.kind != SKIP, turn[answer]))
    return {answer.product: answer for answer in everyone}
