"""Every benchmark runs at a small size and says what it measured; no figure is judged here."""

import json
import subprocess
import sys

import pytest

from tests.conftest import ROOT

SMALL = {
    "index": ["--products", "3000"],
    "reader": ["--products", "40", "--hot-products", "100", "--cold-products", "8000"],
    "ranking": ["--scale", "0.002"],
    "columns": ["--scale", "0.001"],
    "boosters": ["--rows", "3000", "--trees", "3", "--asked", "5", "--threads", "1"],
    "neighbours": ["--known", "2000", "--asked", "200"],
    "train": [
        "--network",
        "small",
        "--batch",
        "8",
        "--steps",
        "3",
        "--products",
        "30",
        "--side",
        "36",
    ],
    "stages": ["--scale", "0.001", "--trees", "5"],
    "full_index": ["--products", "2000", "--images", "3500"],
}


@pytest.mark.parametrize("name", SMALL)
def test_a_benchmark_ends_with_its_ratios(name):
    command = [sys.executable, "-m", f"bench.{name}", "--runs", "1", "--json", *SMALL[name]]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    last = json.loads(done.stdout.splitlines()[-1])
    assert last["bench"] == name
    bars = __import__(f"bench.{name}", fromlist=["BARS"]).BARS
    assert set(last["ratios"]) == set(bars)
    assert all(value > 0 for value in last["ratios"].values())
    assert all(f"{key} " in done.stdout for key in bars)
