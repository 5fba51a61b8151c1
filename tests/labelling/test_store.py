"""The log of labels: compared with lists; several people, tabs and processes at once."""

import sqlite3
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.errors import UserError
from lib.labelling.store import SKIPPED, UNANSWERED, StalePosition, Store

NUM_ITEMS = 5
# In memory where possible: these tests do not depend on a disk.
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
ACTIONS = st.tuples(
    st.sampled_from([1, 2]),
    st.sampled_from(["answer", "skip", "undo"]),
    st.integers(0, NUM_ITEMS),
    st.booleans(),  # at the person's position, or at the drawn one
    st.integers(0, 3),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(ACTIONS, max_size=30))
def test_any_actions_of_two_people_match_lists(actions):
    model: dict[int, list[int]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        path = Path(folder) / "labels.sqlite"
        with Store(path) as store:
            for person, action, position, current, class_id in actions:
                labels = model[person]
                position = len(labels) if current else position
                valid = position == len(labels)
                if action == "undo":
                    valid = valid and len(labels) > 0
                    call = partial(store.undo, person, position)
                else:
                    chosen = class_id if action == "answer" else None
                    call = partial(store.answer, person, position, chosen)
                if len(labels) == NUM_ITEMS and action != "undo":
                    continue  # the page accepts no more labels
                if not valid:
                    with pytest.raises(StalePosition) as error:
                        call()
                    assert error.value.position == len(labels)
                    continue
                if action == "undo":
                    labels.pop()
                else:
                    labels.append(class_id if action == "answer" else SKIPPED)
                assert call() == len(labels)
        with Store(path) as store:  # as after a restart
            for person, labels in model.items():
                expected = labels + [UNANSWERED] * (NUM_ITEMS - len(labels))
                assert store.position(person) == len(labels)
                assert store.labels(person, NUM_ITEMS).tolist() == expected


def test_no_row_is_overwritten(tmp_path):
    with Store(tmp_path / "labels.sqlite") as store:
        store.answer(1, 0, 3)
        store.undo(1, 1)
        store.answer(1, 0, None)
        rows = sqlite3.connect(store.path).execute(
            "SELECT person, position, kind, class_id FROM event ORDER BY id"
        )
        assert rows.fetchall() == [(1, 0, "label", 3), (1, 0, "undo", None), (1, 0, "skip", None)]


def test_people_and_stores_at_once_lose_no_label(tmp_path):
    """Threads of one process, and a second connection as another process would have."""
    path, count = tmp_path / "labels.sqlite", 25
    stores = [Store(path), Store(path)]

    def work(task):
        person, store = task
        for position in range(count):
            store.answer(person, position, (position * person) % 7)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, [(1, stores[0]), (2, stores[0]), (3, stores[1]), (4, stores[1])]))
    for person in range(1, 5):
        labels = stores[person % 2].labels(person, count)
        assert labels.tolist() == [(position * person) % 7 for position in range(count)]
    assert stores[0].people() == [1, 2, 3, 4]
    for store in stores:
        store.close()


def test_two_tabs_of_one_person_count_each_product_once(tmp_path):
    path, count = tmp_path / "labels.sqlite", 25
    stores = [Store(path), Store(path)]

    def tab(store):
        accepted = 0
        for position in range(count):
            try:
                store.answer(1, position, position % 3)
                accepted += 1
            except StalePosition as error:
                assert error.position > position  # noqa: PT017
        return accepted

    with ThreadPoolExecutor(2) as pool:
        accepted = list(pool.map(tab, stores))
    assert sum(accepted) == stores[0].position(1) == count
    assert np.array_equal(stores[0].labels(1, count), np.arange(count) % 3)
    for store in stores:
        store.close()


def test_every_commit_is_synced(tmp_path, monkeypatch):
    connections = []
    connect = sqlite3.connect

    def recording_connect(*arguments, **settings):
        connections.append(connect(*arguments, **settings))
        return connections[-1]

    monkeypatch.setattr(sqlite3, "connect", recording_connect)
    with Store(tmp_path / "labels.sqlite"):
        (connection,) = connections
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


def test_labels_of_another_task_are_refused(tmp_path):
    path = tmp_path / "deep" / "labels.sqlite"
    with Store(path) as store:
        assert store.metadata() == {}
        store.bind({"part": "locked", "seed": "0"})
    with Store(path) as store:
        store.bind({"part": "locked", "seed": "0"})
        with pytest.raises(UserError, match=r"labels.sqlite: .*another task \(seed 0 -> 1\)"):
            store.bind({"part": "locked", "seed": "1"})
        assert store.metadata()["seed"] == "0"


def test_a_file_that_is_not_a_database_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("no database, " * 100)
    with pytest.raises(UserError, match=r"notes\.txt: not a database of labels"):
        Store(tmp_path / "notes.txt")
    with pytest.raises(UserError, match="not a database of labels"):
        Store(tmp_path)


FORMAT_1 = """
CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE event (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    time REAL NOT NULL,
    person INTEGER NOT NULL,
    place INTEGER NOT NULL CHECK (place >= 0),
    kind TEXT NOT NULL CHECK (kind IN ('label', 'skip', 'undo')),
    class INTEGER CHECK ((class IS NOT NULL) = (kind = 'label'))
);
CREATE INDEX event_of_person ON event (person, place);
INSERT INTO about VALUES ('format', 'labels 1'), ('part', 'locked'), ('drawings', '5'),
    ('seed', '0'), ('sheet', 'abc');
INSERT INTO event (time, person, place, kind, class) VALUES
    (1.5, 1, 0, 'label', 3), (2.5, 1, 1, 'skip', NULL), (3.5, 1, 1, 'undo', NULL),
    (4.5, 1, 1, 'label', 2), (5.5, 2, 0, 'label', 1);
"""


def test_a_file_of_format_1_keeps_its_labels_and_goes_on(tmp_path):
    path = tmp_path / "labels.sqlite"
    with closing(sqlite3.connect(path)) as old:
        old.executescript(FORMAT_1)
        times = old.execute("SELECT id, time FROM event").fetchall()
    for _ in range(2):  # the second time the file has the new format
        with Store(path) as store:
            store.bind({"part": "locked", "items": "5", "seed": "0", "task": "abc"})
            assert store.labels(1, 3).tolist() == [3, 2, UNANSWERED]
            assert store.labels(2, 3).tolist() == [1, UNANSWERED, UNANSWERED]
    with Store(path) as store:
        assert store.answer(1, 2, 0) == 3
        assert store.undo(2, 1) == 0
        with pytest.raises(UserError, match="another task"):
            store.bind({"part": "locked", "items": "6", "seed": "0", "task": "abc"})
    with closing(sqlite3.connect(path)) as new:
        assert new.execute("SELECT id, time FROM event").fetchall()[:5] == times
        with pytest.raises(sqlite3.IntegrityError):  # the renamed columns keep their checks
            new.execute(
                "INSERT INTO event (time, person, position, kind) VALUES (1, 1, -1, 'skip')"
            )


def test_several_processes_can_upgrade_a_file_at_once(tmp_path):
    path = tmp_path / "labels.sqlite"
    with closing(sqlite3.connect(path)) as old:
        old.executescript(FORMAT_1)
    with ThreadPoolExecutor(4) as pool:
        stores = list(pool.map(lambda _: Store(path), range(4)))
    assert [store.position(1) for store in stores] == [2] * 4
    for store in stores:
        store.close()
