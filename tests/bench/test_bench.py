"""Every benchmark runs at a small size and prints its ratios; the figures are not checked."""

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
    "boosters": ["--rows", "3000", "--trees", "3", "--predict-trees", "5", "--threads", "1"],
    "neighbours": ["--num-references", "2000", "--num-queries", "200"],
    "train": [
        "--arch",
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
def test_the_last_line_has_the_ratios(name):
    command = [sys.executable, "-m", f"bench.{name}", "--runs", "1", "--json", *SMALL[name]]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    last = json.loads(done.stdout.splitlines()[-1])
    assert last["bench"] == name
    bars = __import__(f"bench.{name}", fromlist=["BARS"]).BARS
    assert set(last["ratios"]) == set(bars)
    assert all(value > 0 for value in last["ratios"].values())
    assert all(f"{key} " in done.stdout for key in bars)


@pytest.mark.parametrize(
    ("name", "module", "package"),
    [
        ("ranking", "duckdb", "duckdb"),
        ("columns", "duckdb", "duckdb"),
        ("neighbours", "faiss", "faiss-cpu"),
    ],
)
def test_a_missing_baseline_package_is_named_in_one_line(name, module, package):
    code = f"import sys; sys.modules['{module}'] = None; import runpy; sys.argv = ['x']; "
    code += f"runpy.run_module('bench.{name}', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: this benchmark needs {package}; run ")
    assert f"pip install {package}==" in done.stderr
    assert done.stderr.count("\n") == 1
