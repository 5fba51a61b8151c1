"""BSON catalogs: scanned, indexed, their texts read and their images decoded."""

import random
from pathlib import Path

import bson

from lib.data import catalog
from lib.data.sources.bson_file import index_bson
from lib.data.texts.documents import document_texts
from tests.conftest import jpeg, product
from tests.fuzz.family import Family, clear, write
from tests.fuzz.indexed import all_images_decode

TEXTS = ["s", "f", "n", "r"]
CATEGORIES = [10, 20, 1 << 40]


def make_seeds(folder: Path) -> list[bytes]:
    """Small catalogs: plain, with other keys and types, with empty and odd images."""
    plain = [product(n, [jpeg(n, 8, 8)], CATEGORIES[n % 3]) for n in range(4)]
    many = [product(n + 7, [jpeg(n, 4, 4)] * n, 10) for n in range(5)]
    rich = [
        {
            "category_id": 10,
            "imgs": [{"picture": b"x"}, {"other": 1}],
            "_id": 1,
            "f": 1.5,
            "s": "ß",
        },
        {"_id": 2**40, "imgs": [], "n": None, "d": {"a": [1, {"b": True}]}, "category_id": 2**40},
        {"_id": -3, "r": bson.Regex("a", "i"), "c": bson.Code("x", {}), "category_id": 20},
    ]
    return [b"".join(map(bson.encode, records)) for records in (plain, many, rich, plain[:1])]


def prepare(inside: Path) -> None:
    """The categories of the seeds."""
    lines = ["category_id,category_level1,category_level2,category_level3"]
    lines += [f"{number},A,B,C{number}" for number in CATEGORIES]
    (inside / "categories").mkdir()
    write(inside / "names.csv", "\n".join(lines).encode())
    catalog.build_categories(inside / "categories", inside / "names.csv")


def read(data: bytes, inside: Path) -> str | None:
    """Index the file as stage 01 does, and read its texts and images."""
    source, folder = write(inside / "train.bson", data), clear(inside / "index")
    categories = catalog.read_categories(inside / "categories")
    facts = index_bson(folder, source, categories, len(data) % 2 == 0, 1.0, 1)
    indexed = catalog.read_catalog(folder, source)
    texts = document_texts(source, TEXTS)
    assert len(list(texts.read(TEXTS, corrupt := []))) + len(corrupt) >= len(indexed.product_id)
    passed_over = not all_images_decode(indexed)
    return "passed over" if passed_over or facts["bad_records"] else None


def repeat_elements(rng: random.Random, data: bytes) -> bytes:
    """Long runs of short elements, at which every position looks like a record."""
    piece = rng.choice(
        [b"\x0a\0", b"\x0a\0\0\0", b"\x10a\0\1\0\0\0", b"\5\0\0\0\0", b"\0\0\1\0\x0a"]
    )
    at = rng.randrange(len(data) + 1)
    return data[:at] + piece * rng.choice([10, 1000, 100_000]) + data[at:]


FAMILIES = [
    Family(
        "bson",
        make_seeds,
        read,
        prepare,
        own=(repeat_elements,),
        tokens=(b"\x10_id\0", b"\x04imgs\0", b"\x05picture\0", b"\x12category_id\0", b"\x0a\0"),
        weight=0.6,
    )
]
