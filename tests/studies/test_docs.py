"""The sections of docs/quickdraw.md are what the studies write from the CSV files beside it."""

import csv
from argparse import Namespace
from dataclasses import replace

import pytest

from lib.config.schema import Config
from studies import quickdraw_classes, quickdraw_imbalance, quickdraw_rasters
from tests.conftest import ROOT

DOCS = ROOT / "docs"
PAGE = (DOCS / "quickdraw.md").read_text()
MODEL = {"model": "cnn2", "epochs": 10}


def read(name):
    """The rows of a CSV file with numbers in place of their text."""
    with (DOCS / "quickdraw" / f"{name}.csv").open(newline="") as file:
        return [{key: number(text) for key, text in row.items()} for row in csv.DictReader(file)]


def recorded(section):
    """A section in the words of its record, which is older than the held-out fold."""
    section = section.replace("held-out drawings (fold 0)", "locked drawings")
    return section.replace("held-out drawing", "locked drawing")


def number(text):
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


@pytest.mark.parametrize(
    ("name", "pair", "num_test", "seeds"),
    [("pair", ("fork", "hammer"), 40, 5), ("large", ("shoe", "spoon"), 1600, 3)],
)
def test_the_section_of_a_rare_category(name, pair, num_test, seeds):
    rows = read(f"imbalance_quickdraw_{name}")
    arguments = Namespace(majority=pair[0], minority=pair[1], seeds=seeds, **MODEL)
    config = replace(Config(), name=f"quickdraw_{name}")
    section = quickdraw_imbalance.section(config, rows, rows[0]["common"], num_test, arguments)
    assert recorded(section) in PAGE


@pytest.mark.parametrize(
    ("name", "num_eligible", "seeds"), [("quickdraw", 10, 3), ("quickdraw_large", 14, 2)]
)
def test_the_section_of_categories_and_drawings(name, num_eligible, seeds):
    rows = read(f"classes_{name}")
    categories, drawings = ([row[key] for row in rows] for key in ("categories", "drawings"))
    arguments = Namespace(categories=categories, drawings=drawings, seeds=seeds, **MODEL)
    section = quickdraw_classes.section(replace(Config(), name=name), num_eligible, rows, arguments)
    assert section in PAGE


def test_the_section_of_rasterized_strokes():
    section = quickdraw_rasters.section(read("rasters"), 158, 18, Namespace(seeds=2))
    assert recorded(section) in PAGE
