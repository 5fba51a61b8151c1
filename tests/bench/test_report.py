"""Measurement in fresh processes, ratios, and the report of a benchmark."""

import json
import os

import numpy as np
import pytest

from bench import report
from bench.report import Measurement, Row

MB = 1 << 20


def process_id():
    return os.getpid


def allocate(num_mb):
    return lambda: int(np.ones(num_mb * MB, np.uint8).sum(dtype=np.int64))


def prepare_more_than_work(num_mb):
    np.ones(num_mb * MB, np.uint8).sum()
    return lambda: None


def fail():
    raise RuntimeError("a task that fails")


def make_row(*walls, name="a", count=10):
    return Row(name, count, "image", [Measurement(wall, 2 * wall, wall) for wall in walls])


def test_each_measurement_has_a_process_of_its_own():
    results = {report.measure(process_id).result for _ in range(2)}
    assert len(results) == 2
    assert os.getpid() not in results


def test_the_peak_includes_the_memory_of_the_work():
    few, many = (report.measure(allocate, num_mb) for num_mb in (1, 300))
    assert many.result == 300 * MB
    assert many.peak - few.peak > 250


def test_the_peak_does_not_include_the_memory_of_the_preparation():
    few, many = (report.measure(prepare_more_than_work, num_mb) for num_mb in (1, 300))
    assert many.peak - few.peak < 50


def test_a_task_that_fails_is_named(capfd):
    with pytest.raises(SystemExit, match="fail failed, see above"):
        report.measure(fail)
    assert "a task that fails" in capfd.readouterr().err


def test_a_row_has_the_medians_and_the_highest_peak():
    row = make_row(1.0, 5.0, 2.0)
    assert (row.wall, row.cpu, row.peak) == (2.0, 4.0, 5.0)


def test_a_ratio_is_the_median_over_the_turns():
    assert report.ratio(make_row(4.0, 2.0, 9.0), make_row(1.0, 1.0, 3.0)) == 3.0
    assert report.ratio(make_row(4.0), make_row(1.0), by="cpu") == 4.0


def test_tasks_are_measured_in_turns():
    order = []

    def task(name):
        order.append(name)
        return Measurement(len(order), 0.0, 0.0)

    runs = report.run_in_turns({name: lambda name=name: task(name) for name in "ab"}, 2)
    assert order == ["a", "b", "a", "b"]
    assert [run.wall for run in runs["b"]] == [2, 4]


def test_the_table_has_the_rates_by_wall_and_by_cpu(capsys):
    report.print_table("a title", [make_row(2.0, name="reader", count=1000)])
    title, machine, _, _, line = capsys.readouterr().out.splitlines()
    assert title == "a title"
    assert machine == report.describe_machine()
    assert line.split() == ["reader", "2.00", "s", "4.00", "s", "500", "image/s", "250", "2", "MB"]


def test_a_ratio_below_its_minimum_is_marked(capsys):
    report.print_ratios({"good": 2.0, "bad": 0.5}, {"good": 1.0, "bad": 1.0})
    _, good, bad = capsys.readouterr().out.splitlines()
    assert good.split(maxsplit=2) == ["good", "2.00", "(at least 1)"]
    assert bad.split(maxsplit=2) == ["bad", "0.50", "(at least 1, MISSED)"]


@pytest.mark.parametrize("as_json", [False, True])
def test_the_last_line_is_json_where_it_is_requested(capsys, as_json):
    report.print_report("name", "title", [make_row(1.0)], {"x": 1.23456}, {"x": 1.0}, as_json)
    last = capsys.readouterr().out.splitlines()[-1]
    if as_json:
        assert json.loads(last) == {"bench": "name", "ratios": {"x": 1.2346}}
    else:
        assert last.startswith("x ")


def test_all_benchmarks_share_their_arguments():
    parser = report.parser("bench.name", "First line.\n\nMore.")
    arguments = parser.parse_args(["--runs", "2", "--json"])
    assert (arguments.runs, arguments.json) == (2, True)
    assert parser.description == "First line."


def test_an_installed_baseline_package_is_imported():
    assert report.require("json", "json") is json
