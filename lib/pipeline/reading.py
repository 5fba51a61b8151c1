"""Read files of the work folder that may be damaged: one line for the user, and no traceback."""

import errno
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

MAX_REASON = 200  # characters of an error in a message


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever a damaged file of the work folder leads its reader to into a UserError.

    Samples of a large file do not cover all of its bytes, and an interrupted build has no manifest.
    """
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{path} is missing; pass --rebuild to build it again") from None
    except Exception as error:
        if isinstance(error, MemoryError) or _is_of_machine(error):
            raise
        reason = f"{type(error).__name__}: {str(error)[:MAX_REASON]}"
        raise UserError(
            f"{path} is damaged or was written by another version ({reason}); delete the folder"
            f" {path.parent} and run the same command again"
        ) from error


def _is_of_machine(error: Exception) -> bool:
    """Whether the system raised an error; libraries raise OSErrors of their own without a number.

    A damaged offset makes a seek fail with EINVAL.
    """
    return isinstance(error, OSError) and error.errno not in (None, errno.EINVAL)


def read_json(path: Path, *keys: str) -> Any:
    """The value of a JSON file, a table with these keys if any are given. Raises UserError."""
    with reading(path):
        value = json.loads(path.read_bytes())
        if missing := [key for key in keys if key not in value]:
            raise ValueError(f"no {', '.join(missing)}")
        return value


def read_json_lines(path: Path, key: str) -> list[dict[str, Any]]:
    """The tables of a file of JSON lines, each with this key. Raises UserError."""
    with reading(path), path.open() as file:
        lines = [json.loads(line) for line in file]
        if not all(isinstance(line, dict) and key in line for line in lines):
            raise ValueError(f"a line without {key}")
        return lines


def load_array(path: Path) -> "np.ndarray":
    """The array of a .npy file, in memory. Raises UserError."""
    from lib.utils.npy import read_array

    with reading(path):
        return read_array(path)


def map_array(path: Path) -> "np.memmap":
    """The memory-mapped array of a .npy file. Raises UserError."""
    from lib.utils.npy import open_array

    with reading(path):
        return open_array(path)


def read_table(path: Path, *columns: str) -> "pa.Table":
    """The memory-mapped table of an Arrow IPC file; pages are read on first access.

    columns: that it must have. Raises UserError for a damaged file, before an offset of it is used.
    """
    import pyarrow as pa

    with reading(path):
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        table.validate(full=True)
        table.select(list(columns))  # KeyError for a missing one
        return table
