from lib.output.report.sections.candidates import importances_section, recall_section


def facts(value):
    return {
        "rows_per_product": 6.5,
        "recall": value - 0.1,
        "recall_without_cap": value,
        "recall_networks": 0.5,
        "recall_phash": 0.25,
    }


def test_every_proposer_has_a_row_and_the_candidates_come_last():
    section = recall_section({"out-of-fold": facts(0.9), "locked part": facts(0.8)})
    assert section.blocks[0].rows == [
        ["networks", "50.0 %", "50.0 %"],
        ["similar pictures", "25.0 %", "25.0 %"],
        ["all together", "90.0 %", "80.0 %"],
        ["the candidates", "80.0 %", "70.0 %"],
        ["rows per product", "6.5", "6.5"],
    ]


def test_importances_are_means_over_the_boosters_of_the_lowest_layer():
    section = importances_section(
        {
            "mean/l2/xgboost": {"a": 0.75, "b": 0.25},
            "mean/l2/lightgbm": {"b": 1.0},
            "mean/l3/xgboost": {"score": 1.0},
        }
    )
    chart, table = section.blocks
    assert chart.caption == "The first 2 of 2 columns, mean over 2 l2 boosters."
    assert chart.svg.index(">b<") < chart.svg.index(">a<")
    assert table.rows[0] == ["mean/l2/xgboost", "a 75 %, b 25 %"]
    assert len(table.rows) == 3


def test_without_importances_the_section_says_so():
    assert [block.missing for block in importances_section({}).blocks] == [True]
