import csv

import numpy as np

from lib.data.catalog import Splits
from lib.output.report.confident_learning import find_label_issues
from lib.output.report.label_issues import (
    COLUMNS,
    LEARNED,
    REPEATED,
    Issue,
    issues_of,
    issues_of_pictures,
    write_issues,
)
from lib.output.report.names import ClassNames
from lib.output.report.repeated_pictures import RepeatedPicture
from tests.output.report.parts import SCRIPT, NoPictures, catalog_of, categories, part_of


def picture(products, label):
    return RepeatedPicture(0, np.array(products), np.array(label, np.int16))


def test_products_of_a_picture_are_suggested_the_class_of_most_of_them():
    found = issues_of_pictures([picture([4, 7, 9], [1, 1, 0]), picture([2, 3], [0, 1])], 10)
    assert [(issue.product, issue.label, issue.suggested) for issue in found] == [
        (9, 0, 1),
        (2, 0, -1),
        (3, 1, -1),
    ]
    assert len(issues_of_pictures([picture([4, 7, 9], [1, 1, 0]), picture([2, 3], [0, 1])], 2)) == 2


def test_a_picture_of_many_classes_says_nothing_of_their_labels():
    assert issues_of_pictures([picture(range(6), [0, 1, 2, 0, 1, 2])], 10) == []


def test_the_surest_issues_of_confident_learning_are_taken():
    probs = [[0.9, 0.1]] * 5 + [[0.1, 0.9]] * 5 + [[0.2, 0.8], [0.05, 0.95]]
    part = part_of(probs, [0] * 5 + [1] * 5 + [0, 0])
    (issue,) = issues_of(part, find_label_issues(part, 2), 1)
    assert issue[:4] == (11, LEARNED, 0, 1)
    np.testing.assert_allclose(issue[4:], [0.05, 0.95], rtol=1e-6)


def test_the_file_has_ids_names_parts_and_pictures(tmp_path):
    issues = [Issue(2, LEARNED, 0, 1, 0.125, 0.75), Issue(0, REPEATED, 1, -1)]
    splits = Splits(np.array([2, 0, 0], np.int8), np.array([-1, 0, 1], np.int8))
    names = ClassNames(categories(2))
    path = tmp_path / "label_issues.csv"
    write_issues(path, issues, catalog_of([0, 1, 0]), splits, names, NoPictures())
    with path.open(newline="", encoding="utf-8") as file:
        header, first, second = csv.reader(file)
    assert tuple(header) == COLUMNS
    name = f"OTHER > {SCRIPT}"
    learned = ["1002", "fit", LEARNED, "100", name, "101", "TOP > LEAF 1", "0.125000", "0.750000"]
    assert first == [*learned, "picture of 2"]
    repeated = ["1000", "locked", REPEATED, "101", "TOP > LEAF 1", "", "", "", ""]
    assert second == [*repeated, "picture of 0"]
