"""Small JSON files of the work folder: facts, names of columns, histories, rules."""

import json
from pathlib import Path

import numpy as np

from lib.data import scan_report
from lib.evaluation.abstention import AbstentionRule
from lib.features.table import missing_shares
from lib.pipeline.reading import read_json
from lib.training import checkpoint
from tests.fuzz.family import Family, write

LINE = {
    "epoch": 1,
    "phase": "body",
    "lr": 0.1,
    "loss": 2.5,
    "valid_loss": None,
    "valid_accuracy": 0.5,
}


def make_seeds(folder: Path) -> list[bytes]:
    """Files as the stages write them."""
    report = scan_report.ScanReport()
    report.add("no category_id", np.array([5, 3]))
    report.write(folder / "r.json", "byte")
    rule = {
        "precision": 0.95,
        "threshold": 0.5,
        "products": 10,
        "tested_on": 9,
        "coverage": 0.5,
        "temperature": 1.5,
        "threshold_of": None,
    }
    values = [
        {"names": ["a", "b"], "categorical": ["b"], "missing": [0.5, 0.0]},
        {"comparable": True, "labelled": 1.0, "others": None},
        {"rounds": 12, "loss": [0.5, 0.25]},
        {"temperature": 1.25},
        ["0_a", "1_b"],
        rule,
    ]
    history = "".join(json.dumps(LINE | {"epoch": n}) + "\n" for n in range(3)).encode()
    return [(folder / "r.json").read_bytes(), history, *(json.dumps(v).encode() for v in values)]


def read(data: bytes, inside: Path) -> None:
    """Every reader of JSON, each of which must take the file or refuse it in one line."""
    from lib.errors import UserError

    names = (
        "columns.json",
        "calibration.json",
        "history.jsonl",
        "scan_report.json",
        "_times.jsonl",
    )
    for name in names:
        write(inside / name, data)
    refused = []
    for use in (
        lambda: read_json(inside / "columns.json", "names", "categorical"),
        lambda: missing_shares(inside),
        lambda: AbstentionRule.load(inside),
        lambda: checkpoint.facts(inside, 3),
        lambda: scan_report.check_strict(inside, inside / "train.bson"),
    ):
        try:
            use()
        except UserError as error:
            refused.append(error)
    if len(refused) == 5:
        raise refused[0]


FAMILIES = [
    Family(
        "json",
        make_seeds,
        read,
        tokens=(
            b"null",
            b"[]",
            b"{}",
            b"NaN",
            b"Infinity",
            b"-1",
            b"\\ud800",
            b'"names":',
            b"\xef\xbb\xbf",
        ),
        weight=2,
    )
]
