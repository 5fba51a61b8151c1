"""What a worker finds wrong with itself."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

distributed = pytest.importorskip("distributed", reason="requirements-cluster.txt")


@pytest.fixture(scope="module")
def workers() -> Iterator[list[Any]]:
    """A worker for one task at a time, and one for two."""
    options = {"n_workers": 1, "processes": False, "dashboard_address": "127.0.0.1:0"}
    with (
        distributed.LocalCluster(threads_per_worker=1, **options) as one,
        distributed.LocalCluster(threads_per_worker=2, **options) as two,
    ):
        yield [one.workers[0], two.workers[0]]


@pytest.fixture
def site(tmp_path) -> dict[str, Any]:
    """What a script sees, as workers of the same machine see it too."""
    from lib.pipeline.cluster.dask_worker import DASK, PROJECT, PYTHON, code_digest, versions

    (tmp_path / "token").write_text(tmp_path.name)
    return {
        "root": str(ROOT),
        "folder": os.getcwd(),
        "token": str(tmp_path / "token"),
        "text": tmp_path.name,
        "code": code_digest(PROJECT),
        "versions": versions([PYTHON, *DASK]),
    }


def test_a_worker_that_sees_the_same_can_build(site, workers):
    from lib.pipeline.cluster.dask_worker import see

    assert see(site, workers[0]) == ""
    assert [path.name for path in Path(site["token"]).parent.iterdir()] == ["token"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"token": "/no/such/token"}, "/no/such/token: No such file or directory; it needs"),
        ({"folder": "/no/such/folder"}, "/no/such/folder: No such file or directory; it needs"),
        ({"text": "other"}, "is another file there"),
        ({"code": "other"}, "holds another version of lib"),
        ({"versions": {"Python": "2.7", "dask": "none"}}, "it has Python 3."),
    ],
)
def test_a_worker_says_what_is_other_there(site, workers, changes, words):
    from lib.pipeline.cluster.dask_worker import see

    assert words in see({**site, **changes}, workers[0])


def test_a_worker_of_several_threads_is_refused(site, workers):
    from lib.pipeline.cluster.dask_worker import see

    assert "it does 2 tasks at a time; start it with --nthreads 1" in see(site, workers[1])


def test_the_digest_of_the_code_is_that_of_its_names_and_bytes(tmp_path):
    from lib.pipeline.cluster.dask_worker import code_digest

    (tmp_path / "lib").mkdir()
    found = set()
    for name, text in (("a.py", "x"), ("a.py", "y"), ("b.py", "y")):
        for path in (tmp_path / "lib").iterdir():
            path.unlink()
        (tmp_path / "lib" / name).write_text(text)
        found.add(code_digest(tmp_path))
    assert len(found) == 3
