"""The words in the pictures of a catalog, read in shards that an interrupted run keeps

    words.arrow   text: the words of each image, null for none; reason: why it could not be read

Identical images (equal MD5) are read once. A shard is some distinct images, which one process
reads; a killed run reads its unfinished shards again.
"""

import logging
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tqdm import tqdm

from lib.config.inputs.ocr import Ocr
from lib.data.catalog import Catalog, write_table
from lib.data.image_reader import ImageReader, ThumbnailReader
from lib.errors import UserError
from lib.models.text.ocr import Engine, check_engine, load_engine
from lib.pipeline.reading import read_table
from lib.runtime.workers import is_out_of_memory, process_pool
from lib.utils.chunks import chunks
from lib.utils.files import atomic_write
from lib.utils.kept import Results, keeping

logger = logging.getLogger(__name__)

TABLE, SHARDS = "words.arrow", "shards"
SCHEMA = pa.schema([("text", pa.large_string()), ("reason", pa.large_string())])
SHARD_SIZE = 256  # images; a process reads them in less than a minute
MAX_REASONS, MAX_REASON = 20, 200  # that are counted apart; characters of one
BETWEEN_IMAGES = pa.scalar("\n", pa.large_string())

OpenCatalog = Callable[[], Catalog]
Shard = tuple[np.ndarray, Path]  # images int64 [n], and the file of their words

_kept: Results = {}  # the engine of a worker process


def write_words(
    folder: Path, open_catalog: OpenCatalog, settings: Ocr, processes: int, max_fraction: float
) -> dict[str, Any]:
    """Read all images of a catalog and write `words.arrow`, whose rows are its images.

    open_catalog: also called in the processes. An image that cannot be read has no words; it is
    counted, and the reason stands in the table. Returns counts. Raises UserError for what
    `check_engine` raises, and if more than `max_fraction` of the images cannot be read.
    """
    check_engine(settings)
    catalog = open_catalog()
    if not (folder / TABLE).exists():  # else killed while the shards were deleted
        images, distinct_of_image = _distinct(catalog.md5)
        shards = _shards(folder, images)
        _read_shards(shards, catalog, open_catalog, settings, processes)
        tables = [read_table(path, *SCHEMA.names) for _, path in shards]
        table = pa.concat_tables([SCHEMA.empty_table(), *tables]).take(distinct_of_image)
        with atomic_write(folder / TABLE) as temporary:
            write_table(temporary, {name: table[name].combine_chunks() for name in SCHEMA.names})
    shutil.rmtree(folder / SHARDS, ignore_errors=True)
    return _facts(catalog, read_table(folder / TABLE, *SCHEMA.names), max_fraction)


def words_of_products(folder: Path, catalog: Catalog) -> pa.ChunkedArray:
    """The words in the pictures of each product, in their order: large_string [P], null for none.

    folder: of `write_words`. catalog: the same, whose images are its rows.
    """
    text = read_table(folder / TABLE, "text")["text"].combine_chunks()
    has_words = text.is_valid().to_numpy(zero_copy_only=False)
    if len(has_words) != len(catalog.image_product):
        raise UserError(
            f"{folder}: it has {len(has_words):,} images, and the catalog"
            f" {len(catalog.image_product):,}; pass --rebuild to build it again"
        )
    counts = np.bincount(catalog.image_product[has_words], minlength=len(catalog.product_id))
    offsets = np.append(0, np.cumsum(counts))
    lists = pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), text.drop_null())
    joined = pc.binary_join(lists, BETWEEN_IMAGES)
    none = pa.scalar(None, pa.large_string())
    return pa.chunked_array([pc.if_else(pa.array(counts > 0), joined, none)])


