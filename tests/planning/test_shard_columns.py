"""What `--data` finds in shards and tables."""

import json
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lib.errors import UserError
from lib.planning.catalog import lines, look
from tests.conftest import jpeg
from tests.data.sources.webdataset.test_tar_file import write_tar
from tests.planning.test_catalog import facts_of, request_of


def write_shards(folder: Path, side: str, labelled: bool) -> None:
    for shard in (0, 1):
        members = []
        for n in range(6):
            document = {"title": f"Tee {n}", **({"category": f"C{n % 2}"} if labelled else {})}
            members.append((f"{side}{shard}{n}.jpg", jpeg(n), tarfile.REGTYPE))
            text = json.dumps(document).encode()
            members.append((f"{side}{shard}{n}.json", text, tarfile.REGTYPE))
        (folder / f"{side}-{shard}.tar").write_bytes(write_tar(members))


def test_tars_have_their_labels_in_cls_or_in_the_json(tmp_path):
    write_shards(tmp_path, "train", True)
    write_shards(tmp_path, "test", False)
    request = request_of(tmp_path, tmp_path / "train-{0..1}.tar", tmp_path / "test-*.tar")
    data = look(request)
    assert (data.source, data.train, data.label_column) == (
        "webdataset",
        "train-{0..1}.tar",
        "category",
    )
    assert (data.id_column, data.text_columns) == ("", ("title",))
    facts = facts_of(request)
    assert (facts.products, facts.classes, facts.ids) == ({"train": 12, "test": 12}, 2, False)
    assert "catalog: WebDataset tars: labels 'category'" in lines(data, facts)
    with pytest.raises(UserError, match="which of jpg, title has the labels"):
        look(request_of(tmp_path, tmp_path / "test-0.tar"))


def test_parquet_has_a_column_of_images_and_a_class_label(tmp_path):
    feature = {"_type": "ClassLabel", "names": ["a", "b"]}
    images = [{"bytes": jpeg(n), "path": None} for n in range(8)]
    columns = {"img": images, "coarse": [0] * 8, "fine": [n % 2 for n in range(8)]}
    table = pa.table(columns | {"brand": ["x"] * 8})
    metadata = {"huggingface": json.dumps({"info": {"features": {"fine": feature}}})}
    pq.write_table(table.replace_schema_metadata(metadata), tmp_path / "a.parquet")
    data = look(request_of(tmp_path, tmp_path / "a.parquet"))
    assert (data.images_column, data.label_column, data.id_column) == ("img", "fine", "")
    assert data.text_columns == ("brand",)
    pq.write_table(table, tmp_path / "b.parquet")
    with pytest.raises(UserError, match="which of img, coarse, fine, brand has the labels"):
        look(request_of(tmp_path, tmp_path / "b.parquet"))
    chosen = look(
        request_of(tmp_path, tmp_path / "b.parquet", None, None, "data.label_column=fine")
    )
    assert chosen.label_column == "fine"
