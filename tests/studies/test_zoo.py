"""The table of networks and sizes: a small part of it, and its failures."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor as Threads

import pytest
import torch

from lib.models import factory
from studies import zoo as study
from tests import scripts


@pytest.mark.parametrize("name", ["small", "efficientnet_lite0", "squeezenet1_1", "test_vit"])
def test_a_network_trains_and_predicts_at_the_sizes_that_it_accepts(name):
    row = study.check_network(name, (8, 64, 96))
    assert row.results == ("refused", "ok", "ok")
    assert row.accepts.startswith("from ")
    assert row.parameters > 0


def test_a_network_of_one_fixed_size_refuses_others():
    row = study.check_network("test_maxvit", (64, 160))
    assert row.accepts == "160 alone"
    assert row.results == ("refused", "ok")


def test_a_failure_at_an_accepted_size_is_reported(monkeypatch):
    create_model = factory.create_model

    def create_broken(*arguments):
        net = create_model(*arguments)
        net.head = torch.nn.Linear(1, 7)  # of another width than the body
        return net

    monkeypatch.setattr(factory, "create_model", create_broken)
    assert study.check_network("test_resnet", (64,)).results == ("failed: RuntimeError",)


def dies_at_64(network, sizes, images):
    if 64 in sizes:
        os.abort()
    return study.Row(network, 1, 2, "from 16", ("ok",) * len(sizes))


def test_a_crash_loses_neither_other_sizes_nor_other_networks(monkeypatch):
    monkeypatch.setattr(study, "check_network", dies_at_64)
    monkeypatch.setattr(study, "SPAWN", scripts.forking_or("spawn"))
    rows = list(study.check_networks(["a", "b"], (64, 96)))
    assert [row.network for row in rows] == ["a", "b"]
    assert all(row.results == ("failed: the process died", "ok") for row in rows)
    assert all(row.accepts == "from 16" for row in rows)


def test_the_table_is_markdown(monkeypatch, capsys):
    arguments = ["--sizes", "32", "--networks", "small", "no-net"]
    monkeypatch.setattr(sys, "argv", ["zoo", *arguments])
    monkeypatch.setattr(study, "NETWORKS_PER_PROCESS", 1)
    monkeypatch.setattr(study, "ProcessPoolExecutor", lambda count, *_, **__: Threads(count))
    with pytest.raises(SystemExit) as ended:
        study.main()
    assert ended.value.code == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| network | parameters | width | accepts | 32 |"
    assert lines[2] == "| `small` | 0.8 M | 256 | from 16 | ok |"
    assert lines[3].startswith("| `no-net` | 0.0 M | 0 | unknown model 'no-net'")
