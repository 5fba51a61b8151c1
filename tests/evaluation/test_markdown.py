from lib.evaluation.markdown import table


def test_a_table_has_a_header_a_rule_and_one_line_for_each_row():
    text = table(["name", "n"], [["a", 1], ["b", 2.5]])
    assert text.splitlines() == ["| name | n |", "| --- | --- |", "| a | 1 |", "| b | 2.5 |"]


def test_bars_in_cells_are_escaped():
    assert table(["a|b"], [["c|d"]]).splitlines()[::2] == ["| a\\|b |", "| c\\|d |"]


def test_a_table_without_rows_is_its_header():
    assert table(["a"], []) == "| a |\n| --- |"
