"""Which workers there are: addresses that do not answer, GPUs, workers of this machine."""

import pytest

from lib.config.schema import Run
from lib.errors import UserError
from lib.pipeline.artifact import Artifact
from lib.pipeline.cluster.connect import GPU, connect, uses_gpu, workers_of
from lib.pipeline.executor import ensure_all
from tests.pipeline.cluster import builds

distributed = pytest.importorskip("distributed", reason="requirements-cluster.txt")


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense://127.0.0.1:1"])
def test_an_address_that_does_not_answer_is_one_line(tmp_path, address):
    artifact = Artifact(tmp_path / "work" / "a", builds.write_process)
    with pytest.raises(UserError, match=f"run.cluster: no Dask scheduler answers at {address}"):
        ensure_all("stage", [artifact], Run(cluster=address), False, on_cluster=True)
    assert list(tmp_path.iterdir()) == []


def test_workers_of_this_machine_live_as_long_as_a_stage(tmp_path):
    artifacts = [Artifact(tmp_path / name, builds.write_process) for name in "ab"]
    run = Run(device="cpu", cluster="local:2")
    assert ensure_all("stage", artifacts, run, False, on_cluster=True) == 2
    workers = {(a.path / "process").read_text().split()[1] for a in artifacts}
    assert len(workers) == 2


def test_only_who_may_use_the_cluster_does(tmp_path):
    artifact = Artifact(tmp_path / "a", builds.write_process)
    run = Run(cluster="tcp://127.0.0.1:1")
    assert ensure_all("stage", [artifact], run, False) == 1


def test_torchrun_excludes_a_cluster(tmp_path, by_torchrun):
    artifact = Artifact(tmp_path / "a", builds.write_process)
    with pytest.raises(UserError, match=r"torchrun and run\.cluster exclude each other"):
        ensure_all("stage", [artifact], Run(cluster="local:1"), False, on_cluster=True)


@pytest.mark.parametrize("resources", [{}, GPU])
def test_a_run_uses_gpus_if_a_worker_says_that_it_has_one(resources):
    cluster = distributed.LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        processes=False,
        dashboard_address="127.0.0.1:0",
        resources=resources,
    )
    with cluster, connect(cluster.scheduler_address) as client:
        assert len(workers_of(client, {}) or ()) == 1
        assert len(workers_of(client, GPU) or ()) == len(resources)
        assert uses_gpu(Run(), client) == bool(resources)
        assert not uses_gpu(Run(device="cpu"), client)
        if resources:
            assert uses_gpu(Run(device="cuda"), client)
        else:
            with pytest.raises(UserError, match=r"no worker of run\.cluster has a GPU"):
                uses_gpu(Run(device="cuda"), client)
