"""Shards of WebDataset: tars of all formats, listed, indexed, and their images decoded."""

import io
import json
import random
import tarfile
from pathlib import Path

from lib.config.load import from_tree
from lib.data.sources.webdataset.listing import list_samples
from lib.data.sources.webdataset.texts import sample_texts
from tests.conftest import jpeg
from tests.data.source_index import index_source
from tests.fuzz.family import Family, clear, write
from tests.fuzz.indexed import all_images_decode

DATA = from_tree({"name": "x", "data": {"source": "webdataset"}}, [], "fuzz").data
CHECKSUM = slice(148, 156)


def make_seeds(folder: Path) -> list[bytes]:
    """Three samples in each format of tar, with long names in two of them."""
    return [
        _tar(tarfile.GNU_FORMAT, "long/" * 30, 0),
        _tar(tarfile.PAX_FORMAT, "é/" * 60, 1.5),
        _tar(tarfile.USTAR_FORMAT, "", 0),
        _tar(tarfile.PAX_FORMAT, "", 1.5),
    ]


def _tar(form: int, folder: str, mtime: float) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=form) as tar:
        for number in range(3):
            document = json.dumps({"title": f"Tee {number}", "id": number}).encode()
            sample = {"jpg": jpeg(number, 8, 8), "cls": b"%d" % (number % 2), "json": document}
            for suffix, content in sample.items():
                info = tarfile.TarInfo(f"{folder}{number:04d}.{suffix}")
                info.size, info.mtime = len(content), mtime
                tar.addfile(info, io.BytesIO(content))
    return sink.getvalue()


def read(data: bytes, inside: Path) -> str | None:
    """Index a shard beside a valid one, and read its images and texts."""
    folder = clear(inside / "shards")
    write(folder / "a.tar", _tar(tarfile.GNU_FORMAT, "valid/", 0))
    write(folder / "b.tar", data)
    paths = [folder / "a.tar", folder / "b.tar"]
    listing = list_samples(folder, paths, folder, True, DATA)
    facts, indexed, _ = index_source(clear(inside / "index"), folder, folder, listing, 1.0)
    table = sample_texts(folder, paths, "", ["title"])
    list(table.read(["title"], []))
    passed_over = not all_images_decode(indexed)
    return "passed over" if passed_over or facts["bad_records"] else None


def change_header(rng: random.Random, data: bytes) -> bytes:
    """Change bytes of a header, and let its checksum be right."""
    changed = bytearray(data)
    starts = [at for at in range(0, len(data) - 511, 512) if data[at + 257 : at + 262] == b"ustar"]
    for at in rng.sample(starts, min(len(starts), rng.choice([1, 1, 2, 5]))):
        first = at + rng.choice([0, 100, 124, 124, 124, 156, 156, 156, 157, 257, 345, 482])
        piece = rng.choice([b"\x80" + b"\xff" * 11, b"\xff" * 12, b"77777777777\0", b"L", b"x"])
        piece = rng.choice(
            [piece, b"S", b"K", b"g", b"1", b"5", b"00000000000\0", rng.randbytes(3)]
        )
        changed[first : first + len(piece)] = piece
        changed[at + 148 : at + 156] = b" " * 8
        changed[at + 148 : at + 156] = b"%06o\0 " % sum(changed[at : at + 512])
    return bytes(changed)


def change_pax(rng: random.Random, data: bytes) -> bytes:
    """Other records of a pax header, of the same length or not."""
    words = [
        b"path=",
        b"size=",
        b"mtime=",
        b"GNU.sparse.major=1\n",
        b"9" * 30 + b" path=a\n",
        b"0 ",
    ]
    return data.replace(
        rng.choice([b"mtime=", b"path=", b"20 "]), rng.choice(words), rng.choice([1, 9])
    )


FAMILIES = [
    Family(
        "webdataset",
        make_seeds,
        read,
        own=(change_header, change_pax),
        tokens=(b"ustar\0" + b"00", b"ustar  \0", bytes(512), bytes(1024), b".jpg", b".json"),
        weight=0.6,
    )
]
