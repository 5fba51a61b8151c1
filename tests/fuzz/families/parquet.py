"""Parquet and Arrow tables with images: unpacked, listed, indexed, and their images decoded."""

import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq

from lib.config.load import from_tree
from lib.data.sources.parquet.listing import list_rows
from lib.data.sources.parquet.texts import table_texts
from lib.data.sources.parquet.unpack import unpack_images
from tests.conftest import jpeg
from tests.data.source_index import index_source
from tests.fuzz.family import Family, clear, write
from tests.fuzz.indexed import all_images_decode

DATA = from_tree({"name": "x", "data": {"source": "parquet"}}, [], "fuzz").data


def _table(lists: bool = False, number: int = 0) -> pa.Table:
    """Five rows as the package `datasets` writes them, with names of classes in the metadata."""
    struct = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    images = [{"bytes": jpeg(n + number, 8, 8), "path": f"{n}.jpg"} for n in range(4)]
    column = (
        pa.array([images[:2], [], None, images[2:], images[:1]], pa.list_(struct))
        if lists
        else pa.array([*images, None], struct)
    )
    feature = {"_type": "ClassLabel", "names": ["cat", "dog", "é"]}
    metadata = {"huggingface": json.dumps({"info": {"features": {"label": feature}}})}
    columns = {"image": column, "label": [0, 1, 2, None, 1], "title": ["a", None, "b", "c", "é"]}
    return pa.table(columns).replace_schema_metadata(metadata)


def parquet_seeds(folder: Path) -> list[bytes]:
    """Tables of structs and of lists of them, by several codecs."""
    seeds = []
    for lists, codec in ((False, "snappy"), (True, "none"), (False, "zstd")):
        sink = io.BytesIO()
        pq.write_table(_table(lists), sink, row_group_size=3, compression=codec)
        seeds.append(sink.getvalue())
    return seeds


def arrow_seeds(folder: Path) -> list[bytes]:
    """The same as files and as a stream."""
    seeds = []
    for lists, codec in ((False, "uncompressed"), (True, "lz4")):
        sink = io.BytesIO()
        feather.write_feather(_table(lists), sink, compression=codec, chunksize=3)
        seeds.append(sink.getvalue())
    stream = io.BytesIO()
    with pa.ipc.new_stream(stream, _table().schema) as writer:
        writer.write_table(_table(), 3)
    return [*seeds, stream.getvalue()]


def read(data: bytes, inside: Path) -> str | None:
    """Index a table beside a valid one, and read its images and texts."""
    folder, unpacked = clear(inside / "tables"), clear(inside / "unpacked")
    pq.write_table(_table(number=9), folder / "a.parquet")
    write(folder / "b.parquet", data)
    paths = [folder / "a.parquet", folder / "b.parquet"]
    unpack_images(paths, "image", unpacked)
    listing = list_rows(folder, paths, unpacked, True, folder, DATA)
    facts, indexed, _ = index_source(clear(inside / "index"), folder, unpacked, listing, 1.0)
    table = table_texts(folder, paths, "")
    list(table.read([column for column in ("title",) if column in table.header], []))
    passed_over = not all_images_decode(indexed)
    return "passed over" if passed_over or facts["bad_records"] > 2 else None


TOKENS = (b"PAR1", b"ARROW1\0\0", b"\xff\xff\xff\xff", b"huggingface", b"ClassLabel", b"image")
FAMILIES = [
    Family("parquet-parquet", parquet_seeds, read, tokens=TOKENS, weight=0.5),
    Family("parquet-arrow", arrow_seeds, read, tokens=TOKENS, weight=0.5),
]
