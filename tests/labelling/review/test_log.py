"""The log of a review: what stands after undos, skips, and a restart."""

import sqlite3

import pytest

from lib.errors import UserError
from lib.labelling.review.log import ABSENT, CLASS, SKIP, UNDO, ReviewLog, decisions, standing
from lib.labelling.store import Store


def test_the_answers_that_stand(log):
    log.append(1, "a", CLASS, "7")
    log.append(1, "b", ABSENT)
    log.append(1, "b", UNDO)
    log.append(1, "a", UNDO)
    log.append(1, "a", CLASS, "8")
    log.append(2, "c", SKIP)
    answers = log.answers()
    assert [answer.kind for answer in answers] == [CLASS, ABSENT, UNDO, UNDO, CLASS, SKIP]
    assert standing(answers) == {1: {"a": answers[4]}, 2: {"c": answers[5]}}
    assert decisions(answers) == {"a": answers[4], "c": answers[5]}


def test_a_skip_gives_way_to_an_answer_whoever_comes_first(log):
    log.append(1, "a", CLASS, "7")
    log.append(2, "a", SKIP)
    log.append(1, "b", SKIP)
    log.append(2, "b", CLASS, "8")
    assert {key: a.class_key for key, a in decisions(log.answers()).items()} == {"a": "7", "b": "8"}


def test_answers_are_on_disk_and_outlive_the_process(tmp_path):
    path = tmp_path / "answers.sqlite"
    with ReviewLog(path) as log:
        log.bind({})
        given = log.append(1, "a", CLASS, "7")
        with sqlite3.connect(path) as other:  # as after kill -9
            assert other.execute("SELECT product, class FROM answer").fetchall() == [("a", "7")]
    with ReviewLog(path) as log:
        log.bind({})
        assert log.answers() == [given]


def test_a_class_belongs_to_an_answer_with_a_class_alone(log):
    for kind, class_key in ((CLASS, None), (SKIP, "7"), ("guess", None)):
        with pytest.raises(sqlite3.IntegrityError):
            log.append(1, "a", kind, class_key)
    assert log.answers() == []


def test_a_file_of_labels_is_no_file_of_answers(tmp_path):
    with Store(tmp_path / "labels.sqlite") as store:
        store.bind({"part": "fit"})
    with ReviewLog(tmp_path / "labels.sqlite") as log, pytest.raises(UserError) as error:
        log.bind({})
    assert "answers of another task" in str(error.value)
    assert "move the file elsewhere" in str(error.value)
