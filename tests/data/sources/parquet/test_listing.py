"""Catalogs of Parquet tables: images unpacked, rows listed and indexed."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lib.config.load import from_tree
from lib.data.byte_reader import ByteReader
from lib.data.sources.parquet.listing import list_rows
from lib.data.sources.parquet.texts import table_texts
from lib.data.sources.parquet.unpack import read_unpacked, unpack_images
from lib.errors import UserError
from tests.conftest import jpeg
from tests.data.source_index import index_source

DATA = from_tree({"name": "x", "data": {"source": "parquet"}}, [], "test").data
IMAGE = pa.struct({"bytes": pa.binary(), "path": pa.string()})


def image(number: int) -> dict:
    return {"bytes": jpeg(number, 8, 8), "path": f"{number}.jpg"}


def write(path: Path, columns: dict, names: tuple[str, ...] = ()) -> Path:
    """A table as the package `datasets` writes it, with a ClassLabel if there are names."""
    feature = {"names": list(names), "_type": "ClassLabel"}
    metadata = {"huggingface": json.dumps({"info": {"features": {"label": feature}}})}
    table = pa.table(columns).replace_schema_metadata(metadata if names else None)
    pq.write_table(table, path, row_group_size=2)
    return path


def index(folder: Path, paths: list[Path], data=DATA, max_bad: float = 0.0):
    """Unpack and index tables as stage 01 does; the facts, the catalog and the names of classes."""
    unpacked = folder / "unpacked"
    unpacked.mkdir(exist_ok=True)
    unpack_images(paths, data.images_column, unpacked)
    listing = list_rows(folder, paths, unpacked, True, folder, data)
    root = unpacked if read_unpacked(unpacked) else folder
    facts, catalog, categories = index_source(folder / "i", folder, root, listing, max_bad)
    return facts, catalog, categories.keys


def test_images_in_a_table_are_unpacked_and_indexed(tmp_path):
    first = {"image": pa.array([image(0), image(1), None], IMAGE), "label": [1, 0, 1]}
    second = {"image": pa.array([image(3)], IMAGE), "label": [0]}
    paths = [
        write(tmp_path / "a.parquet", first, ("cat", "dog")),
        write(tmp_path / "b.parquet", second, ("dog", "cat")),  # names count, not numbers
    ]
    facts, catalog, names = index(tmp_path, paths)
    assert facts == {"products": 4, "images": 3, "distinct_images": 3, "bad_records": 0}
    keys = [catalog.key(row) for row in range(4)]
    assert keys == ["a.parquet:1", "a.parquet:2", "a.parquet:3", "b.parquet:1"]
    assert not catalog.id_is_number().any()
    assert [names[label] for label in catalog.label] == ["dog", "cat", "dog", "dog"]
    assert catalog.image_count.tolist() == [1, 1, 0, 1]
    reader = ByteReader(catalog)
    assert list(reader.read_many(np.arange(3))) == [jpeg(n, 8, 8) for n in (0, 1, 3)]
    reader.close()


def test_ids_groups_parts_and_lists_of_images_are_columns(tmp_path):
    columns = {
        "sku": [7, 8, 8, 9],
        "image": pa.array([[image(0), image(1)], [image(2)], [image(3)], []], pa.list_(IMAGE)),
        "kind": ["A/B", "C", None, "C"],
        "style": ["s", "t", "t", None],
        "part": ["train"] * 4,
        "title": ["Tee", None, "Bag", "Hat"],
    }
    path = write(tmp_path / "a.parquet", columns)
    data = replace(DATA, id_column="sku", label_column="kind", group_by="style")
    data = replace(data, split_column="part")
    facts, catalog, names = index(tmp_path, [path], data)
    assert facts["products"] == 3
    assert catalog.product_id.tolist() == [7, 8, 9]
    assert catalog.image_count.tolist() == [2, 2, 0]  # rows of one id are one product
    assert [names[label] for label in catalog.label] == ["A/B", "C", "C"]
    assert len(set(catalog.group.tolist())) == 3
    assert catalog.split.to_pylist() == ["train"] * 3
    read = table_texts(path, [path], "sku").read
    assert list(read(["title"], [])) == [
        ("7", ["Tee"]),
        ("8", [""]),
        ("8", ["Bag"]),
        ("9", ["Hat"]),
    ]


def test_names_of_files_are_read_as_of_a_csv(tmp_path):
    for number in range(3):
        (tmp_path / f"{number}.jpg").write_bytes(jpeg(number, 8, 8))
    columns = {"image": [["0.jpg", "1.jpg"], ["2.jpg"], ["no.jpg"]], "label": ["a", "b", "a"]}
    facts, catalog, _ = index(tmp_path, [write(tmp_path / "a.parquet", columns)])
    assert (facts["products"], facts["images"]) == (3, 3)
    assert catalog.image_count.tolist() == [2, 1, 0]
    assert catalog.files.names.to_pylist() == ["0.jpg", "1.jpg", "2.jpg"]


def test_what_cannot_be_used_is_counted_and_listed(tmp_path):
    columns = {
        "id": [1, 2, None, 2, 3],
        "image": pa.array(
            [image(0), {"bytes": b"", "path": "p"}, image(2), image(3), image(4)], IMAGE
        ),
        "label": [0, 1, 0, 0, -1],
    }
    path = write(tmp_path / "a.parquet", columns, ("x", "y"))
    data = replace(DATA, id_column="id")
    facts, _, _ = index(tmp_path, [path], data, 1.0)
    assert facts == {"products": 2, "images": 1, "distinct_images": 1, "bad_records": 3}
    report = json.loads((tmp_path / "i" / "scan_report.json").read_text())
    assert report["counts"] == {
        "no id": 1,
        "no category_id": 1,
        "duplicate _id": 1,
        "image file missing or empty": 1,
        "product without images": 1,
    }
    with pytest.raises(
        UserError, match=r"3 of 5 records cannot be used, the first at row 3: no id"
    ):
        index(tmp_path, [path], data, 0.1)


def test_an_interrupted_unpacking_goes_on(tmp_path):
    paths = [
        write(tmp_path / f"{n}.parquet", {"image": pa.array([image(n), image(n + 5)], IMAGE)})
        for n in range(3)
    ]
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    assert unpack_images(paths, "image", tmp_path / "whole") == {"files": 3, "images": 6}
    for name in ("00000.images", "00000.counts", "00000.lengths"):
        (tmp_path / "parts" / name).write_bytes((tmp_path / "whole" / name).read_bytes())
    (tmp_path / "parts" / "00001.images").write_bytes(b"half")
    paths[0].unlink()  # is not read again, but for its columns
    write(paths[0], {"image": pa.array([], IMAGE)})
    assert unpack_images(paths, "image", tmp_path / "parts") == {"files": 3, "images": 6}
    for path in (tmp_path / "whole").iterdir():
        assert (tmp_path / "parts" / path.name).read_bytes() == path.read_bytes()


def test_files_with_images_and_files_with_names_do_not_mix(tmp_path):
    paths = [
        write(tmp_path / "a.parquet", {"image": pa.array([image(0)], IMAGE)}),
        write(tmp_path / "b.parquet", {"image": ["0.jpg"]}),
    ]
    with pytest.raises(
        UserError, match=r"b.parquet: column image is of type string, but a.parquet"
    ):
        unpack_images(paths, "image", tmp_path)


def test_tables_of_the_package_datasets_have_the_same_images_and_labels(tmp_path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"image": datasets.Image(decode=False), "label": datasets.ClassLabel(names=["b", "a"])}
    )
    rows = {"image": [image(n) for n in range(5)], "label": [0, 1, 1, 0, 1]}
    dataset = datasets.Dataset.from_dict(rows, features)
    dataset.to_parquet(str(tmp_path / "a.parquet"))
    dataset.save_to_disk(str(tmp_path / "saved"))
    arrow = next((tmp_path / "saved").glob("*.arrow"))
    for path in (tmp_path / "a.parquet", arrow):
        folder = tmp_path / path.stem
        folder.mkdir()
        facts, catalog, names = index(folder, [path])
        assert facts["images"] == 5
        assert [names[label] for label in catalog.label] == ["b", "a", "a", "b", "a"]
        reader = ByteReader(catalog)
        assert list(reader.read_many(np.arange(5))) == [row["image"]["bytes"] for row in dataset]
        reader.close()