def _distinct(md5: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first of each set of identical images, int64 [d] ascending, and which of them has the
    bytes of each image, int64 [I]. md5: uint64 [I, 2]."""
    if len(md5) == 0:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    _, first, inverse = np.unique(md5, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return first[order], rank[inverse.reshape(-1)]


def _shards(folder: Path, images: np.ndarray) -> list[Shard]:
    """The shards of distinct images int64 [d]; those whose file is there are done."""
    (folder / SHARDS).mkdir(exist_ok=True)
    return [
        (images[rows], folder / SHARDS / f"{number:08d}.arrow")
        for number, rows in enumerate(chunks(len(images), SHARD_SIZE))
    ]


def _read_shards(
    shards: list[Shard],
    catalog: Catalog,
    open_catalog: OpenCatalog,
    settings: Ocr,
    processes: int,
) -> None:
    """Write the shards that are missing, and show how many images are done."""
    missing = [shard for shard in shards if not shard[1].exists()]
    total, left = (sum(len(rows) for rows, _ in some) for some in (shards, missing))
    title, start = f"words of {catalog.path.name}", time.monotonic()
    with tqdm(total=total, initial=total - left, unit=" images", desc=title, disable=None) as bar:
        for count in _write_shards(missing, open_catalog, settings, processes):
            bar.update(count)
    rate = left / max(time.monotonic() - start, 1e-3)
    logger.info(
        "%s: read the words of %s distinct images, %.1f images/s", catalog.path, f"{left:,}", rate
    )


def _write_shards(
    shards: list[Shard], open_catalog: OpenCatalog, settings: Ocr, processes: int
) -> Iterator[int]:
    """Write each shard; yield its number of images when it is done."""
    count = min(processes, len(shards))
    if count <= 1:
        for shard in shards:
            yield _write_shard(shard, open_catalog, settings)
        return
    with process_pool(count) as pool:
        tasks = [pool.submit(_work, shard, open_catalog, settings) for shard in shards]
        try:
            for task in as_completed(tasks):
                yield task.result()
        except BrokenProcessPool as error:
            raise UserError(
                "a process that reads words was killed, perhaps for lack of memory; lower"
                " run.workers, then rerun the same command to resume"
            ) from error
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _work(shard: Shard, open_catalog: OpenCatalog, settings: Ocr) -> int:
    """`_write_shard` in a worker process, which keeps its engine and its catalog."""
    with keeping(_kept):
        return _write_shard(shard, open_catalog, settings)


def _write_shard(shard: Shard, open_catalog: OpenCatalog, settings: Ocr) -> int:
    """Read the images of a shard and write its file; returns their number."""
    rows, path = shard
    engine = load_engine(settings)
    with ThumbnailReader(open_catalog(), settings.max_side) as reader:
        words = [_read_image(reader, engine, row) for row in rows.tolist()]
    columns = zip(*words, strict=True)
    arrays = {f.name: pa.array(v, f.type) for f, v in zip(SCHEMA, columns, strict=True)}
    with atomic_write(path) as temporary:
        write_table(temporary, arrays)
    return len(rows)


def _read_image(reader: ImageReader, engine: Engine, row: int) -> tuple[str | None, str | None]:
    """The words of an image, or why it cannot be read; two None where it has no words."""
    image = reader.decode(row)
    if reader.corrupt[row]:
        return None, reader.undecodable_reason(row) or "readable only now; the file has changed"
    try:
        return engine.read(image), None
    except Exception as error:  # of any library of the engine; one image is passed over
        if is_out_of_memory(error):
            raise
        *_, last = str(error).strip().splitlines() or [""]
        return None, f"{type(error).__name__}: {last[:MAX_REASON]}"


def _facts(catalog: Catalog, table: pa.Table, max_fraction: float) -> dict[str, Any]:
    """Counts of images; warns of those that cannot be read, and raises UserError of too many."""
    num_images, num_unread = len(table), len(table) - table["reason"].null_count
    reasons = Counter[str]()
    for reason in table["reason"].drop_null().to_pylist():
        reasons[reason if len(reasons) < MAX_REASONS or reason in reasons else "others"] += 1
    if num_unread:
        most = "; ".join(f"{count:,} x {reason}" for reason, count in reasons.most_common(3))
        found = f"{catalog.path}: words of {num_unread:,} of {num_images:,} images cannot be read"
        if num_unread > max_fraction * num_images:
            raise UserError(
                f"{found} ({most}); so many are one fault; mend the files, or raise"
                " data.max_missing_fraction"
            )
        logger.warning("%s, and count as none (%s)", found, most)
    with_words = num_images - table["text"].null_count
    return {
        "images": num_images,
        "with_words": with_words,
        "unread": num_unread,
        "reasons": reasons,
    }
