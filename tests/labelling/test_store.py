"""Labels on disk: against a model of lists, by several people, tabs and processes at once."""

import sqlite3
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.errors import UserError
from lib.labelling.store import NONE, SKIPPED, StalePosition, Store

COUNT = 5
# In memory where that can be had: what is tested there is not whether a disk keeps its word.
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
DEEDS = st.tuples(
    st.sampled_from([1, 2]),
    st.sampled_from(["answer", "skip", "undo"]),
    st.integers(0, COUNT),
    st.booleans(),  # where the person stands, or at that place
    st.integers(0, 3),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(DEEDS, max_size=30))
def test_any_deeds_of_two_people(deeds):
    model: dict[int, list[int]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        path = Path(folder) / "labels.sqlite"
        with Store(path) as store:
            for person, deed, place, there, cls in deeds:
                said, place = model[person], len(model[person]) if there else place
                stands, possible = len(said), place == len(said)
                if deed == "undo":
                    possible, call = possible and stands > 0, lambda p=place: store.undo(person, p)  # noqa: B023
                else:
                    given_class = cls if deed == "answer" else None
                    call = lambda p=place, c=given_class: store.answer(person, p, c)  # noqa: B023, E731
                if stands == COUNT and deed != "undo":
                    continue  # the page asks no more
                if not possible:
                    with pytest.raises(StalePosition) as told:
                        call()
                    assert told.value.stands == stands
                    continue
                if deed == "undo":
                    said.pop()
                else:
                    said.append(cls if deed == "answer" else SKIPPED)
                assert call() == len(said)
        with Store(path) as store:  # as a restart would find it
            for person, said in model.items():
                wanted = said + [NONE] * (COUNT - len(said))
                assert store.stands(person) == len(said)
                assert store.answers(person, COUNT).tolist() == wanted


def test_nothing_is_overwritten(tmp_path):
    with Store(tmp_path / "labels.sqlite") as store:
        store.answer(1, 0, 3)
        store.undo(1, 1)
        store.answer(1, 0, None)
        rows = sqlite3.connect(store.path).execute(
            "SELECT person, place, kind, class FROM event ORDER BY id"
        )
        assert rows.fetchall() == [(1, 0, "label", 3), (1, 0, "undo", None), (1, 0, "skip", None)]


def test_two_people_and_two_stores_at_once_lose_nothing(tmp_path):
    """Threads of one process, and a second connection as another process would have."""
    path, count = tmp_path / "labels.sqlite", 25
    stores = [Store(path), Store(path)]

    def work(task):
        person, store = task
        for place in range(count):
            store.answer(person, place, (place * person) % 7)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, [(1, stores[0]), (2, stores[0]), (3, stores[1]), (4, stores[1])]))
    for person in range(1, 5):
        found = stores[person % 2].answers(person, count)
        assert found.tolist() == [(place * person) % 7 for place in range(count)]
    assert stores[0].people() == [1, 2, 3, 4]
    for store in stores:
        store.close()


def test_two_tabs_of_one_person_count_once(tmp_path):
    path, count = tmp_path / "labels.sqlite", 25
    stores = [Store(path), Store(path)]

    def tab(store):
        done = 0
        for place in range(count):
            try:
                store.answer(1, place, place % 3)
                done += 1
            except StalePosition as elsewhere:
                assert elsewhere.stands > place  # noqa: PT017
        return done

    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(tab, stores))
    stands = stores[0].stands(1)
    assert sum(done) == stands == count
    assert np.array_equal(stores[0].answers(1, count), np.arange(count) % 3)
    for store in stores:
        store.close()


def test_every_commit_is_synced(tmp_path):
    with Store(tmp_path / "labels.sqlite") as store:
        assert store._base.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert store._base.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


def test_another_sheet_is_refused(tmp_path):
    path = tmp_path / "deep" / "labels.sqlite"
    with Store(path) as store:
        assert store.about() == {}
        store.settle({"part": "locked", "seed": "0"})
    with Store(path) as store:
        store.settle({"part": "locked", "seed": "0"})
        with pytest.raises(UserError, match=r"labels.sqlite: .*another sheet \(seed 0 -> 1\)"):
            store.settle({"part": "locked", "seed": "1"})
        assert store.about()["seed"] == "0"


def test_what_is_no_database(tmp_path):
    (tmp_path / "notes.txt").write_text("no database, " * 100)
    with pytest.raises(UserError, match=r"notes\.txt: no database of labels"):
        Store(tmp_path / "notes.txt")
    with pytest.raises(UserError, match="no database of labels"):
        Store(tmp_path)
