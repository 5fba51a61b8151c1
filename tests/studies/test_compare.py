"""The comparison of two runs; one of whole runs is in tests/stages/test_runs.py."""

from dataclasses import replace

import numpy as np
import pytest

from lib.config.schema import Config
from lib.data.catalog import Splits
from lib.errors import UserError
from lib.output.report.sections.comparison import compare_parts
from lib.pipeline.experiment import Experiment
from studies import compare
from studies.compare import Run, changed_rows, check_comparable, differences, to_markdown
from tests.output.report.parts import catalog_of, categories, part_of

LABEL = [0, 1, 2, 0]


def run(name="work/a", label=LABEL, part=(0, 0, 2, 2), fold=(0, 1, -1, -1), **settings):
    config = replace(Config(), **settings)
    splits = Splits(np.array(part, np.int8), np.array(fold, np.int8))
    return Run(name, Experiment(config), catalog_of(label), categories(3), splits)


def refuse(second):
    with pytest.raises(UserError) as error:
        check_comparable(run(), second)
    assert str(error.value).startswith("work/a and work/b ")
    return str(error.value)


def test_runs_of_one_catalog_and_split_are_compared_whatever_their_folds():
    check_comparable(run(), run("work/b", fold=(1, 0, -1, -1)))


def test_other_catalogs_are_refused_by_what_differs():
    text = refuse(run("work/b", label=[*LABEL, 1]))
    assert "different catalogs: 4 and 5 labelled products" in text
    other = run("work/b")
    catalog = replace(other.catalog, product_id=np.array([1000, 1001, 7, 1003]))
    text = refuse(other._replace(catalog=catalog))
    assert "different catalogs: labelled product 3 is 1002 and 7" in text
    text = refuse(run("work/b", label=[0, 1, 1, 2]))
    assert "different labels for 2 products, the first is 1002: '102' and '101'" in text


def test_other_splits_are_refused_with_their_cause():
    config = Config()
    text = refuse(run("work/b", part=(0, 2, 0, 2), split=replace(config.split, locked=0.3), seed=5))
    assert "different splits: 2 products, the first is 1001, are in other parts" in text
    assert f"split.locked {config.split.locked} and 0.3" in text
    assert f"seed {config.seed} and 5" in text


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "no config.toml, so it is no folder of a run"),
        ({"config.toml": "name = 'a'\n[models.a]\n"}, "is missing; finish the run with"),
        (
            {"config.toml": "data.source = 'openimages'\nclusters.multi_label = true\n[models.a]"},
            "its images have sets of classes",
        ),
    ],
)
def test_what_is_no_finished_run_is_one_line(tmp_path, files, message, monkeypatch, capsys):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr("sys.argv", ["compare", str(tmp_path), str(tmp_path)])
    assert compare.main() == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message in line


FIRST, SECOND = [[0.9, 0.1, 0], [0, 0.7, 0.3]], [[0.2, 0.8, 0], [0, 0.6, 0.4]]


@pytest.mark.parametrize("group", [None, [0, 0]])
def test_the_table_has_all_figures_and_says_what_they_lack(group):
    parts = [part_of(probs, [0, 2], group) for probs in (FIRST, SECOND)]
    text = to_markdown([compare_parts(("a", "b"), *parts)], [("seed", "0", "1")], folds=False)
    row = next(line for line in text.splitlines() if line.startswith("| out-of-fold"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1] == "2"
    assert cells[2].startswith("0.5000 (")
    assert cells[3].startswith("0.0000 (")
    assert cells[4].startswith("-50.00 (")
    assert cells[5:] == ["0", "1", "0", "1"]
    assert "The folds differ" in text
    assert ("Trust the interval" in text) == (group is not None)
    assert "| seed | 0 | 1 |" in text


def test_changed_answers_are_listed_under_the_names_of_the_catalog():
    parts = [part_of(probs, [0, 2]) for probs in (FIRST, SECOND)]
    rows = changed_rows([compare_parts(("a", "b"), *parts)], catalog_of([0, 2]), categories(3))
    assert [list(row.values()) for row in rows] == [
        ["out-of-fold", "1000", "broken", "100", "100", "0.900000", "101", "0.800000"]
    ]


def test_runs_go_by_the_names_of_their_folders_where_these_differ():
    assert compare.short_names("work/a", "old/b") == ("a", "b")
    assert compare.short_names("work/a", "old/a") == ("work/a", "old/a")


def test_places_and_processes_are_no_differences():
    assert differences(run(name="work/a"), run(name="work/b", work="elsewhere")) == []
    (row,) = differences(run(), run(seed=3))
    assert row == ("seed", str(Config().seed), "3")
