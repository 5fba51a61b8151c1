"""Stage 01: category table and index of the original files (C1)."""

import csv
import hashlib
import json
import sys
from array import array
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from lib.catalogue.bson_scan import Damage, Record, scan
from lib.catalogue.tables import Classes, write_table
from lib.errors import UserError

LEVELS = ["category_level1", "category_level2", "category_level3"]
MOST_REPORTED = 1000  # damaged records listed in damage.json; all are counted


def build_classes(folder: Path, source: Path) -> dict[str, Any]:
    """Write `classes.arrow` from `category_names.csv` (category_id and three names)."""
    rows: dict[int, list[str]] = {}
    with source.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        missing = [c for c in ["category_id", *LEVELS] if c not in (reader.fieldnames or [])]
        if missing:
            raise UserError(f"{source}: line 1: no column {missing[0]}; the header of Cdiscount's")
        for row in reader:
            try:
                category = int(row["category_id"])
            except (TypeError, ValueError):
                raise UserError(
                    f"{source}: line {reader.line_num}: category_id {row['category_id']!r}"
                    " is not a whole number"
                ) from None
            if category in rows:
                raise UserError(f"{source}: line {reader.line_num}: {category} stands twice")
            rows[category] = [row[level] or "" for level in LEVELS]
    if not rows:
        raise UserError(f"{source}: no categories")
    if len(rows) > np.iinfo(np.int16).max:
        raise UserError(f"{source}: {len(rows)} categories; at most 32,767 are supported")
    order = sorted(rows)
    columns: dict[str, Any] = {
        "class": np.arange(len(order), dtype=np.int16),
        "category_id": np.array(order, np.int64),
    }
    for i in range(3):
        columns[f"level{i + 1}"] = pa.array([rows[c][i] for c in order], pa.string())
    write_table(folder / "classes.arrow", columns)
    return {"classes": len(order)}


def build_index(
    folder: Path, source: Path, classes: Classes, labelled: bool, most_damaged: float
) -> dict[str, Any]:
    """Write `images.arrow`, `products.arrow` and `damage.json` of one BSON file.

    A record without an id, with an unknown category, or seen before is passed over; a picture of
    no bytes is left out of its product; a product without pictures stays. All are counted, and a
    share of passed-over records above `most_damaged` raises UserError.
    """
    if source.stat().st_size == 0:
        raise UserError(f"{source}: the file is empty; fetch it again")
    rows = _Rows({int(c): i for i, c in enumerate(classes.category_id)}, labelled)
    with tqdm(
        total=source.stat().st_size, unit="B", unit_scale=True, desc=source.name, disable=None
    ) as bar:
        for record in scan(source):
            rows.add(record)
            bar.update(record.offset - bar.n)
        bar.update(source.stat().st_size - bar.n)
    passed_over = len(rows.damage)
    for reason, count in rows.counts.items():
        print(f"warning: {source}: {count} x {reason}", file=sys.stderr)
    if passed_over > most_damaged * (len(rows.ids) + passed_over):
        first = rows.damage[0]
        raise UserError(
            f"{source}: {passed_over} of {len(rows.ids) + passed_over} records cannot be used,"
            f" the first at byte {first.offset}: {first.reason};"
            " mend the file or raise data.max_damaged"
        )
    rows.write(folder)
    report = {
        "counts": rows.counts,
        "records": [{"offset": d.offset, "reason": d.reason} for d in rows.damage[:MOST_REPORTED]],
    }
    (folder / "damage.json").write_text(json.dumps(report, indent=1))
    return {
        "products": len(rows.ids),
        "images": len(rows.lengths),
        "distinct_images": rows.distinct(),
        "passed_over": passed_over,
    }


class _Rows:
    """Grows the columns of the two tables, compactly: about 45 bytes a picture."""

    def __init__(self, class_of: dict[int, int], labelled: bool) -> None:
        self.class_of = class_of
        self.labelled = labelled
        self.seen: set[int] = set()
        self.damage: list[Damage] = []
        self.counts: Counter[str] = Counter()
        self.ids, self.labels = array("q"), array("h")
        self.first, self.image_counts = array("q"), array("h")
        self.products, self.positions = array("i"), array("h")
        self.offsets, self.lengths = array("q"), array("i")
        self.md5 = bytearray()

    def add(self, record: Record | Damage) -> None:
        if isinstance(record, Record):
            reason = self._unusable(record)
            if reason is None:
                self._append(record)
                return
            record = Damage(record.offset, reason)
        self.damage.append(record)
        # A reason with a number in it is one reason with many places.
        self.counts[record.reason.rstrip("0123456789 -")] += 1

    def _unusable(self, record: Record) -> str | None:
        if record.product_id in self.seen:
            return f"duplicate _id {record.product_id}"
        if self.labelled and record.category_id is None:
            return "no category_id"
        if self.labelled and record.category_id not in self.class_of:
            return f"unknown category_id {record.category_id}"
        return None

    def _append(self, record: Record) -> None:
        self.seen.add(record.product_id)
        row, position = len(self.ids), 0
        self.ids.append(record.product_id)
        known = self.labelled and record.category_id is not None
        self.labels.append(self.class_of[record.category_id] if known else -1)  # type: ignore[index]
        self.first.append(len(self.lengths))
        for offset, picture in record.pictures:
            if not picture:
                self.counts["picture of no bytes"] += 1
                continue
            self.products.append(row)
            self.positions.append(position)
            self.offsets.append(offset)
            self.lengths.append(len(picture))
            self.md5 += hashlib.md5(picture, usedforsecurity=False).digest()
            position += 1
        self.image_counts.append(position)
        if not position:
            self.counts["product without pictures"] += 1

    def distinct(self) -> int:
        return len(np.unique(np.frombuffer(bytes(self.md5), "V16")))

    def write(self, folder: Path) -> None:
        md5 = pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(16), len(self.lengths), [None, pa.py_buffer(bytes(self.md5))]
        )
        write_table(
            folder / "images.arrow",
            {
                "product": np.frombuffer(self.products, np.int32),
                "position": np.frombuffer(self.positions, np.int16),
                "offset": np.frombuffer(self.offsets, np.int64),
                "length": np.frombuffer(self.lengths, np.int32),
                "md5": md5,
            },
        )
        write_table(
            folder / "products.arrow",
            {
                "product_id": np.frombuffer(self.ids, np.int64),
                "class": np.frombuffer(self.labels, np.int16),
                "first_image": np.frombuffer(self.first, np.int64),
                "image_count": np.frombuffer(self.image_counts, np.int16),
            },
        )
