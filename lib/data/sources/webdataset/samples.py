"""Samples of WebDataset tars: the members that share a key, and the values of their columns.

A key is a name up to the first dot after its folder, the suffix is what follows, as in the package
`webdataset`. There only members that follow each other are one sample; here all of a tar are.
"""

import json
import mmap
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lib.data.records import CorruptRecord
from lib.data.sources.webdataset.tar_file import TarScan, forget_pages, iter_members

META = re.compile(r"__[^/]*__($|/)")  # names that are no samples
JSON = "json"
SAMPLES_LOOKED_AT = 100
SAMPLES_BETWEEN = 1 << 15  # calls of `forget_pages`
MAX_TEXT_BYTES = 16 << 20  # of a member that is read as text


@dataclass
class Shard:
    """The samples [S] and members [M] of one tar.

    keys: [S], in the order of their first members; start: int64 [S], bytes of these.
    sample: int64 [M], suffix: int64 [M] (index into `suffixes`), offset and length: int64 [M].
    suffixes: in lower case.
    """

    keys: list[str]
    start: np.ndarray
    sample: np.ndarray
    suffix: np.ndarray
    offset: np.ndarray
    length: np.ndarray
    suffixes: list[str]

    def member_of_sample(self, suffix: str) -> np.ndarray:
        """int64 [S]: the member with this suffix; -1 for none."""
        member = np.full(len(self.keys), -1)
        if suffix in self.suffixes:
            rows = np.flatnonzero(self.suffix == self.suffixes.index(suffix))
            member[self.sample[rows]] = rows
        return member


def read_shard(mapped: mmap.mmap | bytes, scan: TarScan) -> Shard:
    """The samples of a tar; `scan` gets what cannot be used.

    Names without a suffix, hidden ones and those such as __meta__ are no members of samples. A
    second member of one name is reported.
    """
    keys: dict[str, int] = {}
    suffixes: dict[str, int] = {}
    blocks = [np.empty((5, 0), np.int64)]
    for members in iter_members(mapped, scan):
        samples, codes = [], []
        for name in members.names:
            key, suffix = split_name(name)
            samples.append(keys.setdefault(key, len(keys)) if key else -1)
            codes.append(suffixes.setdefault(suffix, len(suffixes)) if key else -1)
        block = np.array([samples, codes, members.start, members.offset, members.length], np.int64)
        blocks.append(block[:, block[0] >= 0])
    table = np.concatenate(blocks, axis=1)
    first = np.unique(table[0], return_index=True)[1]
    starts = table[2, first]
    sample, suffix_code, _, offset, length = _without_repeats(table, len(suffixes), scan)
    return Shard(list(keys), starts, sample, suffix_code, offset, length, list(suffixes))


def _without_repeats(table: np.ndarray, num_suffixes: int, scan: TarScan) -> np.ndarray:
    """The columns of `table` (int64 [5, M]) but those of a second member of one name."""
    name = table[0] * num_suffixes + table[1]
    order = np.argsort(name, kind="stable")
    repeated = np.sort(order[1:][name[order[1:]] == name[order[:-1]]])
    for start in table[2, repeated].tolist():
        scan.corrupt.append(CorruptRecord(start, 0, "a second member of one name"))
    return np.delete(table, repeated, axis=1)


def split_name(name: str) -> tuple[str, str]:
    """Key and suffix (in lower case) of a member; "" and "" if it belongs to no sample."""
    folder, slash, base = name.rpartition("/")
    stem, _, suffix = base.partition(".")
    if not stem or not suffix or (name.startswith("__") and META.match(name)):
        return "", ""
    return f"{folder}{slash}{stem}", suffix.lower()


def iter_values(
    shard: Shard, mapped: mmap.mmap | bytes, columns: Sequence[str]
) -> Iterator[list[str | None] | str]:
    """Yield, for each sample, the text of each column, or in one line why it cannot be read.

    A column is a member with this suffix, such as cls or txt, else a key of the member json. None:
    the sample has neither; "": the value is empty or null. "" as a column is the key of the sample.
    """
    places = [shard.member_of_sample(column.lower()).tolist() for column in columns]
    documents = shard.member_of_sample(JSON).tolist()
    offsets, lengths = shard.offset.tolist(), shard.length.tolist()
    for sample, key in enumerate(shard.keys):
        if sample % SAMPLES_BETWEEN == 0:
            forget_pages(mapped)
        try:
            values: list[str | None] = []
            document: dict[str, Any] | None = None
            for column, place in zip(columns, places, strict=True):
                member = place[sample]
                if not column:
                    values.append(key)
                elif member >= 0 and column != JSON:
                    values.append(_text(mapped, offsets[member], lengths[member]))
                elif (member := documents[sample]) >= 0:
                    if document is None:
                        document = _document(_text(mapped, offsets[member], lengths[member]))
                    values.append(_value(document, column))
                else:
                    values.append(None)
            yield values
        except ValueError as error:
            yield str(error)


def column_names(shard: Shard, mapped: mmap.mmap | bytes) -> list[str]:
    """Suffixes of the members, and keys of the member json of the first samples."""
    names = dict.fromkeys(suffix for suffix in shard.suffixes if suffix != JSON)
    documents = shard.member_of_sample(JSON)
    for member in documents[documents >= 0][:SAMPLES_LOOKED_AT].tolist():
        try:
            text = _text(mapped, int(shard.offset[member]), int(shard.length[member]))
            names |= dict.fromkeys(_document(text))
        except ValueError:  # the index reports it
            continue
    return list(names)


def _text(mapped: mmap.mmap | bytes, offset: int, length: int) -> str:
    if length > MAX_TEXT_BYTES:
        raise ValueError(f"a text of more than {MAX_TEXT_BYTES:,} bytes")
    try:
        return mapped[offset : offset + length].decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise ValueError("a text that is not UTF-8") from None


def _document(text: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("a .json that is not JSON") from None
    if not isinstance(document, dict):
        raise ValueError("a .json that is no table of keys and values")
    return document


def _value(document: dict[str, Any], key: str) -> str | None:
    if key not in document:
        return None
    value = document[key]
    if isinstance(value, list | dict):
        raise ValueError(f"{key} of a .json is a list or a table")
    try:
        text = "" if value is None else str(value).strip()
        text.encode()
    except ValueError:  # half a surrogate pair, or a number of thousands of digits
        raise ValueError(f"{key} of a .json is no text") from None
    return text
