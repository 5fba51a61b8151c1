"""Artifacts that real Dask workers build: the same bytes, and what becomes of those that fail."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from lib.config.schema import Run
from lib.errors import UserError
from lib.pipeline.artifact import Artifact, ensure, status
from lib.pipeline.cluster.client import RETRIES
from lib.pipeline.executor import ensure_all
from tests.conftest import ROOT
from tests.pipeline.cluster import builds
from tests.scripts import run_all

distributed = pytest.importorskip("distributed", reason="requirements-cluster.txt")

TINY = """
name = "tiny"
[data]
source = "sample"
[sample]
train_products = 60
test_products = 10
num_classes = 3
image_size = 32
[split]
locked = 0.2
n_folds = 2
[train]
arch = "small"
weights = "none"
resize = [32, 32]
crop = [28, 28]
head_only_epochs = 0
epochs = 1
n_folds = 2
[models.a]
[predict]
embed_models = ["a"]
[features]
id_windows = [5, 50]
[stack]
sources = ["mean"]
l2 = ["lightgbm", "xgboost"]
l3 = []
n_estimators = 4
[run]
threads = 1
report = false
"""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A scheduler with two workers, each a process that is started again when it is killed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("GLIBC_TUNABLES", raising=False)  # other tests of this process set it
        cluster = distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            dashboard_address=None,
            memory_limit=0,
            silence_logs=60,
        )
    with cluster:
        yield cluster.scheduler_address


@pytest.fixture
def run(address) -> Run:
    return Run(device="cpu", threads=4, cluster=address)


@pytest.fixture
def tries(tmp_path) -> Path:
    (tmp_path / "tries").mkdir()
    return tmp_path / "tries"


def build(artifacts: list[Artifact], run: Run, **options: bool) -> int:
    return ensure_all("stage", artifacts, run, rebuild=False, on_cluster=True, **options)


def digests(folder: Path) -> dict[str, tuple[str, int]]:
    manifests = {p.parent: json.loads(p.read_text()) for p in folder.rglob("_manifest.json")}
    return {
        str(path.relative_to(folder)): (manifest["digest"], manifest["threads"])
        for path, manifest in manifests.items()
    }


def test_a_run_has_the_bytes_and_the_threads_of_one_without_a_cluster(tmp_path, address):
    """Stages 02 and 05, which have most tasks: for each, workers import all libraries again."""
    (tmp_path / "tiny.toml").write_text(TINY)

    def run_stages(name: str, *stages: str, cluster: str = "") -> str:
        options = [f"--set=work={tmp_path / name}", f"--set=run.cluster={cluster}"]
        result = run_all("--config", str(tmp_path / "tiny.toml"), *options, stages=stages)
        assert result.returncode == 0, result.stderr
        return result.stderr

    run_stages("alone", "extract")
    shutil.copytree(tmp_path / "alone", tmp_path / "cluster")
    run_stages("alone", "train", "predict", "features", "stack")
    assert "2 workers: 2 tasks run" in run_stages("cluster", "train", cluster=address)
    run_stages("cluster", "predict", "features")
    run_stages("cluster", "stack", cluster=address)
    expected = digests(tmp_path / "alone")
    assert digests(tmp_path / "cluster") == expected
    assert len(expected) > 20
    assert not list(tmp_path.rglob(".cluster*"))


@pytest.mark.usefixtures("fresh_workers")
@pytest.mark.parametrize("parallel", [True, False])
def test_a_task_has_the_threads_that_it_has_on_one_machine(
    tmp_path, run, monkeypatch, caplog, parallel
):
    caplog.set_level("INFO", "lib")
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "4")  # as a script sets it
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    folders = tmp_path / "here", tmp_path / "there"
    for folder in folders:
        artifacts = [Artifact(folder / name, partial(builds.write_threads, run)) for name in "ab"]
        on_cluster = folder.name == "there"
        ensure_all("stage", artifacts, run, False, parallel, on_cluster=on_cluster)
    texts = {(folder / name / "threads").read_text() for folder in folders for name in "ab"}
    assert len(texts) == 1
    assert texts.pop().startswith("2 2 4 4 glibc" if parallel else "4 4 4 4 None")
    # A worker's lines are logged here: a pool writes to its stderr, the plain build here too.
    count = caplog.messages.count("from the worker")
    assert count == (2 if parallel else 4)


def test_artifacts_are_built_by_processes_of_the_workers_after_their_inputs(tmp_path, run):
    first = [Artifact(tmp_path / f"first{i}", builds.write_process) for i in range(4)]
    inputs: dict[str, Artifact | Path] = {str(i): artifact for i, artifact in enumerate(first)}
    second = Artifact(tmp_path / "second", builds.write_process, inputs=inputs)
    assert build([*first, second], run) == 5
    processes = [(a.path / "process").read_text().split() for a in first]
    assert len({worker for _, worker in processes}) == 2  # neither has two while one has none
    assert str(os.getpid()) not in {number for pair in processes for number in pair}
    assert build([*first, second], run) == 0


@pytest.mark.parametrize(
    ("function", "kind", "words"),
    [
        (builds.fail, UserError, "this one cannot be built"),
        (builds.fail_to_write, OSError, "bad.partial/folder"),
        (builds.have_a_bug, RuntimeError, r"bad: Traceback(.|\n)*KeyError: 'no such key'"),
    ],
)
def test_an_error_of_a_worker_is_raised_here(tmp_path, run, function, kind, words):
    artifacts = [
        Artifact(tmp_path / "bad", function),
        Artifact(tmp_path / "good", builds.write_process),
    ]
    with pytest.raises(kind, match=words):
        build(artifacts, run)
    assert status(artifacts[0]).state == "unfinished"
    assert status(artifacts[1]).fresh  # it ran beside the other


def test_the_artifact_of_a_worker_that_is_killed_goes_on_in_another(tmp_path, run, tries):
    artifact = Artifact(
        tmp_path / "killed", partial(builds.kill_worker_once, tries), resumable=True
    )
    others = [Artifact(tmp_path / name, builds.write_process) for name in "ab"]
    assert build([artifact, *others], run) == 3
    assert (artifact.path / "tries").read_text() == "0\n1\n"
    assert all(status(other).fresh for other in others)


def test_an_artifact_that_kills_its_process_again_and_again_is_one_line(tmp_path, run, tries):
    artifact = Artifact(tmp_path / "killed", partial(builds.kill_this_process, tries))
    with pytest.raises(UserError, match=r"killed 4 times.*start fewer workers on a machine"):
        build([artifact], run)
    assert len(list(tries.iterdir())) == RETRIES + 1


def test_a_stale_artifact_stops_a_stage_before_any_build(tmp_path, run):
    ensure(Artifact(tmp_path / "stale", builds.write_process, config={"v": 1}), rebuild=False)
    stale = Artifact(tmp_path / "stale", builds.write_process, config={"v": 2})
    missing = Artifact(tmp_path / "missing", builds.write_process)
    with pytest.raises(UserError, match="v 1 -> 2"):
        build([missing, stale], run)
    assert status(missing).state == "missing"


def test_a_worker_without_the_folder_is_found_before_anything_is_built(tmp_path, run):
    folder = os.open(tmp_path, os.O_RDONLY)
    number = fcntl.fcntl(folder, fcntl.F_DUPFD, 900)  # a way to the folder that only we have
    artifact = Artifact(Path(f"/proc/self/fd/{number}/folder/a"), builds.write_process)
    with pytest.raises(UserError, match=r"worker tcp://.*No such file.*it needs the same folders"):
        build([artifact], run)
    assert list(tmp_path.iterdir()) == [tmp_path / "folder"]
    assert list((tmp_path / "folder").iterdir()) == []
    os.close(number)
    os.close(folder)


SCRIPT = """
import sys
from functools import partial
from pathlib import Path
from lib.config.schema import Run
from lib.pipeline.artifact import Artifact
from lib.pipeline.executor import ensure_all
from lib.runtime import signals
from tests.pipeline.cluster import builds

signals.raise_when_terminated()
folder, run = Path(sys.argv[1]), Run(device="cpu", cluster=sys.argv[2])
artifact = Artifact(folder / "long", partial(builds.sleep, folder / "started"))
ensure_all("stage", [artifact], run, False, on_cluster=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_when_the_script_ends_its_task_ends_too(tmp_path, address, number):
    environ = os.environ | {"PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"}
    command = [sys.executable, "-c", SCRIPT, str(tmp_path), address]
    script = subprocess.Popen(command, cwd=ROOT, env=environ, stderr=subprocess.DEVNULL)
    started = tmp_path / "started"
    while not started.exists() or not started.read_text():
        time.sleep(0.1)
    script.send_signal(number)
    script.wait()
    builder = Path("/proc", started.read_text())
    for _ in range(300):
        if not builder.exists():
            break
        time.sleep(0.1)
    assert not builder.exists()
    again = Artifact(tmp_path / "long", builds.write_process)
    assert build([again], Run(device="cpu", cluster=address)) == 1
