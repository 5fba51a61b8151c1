"""The page without a browser: the information it reveals, and the requests it refuses."""

import sqlite3
from contextlib import closing

import cv2
import numpy as np
import pytest

from lib.labelling.store import SKIPPED, UNANSWERED

ORIGIN = "http://127.0.0.1:8000"


@pytest.fixture
def client(page):
    return page.app.test_client()


def post(client, path, body, **headers):
    headers = {"Host": "127.0.0.1:8000", "Origin": ORIGIN} | headers
    return client.post(f"{ORIGIN}{path}", json=body, headers=headers)


def get(client, path, **headers):
    return client.get(f"{ORIGIN}{path}", headers={"Host": "127.0.0.1:8000"} | headers)


def answer(client, position, class_id, person=1):
    body = {"position": position, "class_id": class_id}
    return post(client, f"/person/{person}/answer", body)


def test_a_person_labels_every_product(page, client):
    total = len(page.task)
    for position in range(total):
        response = answer(client, position, None if position == 3 else position % 4)
        assert response.status_code == 200
        assert response.json["position"] == position + 1
        assert response.json["total"] == total
    assert page.finished == [1]
    assert response.json["images"] == []
    assert answer(client, total, 0).status_code == 400  # past the last product
    assert get(client, "/person/1/state").json["position"] == total
    labels = page.store.labels(1, total)
    assert labels.tolist() == [SKIPPED if p == 3 else p % 4 for p in range(total)]
    assert (page.store.labels(2, total) == UNANSWERED).all()
    assert post(client, "/person/1/undo", {"position": total}).json["position"] == total - 1
    assert "19 of 20" in get(client, "/").text


def test_a_stale_tab_gets_the_current_position(page, client):
    assert answer(client, 0, 1).status_code == 200
    response = answer(client, 0, 2)
    assert response.status_code == 409
    assert response.json["position"] == 1
    assert len(response.json["images"]) == 2
    assert post(client, "/person/1/undo", {"position": 0}).status_code == 409
    assert page.store.labels(1, 1).tolist() == [1]


def test_no_response_depends_on_the_truth(page, client):
    """Responses stay the same when the true classes change, and none names a file."""
    secrets = {page.catalog.path.name, str(page.catalog.path.parent), page.task.digest[:16]}

    def responses():
        with closing(sqlite3.connect(page.store.path)) as database, database:
            database.execute("DELETE FROM event")
        all_responses = [get(client, path) for path in ("/", "/person/1", "/person/2", "/nothing")]
        for position in range(len(page.task)):
            all_responses.append(get(client, "/person/2/state"))
            all_responses.append(answer(client, position, position % 4, person=2))
        all_responses.append(post(client, "/person/2/undo", {"position": len(page.task)}))
        return [(r.status_code, r.text, sorted(r.headers.items())) for r in all_responses]

    first = responses()
    for status, text, headers in first:
        for secret in secrets:
            assert secret not in text, (status, secret)
            assert secret not in str(headers)
    rng = np.random.default_rng(0)
    page.task.truth[:] = rng.permutation(page.task.truth)
    assert responses() == first


def test_an_image_holds_the_pixels_of_its_product_and_no_metadata(page, client):
    for position, item in enumerate(page.task.order(2).tolist()):
        product = int(page.task.products[item])
        count = min(4, int(page.catalog.image_count[product]))
        for index in range(count):
            response = get(client, f"/person/2/image/{position}/{index}")
            assert response.mimetype == "image/png"
            row = int(page.catalog.first_image[product]) + index
            offset, length = int(page.catalog.offset[row]), int(page.catalog.length[row])
            with page.catalog.path.open("rb") as file:
                file.seek(offset)
                original = cv2.imdecode(np.frombuffer(file.read(length), np.uint8), 1)
            shown = cv2.imdecode(np.frombuffer(response.data, np.uint8), cv2.IMREAD_UNCHANGED)
            assert np.array_equal(shown, original)
            chunks = {response.data[i : i + 4] for i in range(len(response.data) - 4)}
            assert not chunks & {b"tEXt", b"iTXt", b"zTXt", b"eXIf", b"tIME"}
        assert get(client, f"/person/2/image/{position}/{count}").status_code == 404


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "10.0.0.5:8000", "[::1]"],
)
def test_another_host_name_is_refused(client, host):
    for path in ("/", "/person/1", "/person/1/state", "/person/1/image/0/0", "/static/page.js"):
        assert get(client, path, Host=host).status_code == 403
    body = {"position": 0, "class_id": 1}
    response = post(client, "/person/1/answer", body, Host=host, Origin=f"http://{host}")
    assert response.status_code == 403


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:9999", "https://127.0.0.1:8000", ""]
)
def test_another_page_cannot_add_labels(page, client, origin):
    for path, body in (("answer", {"position": 0, "class_id": 1}), ("undo", {"position": 0})):
        assert post(client, f"/person/1/{path}", body, Origin=origin).status_code == 403
    form = {"Host": "127.0.0.1:8000", "Origin": ORIGIN, "Content-Type": "text/plain"}
    response = client.post(
        f"{ORIGIN}/person/1/answer", data='{"position": 0, "class_id": 1}', headers=form
    )
    assert response.status_code == 415
    assert page.store.position(1) == 0


def test_localhost_is_accepted(client):
    headers = {"Host": "localhost:8000", "Origin": "http://localhost:8000"}
    response = client.post(
        "http://localhost:8000/person/1/answer",
        json={"position": 0, "class_id": 1},
        headers=headers,
    )
    assert response.status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {"position": -1, "class_id": 0},
        {"position": 0, "class_id": 4},
        {"position": 0, "class_id": -1},
        {"position": True, "class_id": 0},
        {"position": 0, "class_id": "fish"},
        {"position": 0, "class_id": False},
        {"position": "0", "class_id": 0},
        {"class_id": 0},
        [0, 0],
    ],
)
def test_a_malformed_label_is_refused(page, client, body):
    assert post(client, "/person/1/answer", body).status_code == 400
    assert page.store.people() == []


def test_unknown_people_and_paths_are_404(client):
    for path in ("/person/3", "/person/0/state", "/person/1/image/20/0", "/person/x", "/labels"):
        assert get(client, path).status_code == 404
    assert "only 1 to 2" in get(client, "/person/3").text
    assert answer(client, 0, 0, person=3).status_code == 404
    assert get(client, "/person/1/answer").status_code == 405


def test_responses_are_not_cached_and_load_nothing_from_elsewhere(client):
    for path in ("/", "/person/1", "/person/1/state", "/static/page.js", "/none"):
        headers = get(client, path).headers
        assert headers["Cache-Control"] == "no-store"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
    for path in ("/", "/person/1", "/static/page.css", "/static/page.js"):
        assert "//" not in get(client, path).text.replace("// ", "")
