from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.data.records import CorruptRecord
from lib.data.sources.text_table import SEPARATORS, TableFormat, read_rows
from lib.errors import UserError

COLUMNS = ["product", "images"]
ROWS = [["1", "é.jpg"], ["2", 'a"b, c; d|e.jpg']]


def read(path: Path, *form: str) -> tuple[list[tuple[int, list[str]]], list[CorruptRecord]]:
    corrupt: list[CorruptRecord] = []
    return list(read_rows(path, COLUMNS, corrupt, TableFormat(*form))), corrupt


def table(separator: str = ",", rows: list[list[str]] = ROWS) -> str:
    quoted = (['"' + value.replace('"', '""') + '"' for value in row] for row in rows)
    header = separator.join(["title", "images", "product"])
    return "\r\n".join([header, *(separator.join(["t", q[1], q[0]]) for q in quoted), ""])


@pytest.mark.parametrize("separator", SEPARATORS.values())
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_separator_and_encoding_are_recognized(tmp_path, separator, encoding):
    path = tmp_path / "t.csv"
    path.write_bytes(table(separator).encode(encoding))
    assert read(path) == ([(2, ROWS[0]), (3, ROWS[1])], [])


def test_the_first_line_of_excel_may_name_the_separator(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("sep=;\n" + table(";"))
    assert read(path)[0] == [(3, ROWS[0]), (4, ROWS[1])]


def test_encoding_and_separator_can_be_set(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(table("\t").encode("cp1252"))
    rows, corrupt = read(path)
    assert [line for line, _ in rows] == [3]  # the row without é
    assert corrupt[0].offset == 2
    assert "not utf-8" in corrupt[0].reason
    assert "data.encoding" in corrupt[0].reason
    assert read(path, "cp1252", "tab") == ([(2, ROWS[0]), (3, ROWS[1])], [])
    with pytest.raises(UserError, match="line 1: no column product"):
        read(path, "cp1252", "comma")
    with pytest.raises(UserError, match="'ansi5': no encoding"):
        read(path, "ansi5")


def test_undecodable_text_of_other_columns_does_no_harm(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b"product,images,title\n1,a.jpg,\xe9t\xe9\n")
    assert read(path) == ([(2, ["1", "a.jpg"])], [])


@pytest.mark.parametrize(
    ("row", "bad_lines", "reason"),
    [
        ("2,b.jpg,x,y", [3], "4 fields, but the header has 3"),
        ("2", [3], "1 fields"),
        ('"2"x,b.jpg,t', [3], "mend the quotes"),
        ('"2,b.jpg,t\n4,d.jpg,"t', [3, 4], "mend the quotes"),
    ],
)
def test_a_bad_row_is_listed_and_passed_over(tmp_path, row, bad_lines, reason):
    path = tmp_path / "t.csv"
    path.write_text(f"product,images,title\n1,a.jpg,t\n{row}\n3,c.jpg,t\n")
    rows, corrupt = read(path)
    assert [values for _, values in rows] == [["1", "a.jpg"], ["3", "c.jpg"]]
    assert [part.offset for part in corrupt] == bad_lines
    assert reason in corrupt[0].reason


def test_a_quote_that_never_closes_counts_every_line_that_it_swallows(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text('product,images,title\n1,a.jpg,t\n"2,b.jpg,t\n3,c.jpg,t\n4,d.jpg,t\n')
    rows, corrupt = read(path)
    assert len(rows) == 1
    assert [part.offset for part in corrupt] == [3, 4, 5]


def test_empty_fields_after_the_last_column_are_cut_and_long_ones_are_read(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(f"product,images,body\n1,a.jpg,{'x' * 200_000}\n\n,,\n2,b.jpg,y,,\n")
    assert read(path) == ([(2, ["1", "a.jpg"]), (5, ["2", "b.jpg"])], [])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "the file is empty"),
        (b"id;images\n1;a\n", "line 1: no column product; it has: id, images."),
        (b"product,images,images\n", "line 1: 2 columns are named images; rename all but one"),
        (b'product,images\n"1', None),
        (b'"product"x,images\n', "line 1: ',' expected after '\"'; mend the quotes"),
        (b"\xff\xfep\x00r\x00o", "truncated data; set data.encoding"),
        (b"\xff\xfe\x00\xd8\x00\x00", "not utf-16"),
    ],
)
def test_a_bad_header_is_one_line(tmp_path, text, message):
    path = tmp_path / "t.csv"
    path.write_bytes(text)
    if message is None:
        assert read(path)[0] == []
        return
    with pytest.raises(UserError) as error:
        read(path)
    assert message in str(error.value)
    assert str(path) in str(error.value)


@given(st.binary(max_size=80))
def test_any_bytes_give_rows_or_one_line(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("t") / "t.csv"
    for head in (b"", b"product,images\n"):
        path.write_bytes(head + data)
        try:
            rows, corrupt = read(path)
        except UserError:
            continue
        lines = [line for line, _ in rows] + [part.offset for part in corrupt]
        assert len(lines) == len(set(lines))
