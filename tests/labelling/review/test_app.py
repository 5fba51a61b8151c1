"""The review page without a browser: what it answers, and what it refuses."""

import cv2
import numpy as np
import pytest

from lib.labelling.review.log import ABSENT, CLASS, SKIP, decisions
from tests.labelling.review.conftest import NUM_OPEN

ORIGIN = "http://127.0.0.1:8000"


@pytest.fixture
def client(app):
    return app.test_client()


def get(client, path, **headers):
    return client.get(f"{ORIGIN}{path}", headers={"Host": "127.0.0.1:8000"} | headers)


def post(client, path, body, **headers):
    headers = {"Host": "127.0.0.1:8000", "Origin": ORIGIN} | headers
    return client.post(f"{ORIGIN}{path}", json=body, headers=headers)


def answer(client, product, kind=CLASS, class_id=0, person=1, **headers):
    body = {"product": product, "kind": kind}
    body |= {"class_id": class_id} if kind == CLASS else {}
    return post(client, f"/person/{person}/answer", body, **headers)


def test_a_product_is_shown_with_what_helps_to_decide_it(task, client):
    state = get(client, "/person/1/state").json
    item = state["item"]
    row = int(task.products[0])
    assert (state["total"], state["decided"], state["last"]) == (NUM_OPEN, 0, None)
    assert (item["product"], item["reason"]) == (task.keys[0], "improbable")
    assert item["images"] == task.catalog.image_count[row]
    assert [chosen for chosen, _ in item["choices"]] == task.choices[0].tolist()
    assert [chance for _, chance in item["choices"]] == task.probabilities[0].tolist()
    beside = [(row - 1) % len(task.catalog.product_id), (row + 1) % len(task.catalog.product_id)]
    assert [near["product"] for near in item["near"]] == [task.catalog.key(r) for r in beside]
    assert [near["class_id"] for near in item["near"]] == task.catalog.label[beside].tolist()
    assert [near["cosine"] for near in item["near"]] == [0.9, 0.5]
    assert all(near["image"] for near in item["near"])
    page = get(client, "/person/1").text
    assert all(name.replace(" > ", r" \u003e ") in page for name in task.class_names)


def test_pictures_are_those_of_the_product_and_of_what_is_near(task, client):
    def pixels(response):
        assert response.mimetype == "image/png"
        return cv2.imdecode(np.frombuffer(response.data, np.uint8), cv2.IMREAD_COLOR)

    def original(row):
        with task.catalog.path.open("rb") as file:
            file.seek(int(task.catalog.offset[row]))
            data = file.read(int(task.catalog.length[row]))
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)

    row = int(task.products[3])
    first, count = int(task.catalog.first_image[row]), int(task.catalog.image_count[row])
    for index in range(count):
        assert np.array_equal(pixels(get(client, f"/image/3/{index}")), original(first + index))
    shown = pixels(get(client, "/near/3/1"))
    assert np.array_equal(shown, original(int(task.near.image[3, 1])))
    for path in (f"/image/3/{count}", "/image/40/0", "/near/3/2", "/near/3/9", "/near/40/0"):
        assert get(client, path).status_code == 404


def test_two_people_decide_every_product(task, log, client):
    """A class, not in the list, and a skip, which the other person is asked for again."""
    kinds = [CLASS, CLASS, ABSENT, SKIP]
    states = {person: get(client, f"/person/{person}/state").json for person in (1, 2)}
    assert states[1]["item"]["product"] != states[2]["item"]["product"]
    number = 0
    while any(state["item"] for state in states.values()):
        for person in (1, 2):
            state = get(client, f"/person/{person}/state").json
            if state["item"]:
                kind = CLASS if state["decided"] > 30 else kinds[number % 4]
                response = answer(client, state["item"]["product"], kind, number % 12, person)
                assert response.status_code == 200
                state = response.json
                number += 1
            states[person] = state
    assert states[1]["decided"] == NUM_OPEN - states[1]["skipped"]
    start = get(client, "/").text
    assert f"{states[1]['decided']} of {NUM_OPEN} products are decided" in start
    assert f"{states[2]['own']} decided" in start
    stand = decisions(log.answers())
    assert set(stand) == set(task.keys)
    assert {a.class_key for a in stand.values() if a.kind == CLASS} <= set(task.class_keys)


def test_an_answer_is_undone_and_given_again(task, log, client):
    first, second = task.keys[:2]
    state = answer(client, first, class_id=3).json
    assert state["last"] == {"product": first, "said": task.class_names[3]}
    assert state["item"]["product"] == second
    state = post(client, "/person/1/undo", {"product": first}).json
    assert (state["item"]["product"], state["decided"], state["last"]) == (first, 0, None)
    assert answer(client, first, ABSENT).json["last"]["said"] == "not in the list"
    assert answer(client, second, SKIP).json["last"]["said"] == "skipped"
    assert {a.product: a.kind for a in decisions(log.answers()).values()} == {
        first: ABSENT,
        second: SKIP,
    }


def test_a_stale_tab_gets_the_current_product(task, log, client):
    assert answer(client, task.keys[0]).status_code == 200
    response = answer(client, task.keys[0], class_id=2)
    assert response.status_code == 409
    assert response.json["item"]["product"] == task.keys[1]
    assert post(client, "/person/1/undo", {"product": task.keys[1]}).status_code == 409
    assert post(client, "/person/2/undo", {"product": task.keys[0]}).status_code == 409
    assert len(log.answers()) == 1


@pytest.mark.parametrize(
    "body",
    [
        {"kind": CLASS, "class_id": 0},
        {"product": 5, "kind": CLASS, "class_id": 0},
        {"product": "a", "kind": "undo"},
        {"product": "a", "kind": CLASS},
        {"product": "a", "kind": CLASS, "class_id": 12},
        {"product": "a", "kind": CLASS, "class_id": True},
        ["a"],
    ],
)
def test_a_malformed_answer_is_refused(log, client, body):
    assert post(client, "/person/1/answer", body).status_code == 400
    assert log.answers() == []


def test_other_machines_pages_and_people_are_refused(task, log, client):
    for path in ("/", "/person/1/state", "/image/0/0", "/near/0/0", "/static/review.js"):
        assert get(client, path, Host="10.0.0.5:8000").status_code == 403
    assert answer(client, task.keys[0], Origin="http://evil.example").status_code == 403
    assert answer(client, task.keys[0], person=3).status_code == 404
    assert get(client, "/person/0").status_code == 404
    assert log.answers() == []
    assert "default-src 'none'" in get(client, "/person/1").headers["Content-Security-Policy"]
