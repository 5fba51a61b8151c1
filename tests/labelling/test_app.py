"""The page without a browser: what it gives away, whom it answers, what it refuses."""

import cv2
import numpy as np
import pytest

from lib.labelling.store import NONE, SKIPPED

HERE = "http://127.0.0.1:8000"


@pytest.fixture
def client(page):
    return page.app.test_client()


def post(client, path, body, **headers):
    headers = {"Host": "127.0.0.1:8000", "Origin": HERE} | headers
    return client.post(f"{HERE}{path}", json=body, headers=headers)


def get(client, path, **headers):
    return client.get(f"{HERE}{path}", headers={"Host": "127.0.0.1:8000"} | headers)


def answer(client, place, cls, person=1):
    return post(client, f"/person/{person}/answer", {"place": place, "class": cls})


def test_a_person_goes_through_all(page, client):
    total = len(page.sheet)
    for place in range(total):
        said = answer(client, place, None if place == 3 else place % 4)
        assert said.status_code == 200
        assert said.json["place"] == place + 1
        assert said.json["total"] == total
    assert page.ended == [1]
    assert said.json["pictures"] == []
    assert answer(client, total, 0).status_code == 400  # there is no such place
    assert get(client, "/person/1/state").json["place"] == total
    found = page.store.answers(1, total)
    assert found.tolist() == [SKIPPED if p == 3 else p % 4 for p in range(total)]
    assert (page.store.answers(2, total) == NONE).all()
    assert post(client, "/person/1/undo", {"place": total}).json["place"] == total - 1
    assert "19 of 20" in get(client, "/").text


def test_a_second_tab_is_told_where_the_person_stands(page, client):
    assert answer(client, 0, 1).status_code == 200
    said = answer(client, 0, 2)
    assert said.status_code == 409
    assert said.json["place"] == 1
    assert len(said.json["pictures"]) == 2
    assert post(client, "/person/1/undo", {"place": 0}).status_code == 409
    assert page.store.answers(1, 1).tolist() == [1]


def test_no_response_depends_on_the_truth(page, client):
    """Text is the same whatever the products are, and names no file; pictures are pixels."""
    secrets = {page.catalogue.path.name, str(page.catalogue.path.parent), page.sheet.digest[:16]}

    def told():
        page.store._base.execute("DELETE FROM event")
        found = [get(client, path) for path in ("/", "/person/1", "/person/2", "/nothing")]
        for place in range(len(page.sheet)):
            found.append(get(client, "/person/2/state"))
            found.append(answer(client, place, place % 4, person=2))
        found.append(post(client, "/person/2/undo", {"place": len(page.sheet)}))
        return [(one.status_code, one.text, sorted(one.headers.items())) for one in found]

    first = told()
    for status, text, headers in first:
        for secret in secrets:
            assert secret not in text, (status, secret)
            assert secret not in str(headers)
    rng = np.random.default_rng(0)
    page.sheet.truth[:] = rng.permutation(page.sheet.truth)
    assert told() == first


def test_pictures_are_those_of_the_products_and_nothing_else(page, client):
    for place, where in enumerate(page.sheet.order(2).tolist()):
        product = int(page.sheet.products[where])
        count = min(4, int(page.catalogue.image_count[product]))
        for position in range(count):
            said = get(client, f"/person/2/picture/{place}/{position}")
            assert said.mimetype == "image/png"
            row = int(page.catalogue.first_image[product]) + position
            offset, length = int(page.catalogue.offset[row]), int(page.catalogue.length[row])
            with page.catalogue.path.open("rb") as file:
                file.seek(offset)
                original = cv2.imdecode(np.frombuffer(file.read(length), np.uint8), 1)
            shown = cv2.imdecode(np.frombuffer(said.data, np.uint8), cv2.IMREAD_UNCHANGED)
            assert np.array_equal(shown, original)
            chunks = {said.data[i : i + 4] for i in range(len(said.data) - 4)}
            assert not chunks & {b"tEXt", b"iTXt", b"zTXt", b"eXIf", b"tIME"}
        assert get(client, f"/person/2/picture/{place}/{count}").status_code == 404


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "10.0.0.5:8000", "[::1]"],
)
def test_another_name_is_refused(client, host):
    for path in ("/", "/person/1", "/person/1/state", "/person/1/picture/0/0", "/static/page.js"):
        assert get(client, path, Host=host).status_code == 403
    body = {"place": 0, "class": 1}
    said = post(client, "/person/1/answer", body, Host=host, SourceInfo=f"http://{host}")
    assert said.status_code == 403


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:9999", "https://127.0.0.1:8000", ""]
)
def test_another_page_changes_nothing(page, client, origin):
    for path, body in (("answer", {"place": 0, "class": 1}), ("undo", {"place": 0})):
        assert post(client, f"/person/1/{path}", body, SourceInfo=origin).status_code == 403
    form = {"Host": "127.0.0.1:8000", "Origin": HERE, "Content-Type": "text/plain"}
    said = client.post(f"{HERE}/person/1/answer", data='{"place": 0, "class": 1}', headers=form)
    assert said.status_code == 415
    assert page.store.stands(1) == 0


def test_localhost_is_another_name_of_this_machine(client):
    there = {"Host": "localhost:8000", "Origin": "http://localhost:8000"}
    said = client.post(
        "http://localhost:8000/person/1/answer", json={"place": 0, "class": 1}, headers=there
    )
    assert said.status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {"place": -1, "class": 0},
        {"place": 0, "class": 4},
        {"place": 0, "class": -1},
        {"place": True, "class": 0},
        {"place": 0, "class": "fish"},
        {"place": 0, "class": False},
        {"place": "0", "class": 0},
        {"class": 0},
        [0, 0],
    ],
)
def test_what_is_no_label(page, client, body):
    assert post(client, "/person/1/answer", body).status_code == 400
    assert page.store.people() == []


def test_who_and_what_there_is_not(client):
    for path in ("/person/3", "/person/0/state", "/person/1/picture/20/0", "/person/x", "/labels"):
        assert get(client, path).status_code == 404
    assert "only 1 to 2" in get(client, "/person/3").text
    assert answer(client, 0, 0, person=3).status_code == 404
    assert get(client, "/person/1/answer").status_code == 405


def test_nothing_is_kept_or_lent_out(client):
    for path in ("/", "/person/1", "/person/1/state", "/static/page.js", "/none"):
        headers = get(client, path).headers
        assert headers["Cache-Control"] == "no-store"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
    for path in ("/", "/person/1", "/static/page.css", "/static/page.js"):
        assert "//" not in get(client, path).text.replace("// ", "")  # no other address
