"""The labelling study as a process: killed, used by two people at once, and from other machines."""

import json
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lib.errors import UserError
from lib.labelling.store import Store
from lib.pipeline.experiment import Experiment
from studies import human_label
from tests.labelling.conftest import make_task
from tests.labelling.running_page import run_study, running_page

NUM_ITEMS = 12


def simulated_labels(config, person, num_wrong):
    """Class ids in the person's order: the first `num_wrong` are wrong, the others are right."""
    _, task = make_task(config, NUM_ITEMS)
    truth = task.truth[task.order(person)].tolist()
    return [(c + 1) % 4 if position < num_wrong else c for position, c in enumerate(truth)]


def test_labels_survive_a_kill_and_two_people_at_once(four_classes, tmp_path):
    path, config = four_classes
    data = tmp_path / "labels.sqlite"
    labels = {1: simulated_labels(config, 1, 3), 2: simulated_labels(config, 2, 5)}
    with running_page(path, data, "--items", str(NUM_ITEMS)) as page:
        for position in range(4):
            state = page.request(
                "person/1/answer", {"position": position, "class_id": labels[1][position]}
            )
        assert state["position"] == 4
        page.kill()  # right after the last answer

    def label_the_rest(person):
        position = first = page.request(f"person/{person}/state")["position"]
        while position < NUM_ITEMS:
            body = {"position": position, "class_id": labels[person][position]}
            position = page.request(f"person/{person}/answer", body)["position"]
        return first

    with running_page(path, data) as page:  # the file stores the number of items
        with ThreadPoolExecutor(2) as pool:
            assert list(pool.map(label_the_rest, (1, 2))) == [4, 0]
        report = page.interrupt()
    assert "person 1 is done" in report
    assert f"| person 1 | {100 * 9 / 12:.1f} (" in report
    assert f"| person 2 | {100 * 7 / 12:.1f} (" in report
    assert "a is left out: its predictions of fit are missing." in report
    with Store(data) as store:
        for person in (1, 2):
            assert store.labels(person, NUM_ITEMS).tolist() == labels[person]
    json_file = tmp_path / "r.json"
    again = run_study(
        *("--config", str(path), "--data", str(data), "--report"),
        *("--json", str(json_file), "--plot", str(tmp_path / "r.png")),
    )
    assert again.stdout in report
    assert json.loads(json_file.read_text())["people"]["2"]["accuracy"]["value"] == pytest.approx(
        7 / 12
    )
    assert (tmp_path / "r.png").stat().st_size > 1000


def test_no_other_machine_can_reach_the_page(four_classes, tmp_path, monkeypatch, capsys):
    """The server listens on 127.0.0.1 and on no other address, not even of the loopback."""
    with running_page(four_classes[0], tmp_path / "labels.sqlite", "--items", "3") as page:
        others = {"127.0.0.2", "::1", *_own_addresses()}
        for address in others:
            with pytest.raises(OSError):  # noqa: PT011
                socket.create_connection((address, page.port), timeout=5).close()
        socket.create_connection(("127.0.0.1", page.port), timeout=5).close()
        listening = _listening(page.port)
        assert listening == {"0100007F"}
        options = ["--config", str(four_classes[0]), "--data", str(tmp_path / "labels.sqlite")]
        monkeypatch.setattr(sys, "argv", ["human_label", *options, "--port", str(page.port)])
        assert human_label.main() == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: --port {page.port}: Address already in use")
    assert error.count("\n") == 1


def _own_addresses():
    """The address of this machine on its network, if it has one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
            return {probe.getsockname()[0]}
        except OSError:
            return set()


def _listening(port):
    """The addresses that listen on a port, in the kernel's notation."""
    addresses = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except FileNotFoundError:
            continue
        for line in lines:
            address, listened = line.split()[1].split(":")
            if line.split()[3] == "0A" and int(listened, 16) == port:
                addresses.add(address)
    return addresses


def test_an_error_is_one_line(four_classes, tmp_path):
    path, _ = four_classes
    data = tmp_path / "labels.sqlite"
    common = ["--config", str(path), "--data", str(data)]
    with Store(data) as store:
        store.bind({"part": "fit", "items": "12", "seed": "0", "task": "another"})
    for arguments, message in (
        ([*common, "--report"], "labels of another task (task another -> "),
        ([*common, "--items", "13"], "items 12 -> 13; "),
        ([*common[:2], "--report"], "labels.sqlite: no labels yet"),
        ([*common, "--part", "holdout"], "choose another --part"),
        ([*common, "--set", "name=new"], "is missing; run 01_extract.py first"),
        ([*common, "--set", "split.locked=0.2"], "run 01_extract.py first"),
        ([*common, "--people", "0"], "--people 0"),
    ):
        with pytest.raises(UserError) as error:
            human_label.run(human_label.argument_parser().parse_args(arguments))
        assert message in str(error.value)
        assert "\n" not in str(error.value)


def test_a_part_with_fewer_products_is_used_whole(four_classes, tmp_path, capsys):
    path, config = four_classes
    num_products = len(make_task(config, 10_000)[1])
    common = ["--config", str(path), "--data", str(tmp_path / "l.sqlite"), "--items", "1000"]
    with Store(tmp_path / "l.sqlite") as store:
        arguments = human_label.argument_parser().parse_args(common)
        session = human_label.open_session(Experiment(config), store, arguments)
        assert len(session.task) == num_products
    assert (
        f"fit has only {num_products} products with images: using all, not 1000"
        in capsys.readouterr().out
    )


def test_a_model_without_predictions_is_left_out_with_a_note(four_classes):
    topks, notes = human_label.fresh_topks(Experiment(four_classes[1]), "fit")
    assert topks == {}
    assert notes == ["a is left out: its predictions of fit are missing."]
