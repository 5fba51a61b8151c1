import csv
import gzip

import numpy as np
import pytest

from lib.errors import UserError
from lib.output import submission

IDS = np.array([5, 3, 9])
KNOWN = np.array([100, 200])


def test_written_rows_pass_the_check_and_are_the_same_bytes(tmp_path):
    paths = [tmp_path / name for name in ("a.csv.gz", "b.csv.gz")]
    for path in paths:
        submission.write(path, submission.DEFAULT_HEADER, IDS.tolist(), [100, 200, 100])
    text = gzip.decompress(paths[0].read_bytes())
    assert text == b"_id,category_id\n5,100\n3,200\n9,100\n"
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert submission.check(paths[0], submission.DEFAULT_HEADER, IDS, KNOWN) == 3


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("id,category_id\n5,100\n", "line 1: the header"),
        ("_id,category_id\n5,100\n5,100\n", "line 3: duplicate id 5"),
        ("_id,category_id\n7,100\n", "line 2: 7 is not a test product"),
        ("_id,category_id\n5,300\n", "line 2: unknown category 300"),
        ("_id,category_id\n5,x\n", "line 2: unknown category x"),
        ("_id,category_id\n5,100,1\n", "line 2: 3 fields instead of 2"),
        ("_id,category_id\n05,100\n", "line 2: 05 is not a test product"),
        ("_id,category_id\n5,100\n", "2 test products have no row"),
        ("", "line 1: the header"),
    ],
)
def test_a_wrong_submission_is_refused_with_the_number_of_the_line(tmp_path, body, words):
    path = tmp_path / "s.csv.gz"
    with gzip.open(path, "wt") as file:
        file.write(body)
    with pytest.raises(UserError, match=words):
        submission.check(path, submission.DEFAULT_HEADER, IDS, KNOWN)


def test_names_are_quoted_as_csv(tmp_path):
    path, header = tmp_path / "s.csv.gz", ("product name", "category")
    products = ['a "b", c', "line\nbreak", "plain", "007"]
    classes = ["Bras, Tanks", "Men/Tops", 'the "rest"', "Men/Tops"]
    submission.write(path, header, products, classes)
    with gzip.open(path, "rt", newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [list(header), *map(list, zip(products, classes, strict=True))]
    assert submission.check(path, header, products, classes) == 4
    with pytest.raises(UserError, match="1 test products have no row"):
        submission.check(path, header, [*products, "7"], classes)
