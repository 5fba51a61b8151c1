"""Values of the columns of a table: texts of any plain type, and images as bytes or names."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lib.errors import UserError

BYTES = "bytes"  # the field of a struct that has an image, as `datasets` writes it


def texts_of(
    path: Path, name: str, values: pa.Array, names: Sequence[str] | None = None
) -> list[str | None]:
    """The values of a column as text; None for null. path, name: of the column, for messages.

    names: those of the numbers of a ClassLabel; -1 has none. Whole numbers are written plainly,
    also those of a float column. Raises UserError for a type that is neither text nor a number.
    """
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    kind = values.type
    if pa.types.is_floating(kind):
        values = _whole_numbers(path, name, values)
    elif pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        values = _decoded(path, name, values)
    elif pa.types.is_boolean(kind) or pa.types.is_temporal(kind) or pa.types.is_decimal(kind):
        values = values.cast(pa.string())
    elif not (_is_text(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind)):
        raise UserError(
            f"{path}: column {name} is of type {kind}; ids, labels, groups and texts are text or"
            " numbers; name another column"
        )
    found = values.to_pylist()
    if names is not None and pa.types.is_integer(values.type):
        return [_class_name(path, name, value, names) for value in found]
    return [None if value is None else str(value) for value in found]


def has_images(kind: pa.DataType) -> bool:
    """Whether a column holds images themselves: bytes, structs with bytes, or lists of these."""
    kind = kind.value_type if _is_list(kind) else kind
    if pa.types.is_struct(kind):
        return kind.get_field_index(BYTES) >= 0 and _is_bytes(kind.field(BYTES).type)
    return _is_bytes(kind)


def images_of(values: pa.Array) -> tuple[np.ndarray, pa.Array]:
    """The images of a column that `has_images`: how many each row has, int64 [rows], and their
    bytes, null where an image has none."""
    if _is_list(values.type):
        counts = pc.fill_null(pc.list_value_length(values), 0).to_numpy(zero_copy_only=False)
        values = values.flatten()
    else:
        counts = values.is_valid().to_numpy(zero_copy_only=False)
        values = values.drop_null()
    if pa.types.is_struct(values.type):
        values = pc.struct_field(values, BYTES)
    return counts.astype(np.int64), values


def file_names_of(path: Path, name: str, values: pa.Array) -> list[str]:
    """The names of the images of each row, separated by | if the column has lists of them."""
    if not _is_list(values.type):
        return [text or "" for text in texts_of(path, name, values)]
    if not _is_text(values.type.value_type):
        raise UserError(
            f"{path}: column {name} is of type {values.type}; images are bytes, structs with a"
            f" field {BYTES}, names of files, or lists of these; name another column"
        )
    return ["|".join(n for n in row or [] if n) for row in values.to_pylist()]


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or kind == pa.string_view()


def _is_bytes(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or kind == pa.binary_view()


def _is_list(kind: pa.DataType) -> bool:
    return (
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def _whole_numbers(path: Path, name: str, values: pa.Array) -> pa.Array:
    """Integers of a float column, as pandas makes of integers with gaps."""
    try:
        return pc.if_else(pc.is_nan(values), None, values).cast(pa.int64())
    except pa.ArrowInvalid:
        raise UserError(
            f"{path}: column {name} has fractions; ids, labels and texts are text or whole numbers"
        ) from None


def _decoded(path: Path, name: str, values: pa.Array) -> pa.Array:
    try:
        return values.cast(pa.string())
    except pa.ArrowInvalid:
        raise UserError(f"{path}: column {name} has bytes that are not UTF-8") from None


def _class_name(path: Path, name: str, value: Any, names: Sequence[str]) -> str | None:
    if value is None or value == -1:
        return None
    if not 0 <= value < len(names):
        raise UserError(
            f"{path}: column {name} has the label {value}, but its ClassLabel has {len(names)}"
            " names; mend the table"
        )
    return names[value]
