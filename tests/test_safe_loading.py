"""Nothing that the software reads can run code: lib unpickles and evaluates nothing."""

import ast
import io
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from lib.errors import UserError
from lib.models.weights import read_state_dict
from lib.pipeline.reading import load_array, map_array
from lib.training import checkpoint
from tests.conftest import ROOT

SOURCES = [*sorted((ROOT / "lib").rglob("*.py")), *sorted(ROOT.glob("0*.py"))]
# Two modules name errors and constants of pickle; the next test sees that they load nothing.
SPEAKS_OF_PICKLE = {"lib/utils/compiled.py", "lib/models/workarounds.py"}
PICKLERS = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "yaml"}
RUNNERS = {"eval", "exec", "os.system", "os.popen", "pd.read_pickle", "torch.hub.load"}


def nodes(kind: type[ast.AST]) -> Iterator[tuple[str, ast.AST]]:
    for path in SOURCES:
        name = path.relative_to(ROOT).as_posix()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, kind):
                yield name, node


def keywords(call: ast.Call) -> dict[str, str]:
    return {keyword.arg or "**": ast.unparse(keyword.value) for keyword in call.keywords}


def test_no_module_imports_a_pickler():
    imported = {
        (name, alias.name.partition(".")[0])
        for name, node in nodes(ast.Import)
        for alias in node.names
    } | {(name, (node.module or "").partition(".")[0]) for name, node in nodes(ast.ImportFrom)}
    found = {(name, module) for name, module in imported if module in PICKLERS}
    assert found == {(name, "pickle") for name in SPEAKS_OF_PICKLE}


def test_no_call_loads_pickles():
    wrong = []
    for name, node in nodes(ast.Call):
        called, given = ast.unparse(node.func), keywords(node)
        if called == "torch.load" and given.get("weights_only") != "True":
            wrong.append(f"{name}:{node.lineno} {called}")
        if called.startswith("pickle.") and called.rpartition(".")[2] in (
            "load",
            "loads",
            "Unpickler",
        ):
            wrong.append(f"{name}:{node.lineno} {called}")
        if given.get("allow_pickle", "False") != "False" or called.endswith("read_pickle"):
            wrong.append(f"{name}:{node.lineno} {called}")
        if called.endswith("load_state_dict_from_url") and given.get("weights_only") != "True":
            wrong.append(f"{name}:{node.lineno} {called}")
    assert not wrong


def test_no_call_runs_text():
    calls = {(name, ast.unparse(node.func)) for name, node in nodes(ast.Call)}
    assert not {(name, called) for name, called in calls if called in RUNNERS}
    assert {n for n, node in nodes(ast.keyword) if node.arg == "shell"} == set()
    processes = {n for n, called in calls if called.startswith("subprocess.")}
    # Of this package's own scripts and modules.
    assert processes == {"lib/runtime/scripts.py", "lib/pipeline/cluster/dask_worker.py"}


class Payload:
    """Whoever unpickles it fails the test."""

    def __reduce__(self):
        return pytest.fail, ("code of a file was run",)


def object_array() -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([Payload()], dtype=object), allow_pickle=True)
    return file.getvalue()


def torch_file(**options) -> bytes:
    file = io.BytesIO()
    torch.save({"network": "a", "classes": 2, "model": {"a": Payload()}}, file, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        pickle.dumps(Payload()),
        object_array(),
        torch_file(),
        torch_file(_use_new_zipfile_serialization=False),
    ],
    ids=["pickle", "numpy", "torch", "old torch"],
)
def test_a_file_of_code_is_refused_by_every_reader(data, tmp_path):
    path = Path(tmp_path / "last.pt")
    path.write_bytes(data)
    for read in (load_array, map_array, checkpoint.read, checkpoint._require, read_state_dict):
        with pytest.raises(UserError):
            read(path)
