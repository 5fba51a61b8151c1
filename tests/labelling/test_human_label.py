"""The study as its user starts it: killed, asked by two at once, and from other machines."""

import json
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from lib.features.candidates import make_query
from lib.inference.topk import TopK
from lib.labelling import baselines
from lib.labelling.store import Store
from lib.stages import ranking_stage
from studies import human_label
from tests.labelling.conftest import sheet_of
from tests.labelling.served import call, served

COUNT = 12


def labels(config, person, wrong=0):
    """What a person says who is right but for the first `wrong` drawings."""
    _, sheet = sheet_of(config, COUNT)
    truth = sheet.truth[sheet.order(person)].tolist()
    return [(cls + 1) % 4 if place < wrong else cls for place, cls in enumerate(truth)]


def test_labels_survive_a_kill_and_two_at_once_lose_nothing(few, tmp_path):
    path, config = few
    data, wrong = tmp_path / "labels.sqlite", {1: 3, 2: 5}
    said = {person: labels(config, person, wrong[person]) for person in (1, 2)}
    with served(path, data, "--drawings", str(COUNT)) as page:
        for place in range(4):
            done = page.ask("person/1/answer", {"place": place, "class": said[1][place]})
        assert done["place"] == 4
        page.process.send_signal(signal.SIGKILL)  # right after the last answer
        page.process.wait()

    def go_on(person):
        place = page.ask(f"person/{person}/state")["place"]
        began = place
        while place < COUNT:
            body = {"place": place, "class": said[person][place]}
            place = page.ask(f"person/{person}/answer", body)["place"]
        return began

    with served(path, data) as page:  # the file remembers how many
        with ThreadPoolExecutor(2) as pool:
            assert list(pool.map(go_on, (1, 2))) == [4, 0]
        report = page.end()
    assert "person 1 is through" in report
    assert f"| person 1 | {100 * 9 / 12:.1f} (" in report
    assert f"| person 2 | {100 * 7 / 12:.1f} (" in report
    assert "a is left out: its predictions of locked are missing." in report
    with Store(data) as store:
        for person in (1, 2):
            assert store.answers(person, COUNT).tolist() == said[person]
    found = tmp_path / "r.json"
    again = call(
        *("--config", str(path), "--data", str(data), "--report"),
        *("--json", str(found), "--plot", str(tmp_path / "r.png")),
    )
    assert again.stdout in report
    assert json.loads(found.read_text())["people"]["2"]["accuracy"]["value"] == pytest.approx(
        7 / 12
    )
    assert (tmp_path / "r.png").stat().st_size > 1000


def test_no_other_machine_can_reach_it(few, tmp_path):
    """It hears 127.0.0.1 and no other address, not even another one of the loopback."""
    with served(few[0], tmp_path / "labels.sqlite", "--drawings", "3") as page:
        others = {"127.0.0.2", "::1", *_own_addresses()}
        for address in others:
            with pytest.raises(OSError):  # noqa: PT011
                socket.create_connection((address, page.port), timeout=5).close()
        socket.create_connection(("127.0.0.1", page.port), timeout=5).close()
        listening = _listening(page.port)
        assert listening == {"0100007F"}
        taken = call(
            *("--config", str(few[0]), "--data", str(tmp_path / "labels.sqlite")),
            *("--port", str(page.port)),
        )
    assert taken.returncode == 2
    assert taken.stderr.startswith(f"error: --port {page.port}: Address already in use")
    assert taken.stderr.count("\n") == 1


def _own_addresses():
    """Of this machine's way to others, if it has one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way:
        try:
            way.connect(("192.0.2.1", 9))  # nothing is sent
            return {way.getsockname()[0]}
        except OSError:
            return set()


def _listening(port):
    """The addresses, in the kernel's words, at which somebody hears a port."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except FileNotFoundError:
            continue
        for line in lines:
            address, heard = line.split()[1].split(":")
            if line.split()[3] == "0A" and int(heard, 16) == port:
                found.add(address)
    return found


def test_one_line_for_what_is_wrong(few, tmp_path):
    path, _ = few
    data = tmp_path / "labels.sqlite"
    asked = ["--config", str(path), "--data", str(data)]
    with Store(data) as store:
        store.settle({"part": "locked", "drawings": "12", "seed": "0", "sheet": "of another"})
    for arguments, told in (
        ([*asked, "--report"], "labels of another sheet (sheet of another -> "),
        ([*asked, "--drawings", "13"], "drawings 12 -> 13; "),
        ([*asked[:2], "--report"], "labels.sqlite: no labels yet"),
        ([*asked, "--part", "holdout"], "choose another --part"),
        ([*asked, "--set", "name=new"], "is missing; run 01_extract.py first"),
        ([*asked, "--set", "split.locked=0.2"], "run 01_extract.py first"),
        ([*asked, "--people", "0"], "--people 0"),
    ):
        with pytest.raises(human_label.UserError) as error:
            human_label.run(human_label._parser().parse_args(arguments))
        assert told in str(error.value)
        assert "\n" not in str(error.value)


def test_fewer_products_than_asked_for(few, tmp_path, capsys):
    path, config = few
    everything = len(sheet_of(config, 10_000)[1])
    asked = ["--config", str(path), "--data", str(tmp_path / "l.sqlite"), "--drawings", "1000"]
    with Store(tmp_path / "l.sqlite") as store:
        arguments = human_label._parser().parse_args(asked)
        session = human_label.begin(config, store, arguments)
        assert len(session.sheet) == everything
    assert (
        f"locked has {everything} products with pictures: all are asked" in capsys.readouterr().out
    )


def test_models_answer_for_the_same_products(few, tmp_path, monkeypatch):
    """Dumps that put a known class first for every picture of the part."""
    _, config = few
    catalogue, sheet = sheet_of(config, COUNT)
    _, whole = sheet_of(config, 10_000)
    query = make_query(catalogue, whole.products)
    first = ((catalogue.image_product[query.images] * 7) % 4).astype(np.int16)
    classes = np.stack([first, (first + 1) % 4], axis=1).astype(np.int16)
    probs = np.tile(np.float32([0.8, 0.1]), (len(first), 1))
    dump = TopK(query.images, classes, probs, np.full(len(first), 0.1, np.float32))
    monkeypatch.setattr(ranking_stage, "read_dump", lambda *_: dump)
    found, left_out = baselines.answers(config, "locked", catalogue, sheet.products, 4)
    assert found == {}
    assert left_out == ["a is left out: its predictions of locked are missing."]

    class Fresh:
        state = "fresh"

    monkeypatch.setattr(baselines, "survey", lambda made: {one.path: Fresh() for one in made})
    found, left_out = baselines.answers(config, "locked", catalogue, sheet.products, 4)
    assert left_out == []
    assert np.array_equal(found["a"], (sheet.products * 7) % 4)
