"""Embeddings of the texts of every product, for fusion models

    features.npy  float16 [P, width]: of product p; zeros for a product without any text

Written in chunks of products; an interrupted call resumes after the last chunk.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from lib.errors import UserError
from lib.inference.embeddings import PROGRESS, open_rows, to_float16
from lib.models.text.encoder import Encode, join_columns
from lib.pipeline.reading import reading
from lib.utils.chunks import chunks
from lib.utils.files import atomic_write

CHUNK = 16_384  # products; what a stop loses at most


def write_text_embeddings(folder: Path, encode: Encode, texts: pa.Table) -> dict[str, Any]:
    """Embed the texts of P products: string columns, null where missing.

    Returns {"products", "without_text", "width"}. Raises UserError for values that are not finite.
    """
    num_products = len(texts)
    width = encode(["text"]).shape[1]
    progress = folder / PROGRESS
    with reading(progress):
        done = int(progress.read_text()) if progress.exists() else 0
    features = open_rows(folder / "features.npy", (num_products, width), done)
    without_text = 0
    with tqdm(
        total=num_products, initial=done, unit=" products", desc="text embeddings", disable=None
    ) as bar:
        for rows in chunks(num_products, CHUNK):
            joined = join_columns(texts.slice(rows.start, rows.stop - rows.start))
            present = np.flatnonzero([bool(text.strip()) for text in joined])
            without_text += len(joined) - len(present)
            if rows.start < done:
                continue
            values = np.zeros((len(joined), width), np.float32)
            if len(present):
                values[present] = encode([joined[row] for row in present])
            if not np.isfinite(values).all():
                raise UserError("embeddings of texts are not finite; take other weights")
            features[rows] = to_float16(values)
            features.flush()
            with atomic_write(progress) as temporary:
                temporary.write_text(str(rows.stop))
            bar.update(len(joined))
    progress.unlink(missing_ok=True)
    return {"products": num_products, "without_text": without_text, "width": width}
