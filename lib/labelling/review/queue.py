"""Who decides which product next: every product is decided once, by whoever comes first.

People share one order of products. Each holds one product at a time, which nobody else is given
while others are open. A product that one person skips is open to the others. An answer names its
product and counts only if the person holds it. A repeated key press or a second browser tab
therefore cannot count twice.
"""

import threading
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lib.labelling.review.log import SKIP, UNDO, Answer, ReviewLog, standing


class StaleProduct(Exception):
    """An action names another product than the one that the person holds, or answered last."""


class Turn(NamedTuple):
    """What a person sees next.

    product: its place in the order, None if nothing is left. last: the person's last answer, which
    can be undone. decided, skipped: how many products are decided by anyone, and skipped by the
    person and still open. own: how many of the decided ones are the person's.
    """

    product: int | None
    last: Answer | None
    decided: int
    skipped: int
    own: int


class ReviewQueue:
    """The products of a review and the answers to them. Safe for threads.

    keys: [N], names of the products, in the order in which they are to be decided.
    """

    def __init__(self, log: ReviewLog, keys: Sequence[str]) -> None:
        self._log, self._keys = log, keys
        self._place = {key: place for place, key in enumerate(keys)}
        self._decided = np.zeros(len(keys), bool)
        self._skipped: dict[int, np.ndarray] = {}
        self._given: dict[int, dict[str, Answer]] = {}
        self._held: dict[int, int] = {}
        self._lock = threading.RLock()
        for person, answers in standing(log.answers()).items():
            for answer in answers.values():
                if answer.product in self._place:
                    self._count(person, answer)

    def __len__(self) -> int:
        return len(self._keys)

    def turn(self, person: int) -> Turn:
        """What the person sees next; the product is then the person's to decide."""
        with self._lock:
            product, given = self._hold(person), self._given_by(person)
            skipped = np.count_nonzero(self._skipped_by(person) & ~self._decided)
            last = next(reversed(given.values())) if given else None
            return Turn(product, last, self.num_decided, int(skipped), self.num_own(person))

    def num_own(self, person: int) -> int:
        """How many of the decided products are the person's."""
        with self._lock:
            return sum(answer.kind != SKIP for answer in self._given_by(person).values())

    @property
    def num_decided(self) -> int:
        """How many of the products are decided."""
        return int(np.count_nonzero(self._decided))

    def answer(self, person: int, product: str, kind: str, class_key: str | None = None) -> None:
        """Record an answer. Raises StaleProduct unless the person holds this product."""
        with self._lock:
            place = self._hold(person)
            if place is None or self._keys[place] != product:
                raise StaleProduct(product)
            self._count(person, self._log.append(person, product, kind, class_key))
            del self._held[person]

    def undo(self, person: int, product: str) -> None:
        """Take back the person's last answer, and give the product to the person again.

        Raises StaleProduct unless the last answer was to this product.
        """
        with self._lock:
            given = self._given_by(person)
            if not given or next(reversed(given)) != product:
                raise StaleProduct(product)
            self._log.append(person, product, UNDO)
            place = self._place[product]
            if given.pop(product).kind == SKIP:
                self._skipped_by(person)[place] = False
            else:
                self._decided[place] = False
            self._held[person] = place

    def _count(self, person: int, answer: Answer) -> None:
        place = self._place[answer.product]
        if answer.kind == SKIP:
            self._skipped_by(person)[place] = True
        else:
            self._decided[place] = True
        self._given_by(person)[answer.product] = answer

    def _hold(self, person: int) -> int | None:
        """The product that the person holds; if none, the first open one, rather nobody else's."""
        place = self._held.get(person)
        if place is not None and not self._decided[place]:
            return place
        is_open = ~(self._decided | self._skipped_by(person))
        others = [held for other, held in self._held.items() if other != person]
        free = is_open.copy()
        free[others] = False
        for choice in (free, is_open):
            if choice.any():
                self._held[person] = int(choice.argmax())
                return self._held[person]
        self._held.pop(person, None)
        return None

    def _skipped_by(self, person: int) -> np.ndarray:
        return self._skipped.setdefault(person, np.zeros(len(self._keys), bool))

    def _given_by(self, person: int) -> dict[str, Answer]:
        return self._given.setdefault(person, {})
