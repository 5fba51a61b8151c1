"""Settings of the words that are read in pictures"""

from dataclasses import dataclass
from typing import Annotated

from lib.config.data import Data
from lib.config.inputs.text import Text, TextEncoder
from lib.config.setting import BelowOne, Pattern, Range, setting

OCR_COLUMN = "ocr"  # in `text.columns` it names the words in the pictures
# Other versions may read other words, so these count among the settings of what was read.
ENGINE = {"rapidocr": "3.10.0", "onnxruntime": "1.32.0"}  # as in requirements-ocr.txt


@dataclass(frozen=True)
class Ocr:
    """How words are read in pictures, for text models whose `text.columns` name "ocr"."""

    language: Annotated[str, Pattern("[a-z_]{2,20}", 'as "en"')] = setting(
        "en",
        "Language of the words. One model reads en, fr, de, es, it, ch, japan and 40 more; others"
        " need a model of their own.",
    )
    min_confidence: BelowOne = setting(
        0.5, "Lines that are read with less confidence are left out."
    )
    min_side: Annotated[int, Range(min=32, max=2048)] = setting(
        320, "Pictures with a shorter side below this, in pixels, are enlarged to it."
    )
    max_side: Annotated[int, Range(min=64, max=4096)] = setting(
        960, "Pictures with a longer side above this, in pixels, are reduced to it."
    )


def reads_pictures(text: Text | TextEncoder, data: Data) -> bool:
    """Whether a model reads the words in the pictures; a column of that name is a title's equal."""
    return OCR_COLUMN in text.columns and OCR_COLUMN not in data.text_columns


def columns_of_tables(text: Text | TextEncoder, data: Data) -> tuple[str, ...]:
    """The columns of `data.text_columns` that a model reads."""
    columns = text.columns or data.text_columns
    return tuple(column for column in columns if column in data.text_columns)
