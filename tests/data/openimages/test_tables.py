"""Tables of boxes and labels: typed and plain reading agree, and every bad row has its reason."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.data.openimages import blocks
from lib.data.openimages.boxes import BOX_TYPES
from lib.data.openimages.tables import AnnotationTables, read_tables
from lib.errors import UserError

HEADER = [
    "ImageID",
    "Source",
    "LabelName",
    "Confidence",
    "XMin",
    "XMax",
    "YMin",
    "YMax",
    "IsOccluded",
    "IsTruncated",
    "IsGroupOf",
    "IsDepiction",
    "IsInside",
]
ROWS = {"/m/a": 0, "/m/b": 1}
GOOD = ["i1", "xclick", "/m/a", "1", "0.25", "0.5", "0.125", "1", "1", "0", "-1", "0", "0"]


def row(**values: str) -> list[str]:
    """A good row with other values by column."""
    return [values.get(name, value) for name, value in zip(HEADER, GOOD, strict=True)]


def write(path: Path, rows: Sequence[Sequence[str]], header: Sequence[str] = HEADER) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
    return path


def assert_equal(one: AnnotationTables, other: AnnotationTables) -> None:
    assert one.ids == other.ids
    assert one.rows == other.rows
    assert one.report.counts == other.report.counts
    assert sorted(one.report.records) == sorted(other.report.records)
    for columns, others in ((one.boxes, other.boxes), (one.labels, other.labels)):
        assert columns.keys() == others.keys()
        for name in columns:
            assert columns[name].dtype == others[name].dtype
            np.testing.assert_array_equal(columns[name], others[name])


def test_a_table_becomes_typed_columns_by_image(tmp_path):
    rows = [
        row(ImageID="i2", LabelName="/m/b", IsInside="1"),
        row(),
        row(ImageID="i2", Confidence="0.5"),
    ]
    tables = read_tables([write(tmp_path / "t.csv", rows)], [], ROWS)
    assert tables.ids == ["i2", "i1"]
    assert {name: values.dtype for name, values in tables.boxes.items()} == {
        name: np.dtype(kind) for name, kind in BOX_TYPES.items() if name != "cluster"
    }
    assert tables.boxes["image"].tolist() == [0, 0, 1]
    assert tables.boxes["class_row"].tolist() == [1, 0, 0]
    assert tables.boxes["confidence"].tolist() == [1, 0.5, 1]
    assert tables.boxes["inside"].tolist() == [1, 0, 0]
    assert tables.boxes["group"].tolist() == [-1, -1, -1]
    for name, value in {"x_min": 0.25, "x_max": 0.5, "y_min": 0.125, "y_max": 1}.items():
        assert tables.boxes[name].tolist() == [value] * 3
    assert not tables.report.counts
    assert len(tables.labels["image"]) == 0


def test_columns_may_stand_anywhere_and_those_without_need_may_lack(tmp_path):
    header = ["XClick1X", "YMax", "LabelName", "XMax", "XMin", "YMin", "ImageID"]
    path = write(tmp_path / "t.csv", [["0.3", "1", "/m/b", "0.5", "0.25", "0", "i1"]], header)
    tables = read_tables([path], [], ROWS)
    assert tables.boxes["y_max"].tolist() == [1]
    assert tables.boxes["x_min"].tolist() == [0.25]
    assert tables.boxes["confidence"].tolist() == [1]
    assert tables.boxes["occluded"].tolist() == [-1]


BAD = {
    "no ImageID": row(ImageID=" "),
    "unknown label /m/x": row(LabelName="/m/x"),
    "coordinate that is no number": row(XMin=""),
    "coordinate outside of 0 to 1": row(XMax="1.5"),
    "XMin above XMax": row(XMin="0.75"),
    "YMin above YMax": row(YMin="0.75", YMax="0.5"),
    "box without area": row(XMin="0.5"),
    "Confidence outside of 0 to 1": row(Confidence="2"),
    "IsGroupOf other than -1, 0, 1": row(IsGroupOf="3"),
}


@pytest.mark.parametrize("fault", ["", "word", "short"])
def test_a_bad_row_is_counted_by_its_reason_and_passed_over(tmp_path, fault):
    rows = [row(), *BAD.values(), row(ImageID="i2", LabelName="/m/b")]
    listed = [(line, reason) for line, reason in enumerate(BAD, start=3)]
    if fault == "word":  # pyarrow gives up, and the table is read row by row
        rows.append(row(YMin="zero"))
        listed.append((13, "coordinate that is no number"))
    if fault == "short":
        rows.append(["i3", "xclick"])
        reason = "2 fields, but the header has 13: quote values with a separator"
        listed.append((13, reason))
    tables = read_tables([write(tmp_path / "t.csv", rows)], [], ROWS)
    assert tables.ids == ["i1", "i2"]
    assert tables.boxes["class_row"].tolist() == [0, 1]
    assert sorted(tables.report.records) == listed
    assert sum(tables.report.counts.values()) == len(listed)
    assert tables.report.counts["unknown label"] == 1
    assert tables.rows == len(rows)


def test_several_tables_share_images_and_name_their_faults(tmp_path):
    one = write(tmp_path / "one.csv", [row(), row(ImageID="i2"), row(LabelName="/m/x")])
    two = write(tmp_path / "two.csv", [row(ImageID="i3"), row(LabelName="/m/b"), row(YMin="?")])
    tables = read_tables([one, two], [], ROWS)
    assert tables.ids == ["i1", "i2", "i3"]
    assert tables.boxes["image"].tolist() == [0, 0, 1, 2]
    assert tables.boxes["class_row"].tolist() == [0, 1, 0, 0]
    assert sorted(tables.report.records) == [
        (4, "coordinate that is no number in two.csv"),
        (4, "unknown label /m/x in one.csv"),
    ]


def test_labels_of_images_are_those_that_people_verified(tmp_path):
    boxes = write(tmp_path / "b.csv", [row()])
    rows = [
        ["i1", "verification", "/m/b", "0"],
        ["i9", "crowdsource-verification", "/m/a", "1"],
        ["i8", "machine", "/m/a", "0.7"],
        ["i1", "verification", "/m/a", "0.5"],
    ]
    header = ["ImageID", "Source", "LabelName", "Confidence"]
    labels = write(tmp_path / "l.csv", rows, header)
    tables = read_tables([boxes], [labels], ROWS)
    assert tables.ids == ["i1", "i9"]
    columns = {name: values.tolist() for name, values in tables.labels.items()}
    assert columns == {"image": [0, 1], "class_row": [1, 0], "present": [0, 1]}
    assert tables.report.records == [(5, "Confidence other than 0 and 1 in l.csv")]


VALUES = st.sampled_from(["0", "0.25", "1", "0.5", "", "NaN", "1.5", "-1"])
CELLS = st.fixed_dictionaries(
    {},
    optional={
        "ImageID": st.sampled_from(["i1", "i2", "i3", ""]),
        "LabelName": st.sampled_from(["/m/a", "/m/b", "/m/x"]),
        "XMin": VALUES,
        "YMax": VALUES,
        "Confidence": VALUES,
        "IsInside": st.sampled_from(["-1", "0", "1", "", "7"]),
    },
)


@settings(max_examples=40)
@given(st.lists(CELLS, min_size=1, max_size=30), st.integers(1, 5))
def test_both_ways_to_read_agree_in_blocks_of_any_size(tmp_path_factory, cells, block_rows):
    folder = tmp_path_factory.mktemp("tables")
    rows = [row(**values) for values in cells]
    typed = read_tables([write(folder / "t.csv", rows)], [], ROWS)
    patch = pytest.MonkeyPatch()
    with patch.context() as context:
        context.setattr("lib.data.openimages.tables.typed_blocks", no_typed_blocks)
        context.setattr(blocks, "BLOCK_ROWS", block_rows)
        plain = read_tables([folder / "t.csv"], [], ROWS)
    assert_equal(typed, plain)


def no_typed_blocks(*_):
    """As if pyarrow met a fault at once."""
    raise blocks.pa.ArrowInvalid("fault")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "line 1: no column ImageID; it has: nothing"),
        ("a,b\n", "line 1: no column ImageID; it has: a, b"),
        ("ImageID,LabelName,XMin,XMax,YMin\n", "line 1: no column YMax"),
        ("ImageID,ImageID\n", "line 1: 2 columns are named ImageID"),
    ],
)
def test_another_table_is_one_line(tmp_path, text, words):
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        read_tables([path], [], ROWS)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_spaces_around_the_names_of_columns_do_not_matter(tmp_path):
    plain = write(tmp_path / "plain.csv", [row()])
    spaces = write(tmp_path / "spaces.csv", [row()], [f" {name}\x85" for name in HEADER])
    assert_equal(*(read_tables([path], [], ROWS) for path in (plain, spaces)))


def test_a_table_of_a_header_alone_has_no_rows(tmp_path):
    tables = read_tables([write(tmp_path / "t.csv", [])], [], ROWS)
    assert (tables.ids, tables.rows) == ([], 0)


def test_the_photographs_are_read(shared_data):
    folder = shared_data / "openimages" / "photos"
    rows = {"/m/0k4j": 0, "/m/01bjv": 1, "/m/04_sv": 2, "/m/07r04": 3, "/m/012n7d": 4}
    rows |= {"/m/07yv9": 5, "/m/01jfm_": 6}
    names = ("vehicles", "plates")
    tables = read_tables([folder / f"{name}-annotations-bbox.csv" for name in names], [], rows)
    assert len(tables.ids) == 439 + 350
    assert tables.rows == 838 + 1123
    assert len(tables.boxes["image"]) + sum(tables.report.counts.values()) == tables.rows
