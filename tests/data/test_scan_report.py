import json

import numpy as np
import pytest

from lib.data.scan_report import MAX_REPORTED, NO_BYTES, ScanReport, check_strict
from lib.errors import UserError


def test_reasons_are_counted_and_locations_sorted(tmp_path):
    report = ScanReport()
    report.add("duplicate _id", np.array([90, 20]), ["a", "b"])
    report.add(NO_BYTES, np.array([50]))
    report.add("no _id", np.array([], np.int64))
    report.write(tmp_path / "scan_report.json", "byte")
    assert json.loads((tmp_path / "scan_report.json").read_text()) == {
        "counts": {"duplicate _id": 2, NO_BYTES: 1},
        "records": [
            {"byte": 20, "reason": "duplicate _id b"},
            {"byte": 50, "reason": NO_BYTES},
            {"byte": 90, "reason": "duplicate _id a"},
        ],
    }


def test_all_records_are_counted_but_only_the_first_are_listed(tmp_path):
    report = ScanReport()
    report.add("no _id", np.arange(MAX_REPORTED + 5))
    report.write(tmp_path / "scan_report.json", "byte")
    written = json.loads((tmp_path / "scan_report.json").read_text())
    assert written["counts"] == {"no _id": MAX_REPORTED + 5}
    assert len(written["records"]) == MAX_REPORTED


def test_the_first_record_of_a_reason_and_the_first_unused_one_are_found():
    report = ScanReport()
    report.add("duplicate _id", np.array([90, 20]), ["a", "b"])
    report.add(NO_BYTES, np.array([5]))
    assert report.first_of("duplicate _id") == (20, "b")
    assert report.first_of(NO_BYTES) == (5, "")
    assert report.first_fatal() == (20, "duplicate _id b")


def test_strict_raises_if_anything_was_left_out(tmp_path):
    report = ScanReport()
    report.write(tmp_path / "scan_report.json", "line")
    check_strict(tmp_path, tmp_path / "x.csv")
    report.add("duplicate _id", np.array([7]), ["a"])
    report.write(tmp_path / "scan_report.json", "line")
    with pytest.raises(UserError, match=r"--strict: 1 x duplicate _id; the first at line 7"):
        check_strict(tmp_path, tmp_path / "x.csv")
