"""Stage 01 of tables and of shards: from a config to the index, its changes, and new products."""

import json
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lib.config.load import from_tree
from lib.data.byte_reader import ByteReader
from lib.errors import UserError
from lib.pipeline.artifact import status
from lib.pipeline.executor import ensure_all
from lib.pipeline.experiment import Experiment
from lib.pipeline.fingerprint import fingerprint
from lib.pipeline.graph import Graph
from lib.pipeline.predict_target import predict_target
from lib.stages import extract
from lib.stages.read import index_of_side
from lib.stages.texts.tables import texts_of_side
from tests.conftest import jpeg
from tests.data.sources.webdataset.test_tar_file import write_tar

INDEX = ("extract/unpacked", "extract/categories", "extract/train", "extract/test", "extract/texts")
SIDES = {"train": range(8), "test": range(20, 24)}


def write_tars(folder: Path, side: str, numbers: range) -> None:
    """Two shards of samples with images, classes and titles."""
    for shard in (0, 1):
        members = []
        for n in numbers[shard::2]:
            title = json.dumps({"title": f"Tee {n}"}).encode()
            for suffix, content in (
                ("jpg", jpeg(n, 8, 8)),
                ("cls", b"%d" % (n % 3)),
                ("json", title),
            ):
                members.append((f"p{n}.{suffix}", content, tarfile.REGTYPE))
        (folder / f"{side}-{shard}.tar").write_bytes(write_tar(members))


def write_tables(folder: Path, side: str, numbers: range) -> None:
    """Two tables of the same products."""
    for shard in (0, 1):
        rows = numbers[shard::2]
        images = [{"bytes": jpeg(n, 8, 8), "path": None} for n in rows]
        columns = {"image": images, "label": [n % 3 for n in rows]}
        columns["title"] = [f"Tee {n}" for n in rows]
        pq.write_table(pa.table(columns), folder / f"{side}-{shard}.parquet")


KINDS = {"webdataset": (write_tars, "tar"), "parquet": (write_tables, "parquet")}


def experiment_of(folder: Path, kind: str) -> Experiment:
    suffix = KINDS[kind][1]
    data = {
        "source": kind,
        "root": str(folder),
        "train": f"train-{{0..1}}.{suffix}",
        "test": f"test-*.{suffix}",
        "text_columns": ["title"],
    }
    tree = {"name": "x", "work": str(folder / "work"), "data": data}
    tree["models"] = {"words": {"input": "text", "n_folds": 4}}
    return Experiment(from_tree(tree, [], "test"))


def artifacts(experiment: Experiment):
    """The artifacts of the index, as declared anew."""
    fingerprint.cache_clear()
    graph = Graph(experiment)
    extract.declare(graph)
    return [a for name, a in graph.artifacts.items() if name.startswith(INDEX)]


def index(experiment: Experiment) -> None:
    ensure_all("test", artifacts(experiment), experiment.config.run, rebuild=True)


def images(experiment: Experiment, side: str) -> list[bytes]:
    catalog = index_of_side(experiment, side)
    reader = ByteReader(catalog)
    try:
        return list(reader.read_many(np.arange(len(catalog.length))))
    finally:
        reader.close()


@pytest.mark.parametrize("kind", KINDS)
def test_patterns_of_files_are_indexed_and_their_changes_noticed(tmp_path, kind):
    write, suffix = KINDS[kind]
    for side, numbers in SIDES.items():
        write(tmp_path, side, numbers)
    experiment = experiment_of(tmp_path, kind)
    index(experiment)
    for side, numbers in SIDES.items():
        order = [*numbers[::2], *numbers[1::2]]
        assert images(experiment, side) == [jpeg(n, 8, 8) for n in order]
        texts = texts_of_side(experiment, experiment.config.models["words"].text, side)
        assert texts["title"].to_pylist() == [f"Tee {n}" for n in order]
    catalog = index_of_side(experiment, "train")
    assert catalog.label.tolist() == [n % 3 for n in (0, 2, 4, 6, 1, 3, 5, 7)]
    assert all(status(artifact).fresh for artifact in artifacts(experiment))

    (tmp_path / "new").mkdir()
    write(tmp_path / "new", "new", range(40, 43))
    for path in ("new", "new/*", f"new/new-{{0,1}}.{suffix}"):
        target = predict_target(str(tmp_path / path))
        assert (target.source, target.is_small) == (kind, True)
    other = replace(experiment, target=target)
    ensure_all("test", [a for a in artifacts(other) if not a.frozen], other.config.run, False)
    assert images(other, "test") == [jpeg(n, 8, 8) for n in (40, 42, 41)]

    # Of another kind than train, by the columns that are usual there.
    write_other, suffix_other = KINDS["parquet" if kind == "webdataset" else "webdataset"]
    write_other(tmp_path / "new", "other", range(50, 52))
    other = replace(experiment, target=predict_target(f"{tmp_path}/new/other-*.{suffix_other}"))
    ensure_all("test", [a for a in artifacts(other) if not a.frozen], other.config.run, False)
    assert images(other, "test") == [jpeg(n, 8, 8) for n in (50, 51)]

    write(tmp_path, "train", range(1, 9))
    stale = {a.path.name for a in artifacts(experiment) if not status(a).fresh}
    assert {"categories", "train"} <= stale
    (tmp_path / f"train-1.{suffix}").unlink()
    with pytest.raises(UserError, match=rf"train-1\.{suffix}: no such file; train-"):
        [status(artifact) for artifact in artifacts(experiment)]
