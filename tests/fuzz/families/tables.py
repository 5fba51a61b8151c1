"""CSV tables: products of a shop, their texts, categories, and names of categories."""

import gzip
import random
from collections.abc import Callable
from pathlib import Path

from lib.config.data import Data
from lib.data import catalog
from lib.data.sources.class_names import name_cautions
from lib.data.sources.csv_table import list_csv
from lib.data.sources.text_table import TableFormat
from lib.data.texts.join import join_texts, read_texts
from tests.conftest import jpeg
from tests.data.source_index import index_source
from tests.data.texts.test_join import catalog as products
from tests.fuzz.family import Family, clear, write

DATA = Data(id_column="id", label_column="category", images_column="images")
ROWS = [("1", "Men/Tops", "a.jpg"), ("2", "Men/Tops", "a.jpg|b.jpg"), ("x-3", "Women", "b.jpg")]


def product_seeds(folder: Path) -> list[bytes]:
    """Tables of several separators and encodings, one with several rows a product."""
    seeds = []
    for separator, encoding in (
        (",", "utf-8"),
        (";", "cp1252"),
        ("\t", "utf-16"),
        (",", "utf-8-sig"),
    ):
        header = separator.join(("id", "category", "images", "title"))
        lines = [separator.join((*row, '"Kleid, weiß"')) for row in ROWS]
        seeds.append("\r\n".join([header, *lines, ""]).encode(encoding))
    shopify = "id,category,images\n1,A,a.jpg\n1,,b.jpg\n2,B,../inside/images/a.jpg\n3,A,/x/b.jpg\n"
    return [*seeds, shopify.encode(), b"sep=;\nid;category;images\n1;A;a.jpg\n2;B;b.jpg,a.jpg\n"]


def text_seeds(folder: Path) -> list[bytes]:
    """Tables of titles, plain and packed."""
    table = '_id,title,brand\r\n1,"Kleid, weiß",\r\n2,红色,Acme\r\n9,of no product,x\r\n'
    packed = gzip.compress(table.encode(), mtime=0)
    return [table.encode(), table.encode("utf-16"), packed]


def category_seeds(folder: Path) -> list[bytes]:
    """Tables of categories as Cdiscount's."""
    header = "category_id,category_level1,category_level2,category_level3"
    rows = [f'{n},TOP,MIDDLE {n % 2},"LEAF, {n}"' for n in (1000000001, 5, -7)]
    plain = "\n".join([header, *rows])
    return [plain.encode(), plain.replace(",", ";").encode("utf-16"), plain.encode("utf-8-sig")]


def prepare(inside: Path) -> None:
    """Two images, and a file outside of their folder that no name may reach."""
    (inside / "images").mkdir()
    for number, name in enumerate(("a.jpg", "b.jpg")):
        write(inside / "images" / name, jpeg(number, 8, 8))
    outside = inside.parent / "outside"
    outside.mkdir(exist_ok=True)
    write(outside / "secret", jpeg(3, 8, 8))


def read_products(data: bytes, inside: Path) -> str | None:
    """List the products of a table and index their images."""
    source = write(inside / "products.csv", data)
    labelled = len(data) % 3 > 0
    root = inside / "images"
    listing = list_csv(source, labelled, root, DATA)
    if not labelled:
        listing.hash_images(0, len(listing.files))
        return "passed over" if listing.corrupt else None
    facts, _, _ = index_source(clear(inside / "index"), source, root, listing, 1.0, 1.0)
    return "passed over" if facts["bad_records"] else None


def read_product_texts(data: bytes, inside: Path) -> str | None:
    """Join the titles of a table to three products."""
    name = "texts.csv.gz" if data[:2] == b"\x1f\x8b" else "texts.csv"
    source, folder, columns = (
        write(inside / name, data),
        clear(inside / "texts"),
        ("title", "brand"),
    )
    facts = join_texts(folder, products(1, 2, 3), [source], columns, "id", TableFormat(), 1.0)
    texts = read_texts(folder, columns)
    if len(texts) != 3 or texts.column_names != list(columns):
        raise AssertionError("other rows or columns than the catalog has")
    return "passed over" if len(facts["cautions"]) > 1 else None


def read_categories(data: bytes, inside: Path) -> None:
    """Number the categories of a table."""
    source, folder = write(inside / "category_names.csv", data), clear(inside / "categories")
    catalog.build_categories(folder, source, TableFormat())
    catalog.read_categories(folder).levels()


def name_seeds(folder: Path) -> list[bytes]:
    """Names of categories, one a line."""
    return [b"Men/Tops/Tees\nmen/tops/tees\nNaN\nWomen\n", "ß\nSS\nÉ\nE\u0301\n".encode()]


def read_names(data: bytes, inside: Path) -> None:
    """Number the categories that products name, as folders or columns do."""
    labels = data.decode("utf-8", "replace").split("\n")
    name_cautions(labels)
    folder = clear(inside / "categories")
    catalog.build_named_categories(folder, inside, labels)
    categories = catalog.read_categories(folder)
    categories.levels()
    if sorted(set(labels) - {""}) != categories.keys:
        raise AssertionError("other names were read than were written")


def quote_badly(rng: random.Random, data: bytes) -> bytes:
    """Quotes that open, close or double where they should not."""
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.choice([b'"', b'""', b'","', b'"\n', b'\n"', b"\r"]) + data[at:]


def name_outside(rng: random.Random, data: bytes) -> bytes:
    """Image names that lead elsewhere."""
    names = [b"../outside/secret", b"/etc/hostname", b"images/../../outside/secret", b"./a.jpg"]
    names += [b"..", b"/", b"a.jpg/..", b"../images/a.jpg", b"a.jpg\0", b"%2e%2e/outside/secret"]
    return data.replace(rng.choice([b"a.jpg", b"b.jpg"]), rng.choice(names), rng.choice([1, -1]))


def _family(name: str, seeds: Callable, read: Callable, own: tuple, weight: float) -> Family:
    tokens = (
        b"id",
        b"images",
        b"category_id",
        b"|",
        b";",
        b"\t",
        b"sep=;\n",
        b"\xef\xbb\xbf",
        b"\xff\xfe",
    )
    return Family(f"tables-{name}", seeds, read, prepare, own=own, tokens=tokens, weight=weight)


FAMILIES = [
    _family("products", product_seeds, read_products, (quote_badly, name_outside), 0.6),
    _family("texts", text_seeds, read_product_texts, (quote_badly,), 0.6),
    _family("categories", category_seeds, read_categories, (quote_badly,), 6),
    _family("names", name_seeds, read_names, (), 6),
]
