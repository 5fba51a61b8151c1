"""The study of the number of drawings."""

from studies import quickdraw_size, trials


def test_sizes_beyond_the_files_are_left_out_and_named(experiment, arguments, read_csv, tmp_path):
    data = trials.load_drawings(experiment)
    quickdraw_size.study(arguments(drawings=[10, 500], categories=3), experiment, data)
    rows = read_csv("size_quickdraw_3")
    assert [int(row["drawings"]) for row in rows] == [10, 20]
    page = (tmp_path / "docs" / "quickdraw.md").read_text()
    assert "Too few drawings for 500." in page
    assert "| 20 |" in page
    assert (tmp_path / "docs" / "quickdraw" / "size_quickdraw_3.png").stat().st_size > 9_000
