"""Which columns of a CSV are ids, labels, images and groups: by their values, then by their names.

What the values allow comes first: images are files, ids differ, labels repeat. Among columns that
fit, a name that shops use decides. Two that fit alike are an error that names both.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lib.config.data import Data
from lib.data.records import CorruptRecord
from lib.data.sources.csv_table import is_file
from lib.data.sources.text_table import BYTE_ORDER_MARKS, TableFormat, read_header, read_rows
from lib.data.splits import part_of_word
from lib.errors import UserError

MAX_ROWS = 20_000  # that are looked at
MAX_FILES = 300  # values of a column that are looked up as files
MIN_FILES = 0.5  # of a column's values, to be the column of images
MAX_FOLDERS = 50  # beside the table that may hold its images
MAX_FOLDS = 100  # different values of a column of folds
MIN_PURE = 0.98  # of the groups with several products, in which all have one label
IMAGE_SEPARATORS = re.compile(r"[|,;]")
EXCEL = "cp1252"  # of tables that are not UTF-8

# Names without case, blanks and signs; the first that a table has decides.
ID_NAMES = (
    *("id", "productid", "product", "itemid", "item", "sku", "handle", "articleid", "article"),
    *("articlenumber", "asin", "gtin", "ean", "uid", "uuid", "key", "code", "number"),
)
IMAGE_NAMES = (
    *("images", "image", "imagepath", "imagefile", "imagename", "filename", "file", "path"),
    *("pictures", "picture", "photos", "photo", "img", "imagesrc", "filepath"),
)
# Labels of equal rank: a table that has two of them does not say which one is meant.
LABEL_NAMES = {
    *("category", "categories", "label", "labels", "class", "classes", "target", "categoryid"),
    *("classid", "productcategory", "productcategories", "categorypath", "categoryname", "y"),
}
LABEL_WORDS = ("categor", "label", "class", "type", "department", "taxonomy")
GROUP_NAMES = {
    *("group", "groupid", "style", "styleid", "parent", "parentid", "parentsku", "family"),
    *("familyid", "itemgroup", "itemgroupid", "variantof"),
}
SPLIT_NAMES = {
    *("split", "fold", "folds", "subset", "partition", "kfold", "cvfold", "set", "datasplit"),
}


@dataclass(frozen=True)
class Table:
    """The first rows of a table. columns: the values of each column by its name."""

    path: Path
    columns: Mapping[str, Sequence[str]]
    form: TableFormat


def decide_columns(path: Path, images: Path | None, data: Data, settled: Iterable[str]) -> Data:
    """`data` with the columns of a table, and the folder of its images, filled in.

    path: the table; images: the folder of its images, None to look for it. settled: names of the
    settings of [data] that the user has given, which stay. Raises UserError where no column fits,
    or two fit alike; the line names the setting that decides.
    """
    table = read_table(path, data)
    settled = set(settled)
    data = replace(data, encoding=table.form.encoding)

    def given(key: str) -> str | None:
        return getattr(data, key) if key in settled else None

    column, folder = _images_of(table, images, data, given("images_column"))
    data = replace(data, images_column=column, images_root=folder)
    split = find_split(table) if given("split_column") is None else data.split_column
    label = given("label_column")
    if (key := given("id_column")) is None:
        key = find_id(table, exclude=(column, label, split))
    label = label or find_label(table, exclude=(column, key, split))
    data = replace(data, id_column=key, label_column=label, split_column=split)
    if "group_by" not in settled:
        data = replace(data, group_by=find_group(table, label, (column, key)) or "alike")
    return data


def read_table(path: Path, data: Data) -> Table:
    """The first rows of a table whose columns are not known yet.

    A table without a byte-order mark that is not UTF-8 is read as Excel of western Europe writes
    it. Raises UserError if its header cannot be read, or it has no rows.
    """
    form = TableFormat(encoding_of(path, data.encoding), data.separator)
    header = read_header(path, form)
    counts = Counter(header)
    names = [name for name in header if name and counts[name] == 1]
    corrupt: list[CorruptRecord] = []
    values: dict[str, list[str]] = {name: [] for name in names}
    for number, (_, row) in enumerate(read_rows(path, names, corrupt, form)):
        if number == MAX_ROWS:
            break
        for name, value in zip(names, row, strict=True):
            values[name].append(value.strip())
    if not names or not values[names[0]]:
        raise UserError(f"{path}: a header, but no rows that can be read; write one for a product")
    return Table(path, values, form)


def encoding_of(path: Path, given: str) -> str:
    """The encoding of a table: the one that is given, or for "auto" what its head shows."""
    return EXCEL if given == "auto" and not _is_unicode(path) else given


def _is_unicode(path: Path) -> bool:
    """Whether the head of a file is UTF-8, or marked or recognized as UTF-16."""
    with path.open("rb") as file:
        head = file.read(1 << 20)
    if b"\0" in head or any(head.startswith(mark) for mark in BYTE_ORDER_MARKS):
        return True
    try:
        head[: head.rfind(b"\n") + 1].decode()
    except UnicodeDecodeError:
        return False
    return True


def _images_of(table: Table, images: Path | None, data: Data, given: str | None) -> tuple[str, str]:
    """The column of images, and `images_root`: "" where its default is the folder."""
    usual = table.path.parent / "images"
    usual = usual if usual.is_dir() else table.path.parent
    if data.images_root:
        folders = [Path(data.root) / data.images_root]
    else:
        folders = [images] if images else [usual, *_folders_beside(table.path)]
    names = [given] if given else list(table.columns)
    _check_columns(table, names)
    shares = {
        (name, folder): _share_of_files(table.columns[name], folder)
        for folder in folders
        for name in names
    }
    best = max(shares.values())
    if best < MIN_FILES:
        _raise_no_images(table, folders, shares)
    folder = next(folder for (_, folder), share in shares.items() if share == best)
    fitting = [name for name in names if shares[name, folder] >= MIN_FILES]
    column = _choose(table, "images", "images_column", _by_order(fitting, IMAGE_NAMES))
    if data.images_root:
        return column, data.images_root
    return column, "" if folder == usual else str(folder.absolute())


def _folders_beside(path: Path) -> list[Path]:
    folders = [p for p in path.parent.iterdir() if p.is_dir() and not p.name.startswith(".")]
    return [path.parent, *sorted(folders)[:MAX_FOLDERS]]


def _share_of_files(values: Sequence[str], folder: Path) -> float:
    """The fraction of a column's values that name a file in a folder, alone or among others."""
    present = [value for value in values if value]
    step = max(1, len(present) // MAX_FILES)
    sampled = present[::step]
    found = sum(
        is_file(folder, value) or any(is_file(folder, name) for name in _split(value))
        for value in sampled
    )
    return found / max(len(sampled), 1)


def _split(value: str) -> list[str]:
    parts = IMAGE_SEPARATORS.split(value)
    return parts if len(parts) > 1 else []


def _raise_no_images(
    table: Table, folders: Sequence[Path], shares: Mapping[tuple[str, Path], float]
) -> None:
    for name, values in table.columns.items():
        if any(re.match(r"https?://", value) for value in values[:MAX_FILES]):
            raise UserError(
                f"{table.path}: no column names files, but {name} has addresses; download them, and"
                " name the files in the table"
            )
    name, folder = max(shares, key=lambda pair: shares[pair])
    if share := shares[name, folder]:
        raise UserError(
            f"{table.path}: {share:.0%} of the values of {name!r} are files in {folder}, and fewer"
            " of other columns; put all there, or give their folder by --images FOLDER"
        )
    raise UserError(
        f"{table.path}: no column names files in {', '.join(map(str, dict.fromkeys(folders[:3])))};"
        f" it has: {_shown(table.columns)}. Give their folder by --images FOLDER"
    )


def find_id(table: Table, exclude: Iterable[str | None] = ()) -> str:
    """The column of ids: its values differ, or stand in rows that follow each other.

    A table without one, such as of file names and labels, has its images for ids.
    """
    excluded = [name for name in exclude if name]
    fitting = [name for name, v in table.columns.items() if name not in excluded and _is_unique(v)]
    named = [name for name in fitting if _plain(name) in ID_NAMES]
    if not fitting and excluded and _is_unique(table.columns.get(excluded[0], ())):
        return excluded[0]
    if not fitting:
        raise UserError(
            f"{table.path}: no column has a value of its own for each product; add one, or name it"
            f" with --set data.id_column=COLUMN; it has: {_shown(table.columns)}"
        )
    return _choose(table, "ids", "id_column", _by_order(named or fitting, ID_NAMES))


def _is_unique(values: Sequence[str]) -> bool:
    """Whether no value returns after another one; of a product's rows all but the first may."""
    runs = [value for value, above in zip(values, ["", *values], strict=False) if value != above]
    return len(runs) > 1 and len(set(runs)) == len(runs) and all(values)


def find_label(table: Table, exclude: Iterable[str] = ()) -> str:
    """The column of labels: at least two values, that repeat."""
    excluded = set(exclude)
    fitting = [
        name
        for name, values in table.columns.items()
        if name not in excluded and _repeats(values) and not _are_fractions(values)
    ]
    fitting = _without_doubles(table, fitting)
    named = [name for name in fitting if _plain(name) in LABEL_NAMES]
    worded = [name for name in fitting if any(word in _plain(name) for word in LABEL_WORDS)]
    single = [n for n in table.columns if _plain(n) in LABEL_NAMES and len(_values(table, n)) == 1]
    if not fitting and single:
        value = next(iter(_values(table, single[0])))
        raise UserError(
            f"{table.path}: {single[0]!r} has one value, {value!r}; a classifier needs two classes"
            " or more"
        )
    if not fitting:
        raise UserError(
            f"{table.path}: no column has values that repeat, as labels do; it has:"
            f" {_shown(table.columns)}; name one with --set data.label_column=COLUMN"
        )
    return _choose(table, "labels", "label_column", named or worded or fitting)


def _values(table: Table, name: str) -> set[str]:
    return {value for value in table.columns[name] if value}


def _repeats(values: Sequence[str]) -> bool:
    counts = Counter(value for value in values if value)
    return 2 <= len(counts) <= sum(counts.values()) / 2


def _are_fractions(values: Sequence[str]) -> bool:
    """Whether the values are numbers with a point, such as prices."""
    present = [value for value in values if value]
    return all(re.fullmatch(r"[-+]?\d*[.,]\d+|\d+", v) for v in present) and any(
        "." in v or "," in v for v in present
    )


def _without_doubles(table: Table, names: Sequence[str]) -> list[str]:
    """The names without columns that say the same as one before them, such as a label's number."""
    kept: list[str] = []
    for name in names:
        if not any(_say_the_same(table.columns[name], table.columns[other]) for other in kept):
            kept.append(name)
    return kept


def _say_the_same(first: Sequence[str], second: Sequence[str]) -> bool:
    pairs = set(zip(first, second, strict=True))
    return len(pairs) == len(set(first)) == len(set(second))


def find_split(table: Table) -> str:
    """The one column that plainly is the user's own split or folds; "" if there is none.

    It has a name for it, and a word or a number in every row that says which part, or which of at
    least two folds. Several such columns are none.
    """
    fitting = [
        name
        for name, values in table.columns.items()
        if _plain(name) in SPLIT_NAMES
        and 2 <= len(set(values)) <= MAX_FOLDS
        and all(part_of_word(value) is not None for value in set(values))
    ]
    return fitting[0] if len(fitting) == 1 else ""


def find_group(table: Table, label: str, exclude: Iterable[str] = ()) -> str:
    """The one column that plainly says which products belong together; "" if there is none.

    It has a name for it, and fewer values than there are products; products of one value have one
    label. Several such columns are none.
    """
    excluded = {label, *exclude}
    labels = table.columns.get(label, ())
    fitting = [
        name
        for name, values in table.columns.items()
        if name not in excluded and _plain(name) in GROUP_NAMES and _is_group(values, labels)
    ]
    return fitting[0] if len(fitting) == 1 else ""


def _is_group(values: Sequence[str], labels: Sequence[str]) -> bool:
    labels_of, sizes = defaultdict(set), Counter(value for value in values if value)
    for value, label in zip(values, labels, strict=True):
        if sizes[value] > 1:
            labels_of[value].add(label)
    pure = sum(len(found) == 1 for found in labels_of.values())
    return bool(labels_of) and pure >= MIN_PURE * len(labels_of) and len(sizes) > len(set(labels))


def _by_order(names: Sequence[str], order: Sequence[str]) -> list[str]:
    """The name that comes first in an order of plain names; all names if none is in it."""
    known = [name for name in names if _plain(name) in order]
    return [min(known, key=lambda name: order.index(_plain(name)))] if known else list(names)


def _choose(table: Table, what: str, key: str, names: Sequence[str]) -> str:
    """The only name. Raises UserError if there are several."""
    if len(names) == 1:
        return names[0]
    raise UserError(
        f"{table.path}: {' and '.join(map(repr, names))} may all be the {what}; choose one, as in"
        f" --set data.{key}={names[0]!r}"
    )


def _check_columns(table: Table, names: Sequence[str]) -> None:
    for name in names:
        if name not in table.columns:
            raise UserError(f"{table.path}: no column {name}; it has: {_shown(table.columns)}")


def _shown(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")


def _plain(name: str) -> str:
    """A name in small letters and digits alone."""
    return re.sub(r"[^a-z0-9]", "", name.lower())
