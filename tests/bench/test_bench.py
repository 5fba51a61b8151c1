"""Every benchmark runs at a small size and prints its ratios; the figures are not checked."""

import importlib
import json
import subprocess
import sys

import pytest

from tests import scripts
from tests.conftest import ROOT

SMALL = {
    "index": ["--products", "1000"],
    "reader": ["--products", "40", "--hot-products", "100", "--cold-products", "8000"],
    "ranking": ["--scale", "0.002"],
    "columns": ["--scale", "0.001"],
    "boosters": ["--rows", "3000", "--trees", "2", "--predict-trees", "2", "--threads", "1"],
    "neighbours": ["--num-references", "1000", "--num-queries", "100"],
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
    "nearest": ["--images", "3000", "--queries", "300"],
    "openimages": ["--boxes", "20000"],
    "tars": ["--samples", "2000"],
    "titles": ["--titles", "600", "--new", "100", "--classes", "5", "--threads", "1"],
    "full_index": ["--products", "2000", "--images", "3500"],
}


def run_bench(name: str) -> int:
    """Run a benchmark in a fork that has the libraries, and what it measures in others."""
    pytest.MonkeyPatch().setattr("bench.report.get_context", scripts.forking_or)
    sys.argv = [name, *arguments_of(name)]
    importlib.import_module(f"bench.{name}").main()
    return 0


def arguments_of(name: str) -> list[str]:
    return ["--runs", "1", "--json", *SMALL[name]]


@pytest.mark.parametrize("name", SMALL)
def test_the_last_line_has_the_ratios(name, tmp_path):
    outputs = [tmp_path / "stdout", tmp_path / "stderr"]
    process = scripts.fork(outputs, run_bench, name)
    process.join()
    stdout, stderr = (output.read_text() for output in outputs)
    assert process.exitcode == 0, stderr
    check_ratios(name, stdout)


def test_a_benchmark_is_a_module_that_runs():
    command = [sys.executable, "-m", "bench.index", *arguments_of("index")]
    completed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert completed.returncode == 0, completed.stderr
    check_ratios("index", completed.stdout)


def check_ratios(name: str, stdout: str) -> None:
    last = json.loads(stdout.splitlines()[-1])
    assert last["bench"] == name
    min_ratios = importlib.import_module(f"bench.{name}").MIN_RATIOS
    assert set(last["ratios"]) == set(min_ratios)
    assert all(value > 0 for value in last["ratios"].values())
    assert all(f"{key} " in stdout for key in min_ratios)


@pytest.mark.parametrize(
    ("name", "module", "package"),
    [
        ("ranking", "duckdb", "duckdb"),
        ("columns", "duckdb", "duckdb"),
        ("openimages", "polars", "polars"),
    ],
)
def test_a_missing_baseline_package_is_named_in_one_line(name, module, package):
    code = f"import sys; sys.modules['{module}'] = None; import runpy; sys.argv = ['x']; "
    code += f"runpy.run_module('bench.{name}', run_name='__main__')"
    completed = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert completed.returncode == 1
    assert completed.stderr.startswith(f"error: this benchmark needs {package}; run ")
    assert f"pip install {package}==" in completed.stderr
    assert completed.stderr.count("\n") == 1
