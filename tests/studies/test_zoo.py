"""The table of networks and sizes: a small part of it, and that it tells failures."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor as Threads

import pytest
import torch

from lib.models import factory
from studies import zoo as study


@pytest.mark.parametrize("name", ["small", "efficientnet_lite0", "squeezenet1_1", "test_vit"])
def test_a_network_trains_and_predicts_where_it_says(name):
    row = study.look(name, (8, 64, 96))
    assert row.cells == ("refused", "ok", "ok")
    assert row.takes.startswith("from ")
    assert row.parameters > 0


def test_one_size_alone_is_a_cell_of_its_own():
    row = study.look("test_maxvit", (64, 160))
    assert row.takes == "160 alone"
    assert row.cells == ("refused", "ok")


def test_a_network_that_takes_a_size_and_fails_is_told(monkeypatch):
    create_model = factory.create_model

    def create_broken(*arguments):
        net = create_model(*arguments)
        net.head = torch.nn.Linear(1, 7)  # of another width than the body
        return net

    monkeypatch.setattr(factory, "create_model", create_broken)
    assert study.look("test_resnet", (64,)).cells == ("failed: RuntimeError",)


def dies_at_64(network, sizes, pictures):
    if 64 in sizes:
        os.abort()
    return study.Row(network, 1, 2, "from 16", ("ok",) * len(sizes))


def test_a_process_that_dies_takes_neither_the_other_sizes_nor_networks(monkeypatch):
    monkeypatch.setattr(study, "look", dies_at_64)
    rows = list(study.looks(["a", "b"], (64, 96)))
    assert [row.network for row in rows] == ["a", "b"]
    assert all(row.cells == ("failed: the process died", "ok") for row in rows)
    assert all(row.takes == "from 16" for row in rows)


def test_the_table_is_markdown(monkeypatch, capsys):
    arguments = ["--sizes", "32", "--networks", "small", "no-net"]
    monkeypatch.setattr(sys, "argv", ["zoo", *arguments])
    monkeypatch.setattr(study, "AT_ONCE", 1)
    monkeypatch.setattr(study, "ProcessPoolExecutor", lambda count, *_, **__: Threads(count))
    with pytest.raises(SystemExit) as ended:
        study.main()
    assert ended.value.code == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| network | parameters | width | takes | 32 |"
    assert lines[2] == "| `small` | 0.8 M | 256 | from 16 | ok |"
    assert lines[3].startswith("| `no-net` | 0.0 M | 0 | unknown model 'no-net'")
