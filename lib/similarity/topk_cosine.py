"""The k largest cosines between two sets of embeddings, exactly, block by block."""

import numpy as np
import torch

from lib.utils.compiled import njit

ROWS, COLUMNS = 1024, 4096  # of a block of cosines: what a CPU's cache holds
GPU_ROWS, GPU_COLUMNS = 65_536, 16_384  # the host prepares the columns of each block anew
STRIDE = 64  # cosines that are compared at once: most hold none of the largest
CPU = torch.device("cpu")


def topk_cosine(
    query_embeddings: np.ndarray,
    query_rows: np.ndarray,
    reference_embeddings: np.ndarray,
    reference_rows: np.ndarray,
    k: int,
    device: torch.device = CPU,
    scale: np.ndarray | None = None,
    reference_units: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The k largest cosines of each query, falling: float32 [q, k], -inf beyond the last.

    Also their indices in `reference_rows`: int64 [q, k], -1 beyond the last. On a CPU ties go to
    the first.

    query_embeddings, reference_embeddings: float [n, d] each, of which `query_rows` and
    `reference_rows`, int64, count; scale: as in `unit_vectors`.
    reference_units: float32 [r, d], `unit_vectors` of the reference rows where they are at hand.
    """
    query = torch.from_numpy(unit_vectors(query_embeddings, query_rows, scale)).to(device)
    top = np.full((len(query_rows), k), -np.inf, np.float32)
    index = np.full((len(query_rows), k), -1, np.int64)
    on_cpu = device.type == "cpu"
    num_rows, num_columns = (ROWS, COLUMNS) if on_cpu else (GPU_ROWS, GPU_COLUMNS)
    for start in range(0, len(reference_rows), num_columns):
        rows = reference_rows[start : start + num_columns]
        if reference_units is None:
            units = unit_vectors(reference_embeddings, rows, scale)
        else:
            units = reference_units[start : start + num_columns]
        references = torch.from_numpy(units).to(device).T
        for first in range(0, len(query), num_rows):
            block = slice(first, first + num_rows)
            cosine = query[block] @ references
            if on_cpu:
                columns = np.arange(start, start + len(rows))[None]
                merge_topk(top[block], index[block], cosine.numpy(), columns, False)
            else:
                values, places = cosine.topk(min(k, len(rows)), 1)
                columns = start + places.cpu().numpy()
                merge_topk(top[block], index[block], values.cpu().numpy(), columns, True)
    return top, index


@njit(cache=True, nogil=True)
def merge_topk(
    top: np.ndarray, index: np.ndarray, values: np.ndarray, columns: np.ndarray, per_row: bool
) -> None:
    """Merge the values that are among the k largest into `top`, and their columns into `index`.

    top: float32 [q, k], falling; index: int64 [q, k]; values: float32 [q, c].
    columns: int64 [q, c] if `per_row`, else [1, c] for all rows.
    """
    k = top.shape[1]
    for row in range(len(top)):
        line, lowest = values[row], top[row, k - 1]
        for start in range(0, len(line), STRIDE):
            stride = line[start : start + STRIDE]
            num_above = np.uint32(0)  # a sum of comparisons, which vectorises
            for column in range(len(stride)):
                num_above += np.uint32(stride[column] > lowest)
            if num_above == 0:
                continue
            for column in range(len(stride)):
                value = stride[column]
                if value <= lowest:
                    continue
                rank = k - 1
                while rank > 0 and top[row, rank - 1] < value:
                    top[row, rank] = top[row, rank - 1]
                    index[row, rank] = index[row, rank - 1]
                    rank -= 1
                top[row, rank] = value
                index[row, rank] = columns[row if per_row else 0, start + column]
                lowest = top[row, k - 1]


def unit_vectors(
    embeddings: np.ndarray, rows: np.ndarray | slice, scale: np.ndarray | None = None
) -> np.ndarray:
    """The rows, multiplied by `scale` and divided by their length: float32 [r, d].

    embeddings: float [n, d]; rows: int64 [r] or a slice; scale: float32 [d], or None for ones.
    Zero vectors stay zero.
    """
    units = embeddings[rows].astype(np.float32)
    if scale is not None:
        units *= scale
    length = np.sqrt(np.einsum("ij,ij->i", units, units))
    units /= np.where(length > 0, length, 1)[:, None]
    return units
