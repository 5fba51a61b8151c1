"""What a file is by its first bytes, so that a message can name it instead of a damage."""

import re
from pathlib import Path
from typing import BinaryIO

from lib.errors import UserError

HEAD_BYTES = 512
MIN_BSON = 5  # bytes of an empty document
GZIP, TAR, PARQUET, ARROW = "a gzip archive", "a tar archive", "a Parquet file", "an Arrow file"
TABLE = 'set data.source = "parquet", or convert it'
UNPACK, FETCH = "unpack it first", "download the file itself"
CONVERT = "convert it first"
# The first bytes of each kind: what it is, and what to do.
KINDS: tuple[tuple[bytes, str, str], ...] = (
    (rb"\x1f\x8b\x08", GZIP, UNPACK),
    (rb"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK),
    (rb"PK\x03\x04.{26}(\[Content_Types\]|_rels/|xl/)", "an Excel workbook", "save it as CSV"),
    (rb"PK\x03\x04.{26}mimetypeapplication/vnd\.oasis", "a spreadsheet (ODS)", "save it as CSV"),
    (rb"PK\x03\x04", "a zip archive", UNPACK),
    (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Excel workbook (xls)", "save it as CSV"),
    (rb"\xfd7zXZ\x00", "an xz archive", UNPACK),
    (rb"BZh[1-9]1AY&SY", "a bzip2 archive", UNPACK),
    (rb"\x28\xb5\x2f\xfd", "a zstd archive", UNPACK),
    (rb"Rar!\x1a\x07", "a rar archive", UNPACK),
    (
        rb".{257}ustar(\x00|  \x00)",
        TAR,
        'set data.source = "webdataset" for shards, else unpack it',
    ),
    (rb"version https://git-lfs\.github\.com/", "a pointer of git-lfs", "run `git lfs pull`"),
    (rb"(\xef\xbb\xbf)?\s*<(!doctype html|html|head)", "an HTML page", FETCH),
    (rb"(\xef\xbb\xbf)?\s*<\?xml", "an XML document", FETCH),
    (rb"%PDF-", "a PDF", CONVERT),
    (rb"PAR1[\x00-\x1f]", PARQUET, TABLE),
    (rb"ARROW1\x00\x00", ARROW, TABLE),
    (rb"SQLite format 3\x00", "an SQLite database", CONVERT),
    (rb"\x89HDF\r\n\x1a\n", "an HDF5 file", CONVERT),
    (rb"\x93NUMPY", "a numpy array", 'set data.source = "npy"'),
    (rb".{4}ftyp(heic|heix|hevc|mif1|msf1)", "a HEIC picture", CONVERT),
    (rb".{4}ftypavif", "an AVIF picture", "name the folder of the pictures instead"),
    (rb"\xff\xd8\xff", "a JPEG picture", "name the folder of the pictures instead"),
    (rb"\x89PNG\r\n\x1a\n", "a PNG picture", "name the folder of the pictures instead"),
)
PATTERNS = [(re.compile(head, re.DOTALL | re.I), name, what) for head, name, what in KINDS]
BSON = re.compile(rb".{4}[\x01-\x13][^\x00]{1,100}\x00", re.DOTALL)  # a length, a type, a key


def other_kind(path: Path, wanted: str = "") -> str:
    """What a file is and what to do, as in "a gzip archive; unpack it first"; "" if unknown.

    wanted: the kind, as in "a gzip archive", that is welcome here.
    """
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
        if _is_bson(file, head):  # its first three bytes may be those of a gzip archive
            return ""
    for pattern, name, remedy in PATTERNS:
        if pattern.match(head):
            return "" if name == wanted else f"{name}; {remedy}"
    return ""


def _is_bson(file: BinaryIO, head: bytes) -> bool:
    """Whether a document of BSON starts the file: its length, a type, a key, and a zero at its end.

    The time in the head of a gzip archive may look like a type and a key, but not like the rest.
    """
    length = int.from_bytes(head[:4], "little")
    if length < MIN_BSON or not BSON.match(head):
        return False
    file.seek(length - 1)
    return file.read(1) == b"\x00"


def check_kind(path: Path, expected: str, wanted: str = "") -> None:
    """Raise UserError if a file is of another kind than expected, as far as its head shows.

    expected: in words, such as "a CSV table".
    """
    kind = other_kind(path, wanted)
    if kind:
        raise UserError(f"{path}: not {expected} but {kind}")
