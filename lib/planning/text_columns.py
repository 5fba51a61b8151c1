"""Which columns of a CSV are titles, descriptions or brands, for a model on texts."""

import re
from collections.abc import Sequence
from pathlib import Path

from lib.config.data import Data
from lib.data.sources.text_table import read_header
from lib.planning.columns import LABEL_WORDS, Table, read_table

# Names without case, blanks and signs. What repeats, as a brand does, is a text by its name alone.
TITLE_NAMES = {
    *("title", "name", "producttitle", "productname", "productdisplayname", "itemname", "headline"),
    *("description", "productdescription", "shortdescription", "longdescription", "bodyhtml"),
    *("brand", "brandname", "vendor", "manufacturer", "material", "tags", "keywords"),
}
MIN_PRESENT = 0.05  # of the products, that have a text
MIN_VARIED = 0.3  # of the texts of a column without such a name, that differ
MIN_WORDS = 2.5  # of such a text, on average
WORD = re.compile(r"[^\W\d_]{2,}")


def find_texts(path: Path, data: Data) -> tuple[str, ...]:
    """The columns of texts, in the order of the table.

    data: with the other columns of the table, which are no texts; of products to classify, the
    table must have the columns too. Nor is a column whose name says that it is a kind of category,
    because new products may not have it.
    """
    table = read_table(path, data)
    used = {data.id_column, data.label_column, data.images_column, data.split_column}
    used.add(data.group_column)
    names = [name for name in table.columns if name not in used]
    if data.test:
        header = read_header(Path(data.root) / data.test, table.form)
        names = [name for name in names if name in header]
    return tuple(name for name in names if _is_text(table, name))


def _is_text(table: Table, name: str) -> bool:
    plain = re.sub(r"[\W_]+", "", name.lower())
    present = [value for value in table.columns[name] if value]
    if len(present) < max(MIN_PRESENT * len(table.columns[name]), 2):
        return False
    if plain in TITLE_NAMES:
        return len(set(present)) > 1 and any(map(WORD.search, present))
    return not any(word in plain for word in LABEL_WORDS) and _are_sentences(present)


def _are_sentences(values: Sequence[str]) -> bool:
    """Whether values are varied and of several words, and no addresses or paths."""
    if any(re.match(r"https?://|[./]?[\w-]+/", value) for value in values[:100]):
        return False
    words = sum(len(WORD.findall(value)) for value in values)
    return words >= MIN_WORDS * len(values) and len(set(values)) >= MIN_VARIED * len(values)
