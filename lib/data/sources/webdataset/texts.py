"""Texts of the samples of WebDataset tars: members such as txt, or keys of the member json."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from lib.data.records import CorruptRecord
from lib.data.sources.webdataset.samples import iter_values, read_shard
from lib.data.sources.webdataset.tar_file import TarScan, map_tar
from lib.data.texts.tables import TextTable
from lib.errors import UserError


def sample_texts(
    source: Path, paths: Sequence[Path], id_column: str, columns: Sequence[str]
) -> TextTable:
    """The texts of all samples. source: named in messages; paths: the tars.

    Its header is those of `columns` that a sample has. Damage of the tars is in the report of the
    index. Raises UserError for a compressed tar.
    """
    corrupt: list[CorruptRecord] = []
    rows: list[tuple[str, list[str | None]]] = []
    for path in paths:
        with map_tar(path) as mapped:
            shard = read_shard(mapped, TarScan())
            values = iter_values(shard, mapped, [id_column, *columns])
            for start, row in zip(shard.start.tolist(), values, strict=True):
                if isinstance(row, str):
                    corrupt.append(CorruptRecord(start, 0, f"{path.name}: {row}"))
                else:
                    rows.append((row[0] or "", row[1:]))
    places = {column: place for place, column in enumerate(columns)}
    header = [c for c, place in places.items() if any(row[place] is not None for _, row in rows)]

    def read(
        chosen: Sequence[str], unreadable: list[CorruptRecord]
    ) -> Iterator[tuple[str, list[str]]]:
        unreadable += corrupt
        for key, row in rows:
            yield key, [row[places[column]] or "" for column in chosen]

    def missing(column: str) -> UserError:
        return UserError(
            f"{source}: no sample has a text {column}, a member .{column} or a key of its .json;"
            " set data.text_columns to one"
        )

    return TextTable(source, "byte", header, read, missing)
