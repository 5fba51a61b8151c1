import base64
import hashlib
import re

import pytest

from lib.output.report.blocks import (
    Card,
    Chart,
    Choice,
    Gallery,
    Lines,
    Neighbor,
    Pair,
    Pairs,
    Section,
    Strip,
    Table,
    Text,
    Tile,
    Tiles,
)
from lib.output.report.charts import draw
from lib.output.report.page import Heading, complete, render_page
from tests.output.report.parts import SCRIPT

PIXEL = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="


def card(number):
    return Card(
        f"product {number} {SCRIPT}",
        [PIXEL],
        [("truth", SCRIPT)],
        [Choice(SCRIPT, "0.900", 0.9), Choice("b", "0.050", 0.05, "truth")],
        f"category {number % 2} {SCRIPT}",
        [("most confident", -number), ("product", number)],
        [Strip(SCRIPT, [Neighbor(PIXEL, SCRIPT, SCRIPT, "truth"), Neighbor("", "b", "c")], True)],
    )


def every_block():
    """A section of every kind of block, whose texts are scripts."""
    return Section(
        "all",
        SCRIPT,
        SCRIPT,
        [
            Text(SCRIPT),
            Text(SCRIPT, missing=True),
            Lines(SCRIPT, SCRIPT),
            Lines(SCRIPT, SCRIPT, folded=True),
            Tiles([Tile(SCRIPT, "1", SCRIPT, SCRIPT)]),
            Chart(draw("c", SCRIPT, lambda axes: axes.set_title(SCRIPT)), SCRIPT, SCRIPT),
            Table(SCRIPT, [SCRIPT, "n"], [[SCRIPT, 1]], SCRIPT),
            Table(SCRIPT, [SCRIPT, "n"], [[SCRIPT, 1]], SCRIPT, folded=True),
            Pairs([Pair(SCRIPT, SCRIPT, SCRIPT, [PIXEL], SCRIPT, [])], SCRIPT),
            Gallery("mistakes", [card(i) for i in range(6)], SCRIPT),
        ],
    )


def page(sections):
    later = Section("later", "Later", SCRIPT, [Text(SCRIPT)])
    return complete(render_page(Heading(SCRIPT, SCRIPT), sections), [later])


def test_whatever_a_catalog_says_shows_as_text():
    text = page([every_block()])
    assert SCRIPT not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert text.count("<script>") == 1


def test_the_page_names_no_address_of_a_network():
    assert "http:" not in page([every_block()])
    assert "https:" not in page([every_block()])


def test_the_policy_lets_the_one_script_run_and_nothing_load():
    text = page([every_block()])
    script = re.search(r"<script>(.*)</script>", text, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    assert f"script-src &#39;sha256-{digest}&#39;" in policy
    assert policy.startswith("default-src &#39;none&#39;; img-src data:;")


def test_later_sections_are_linked_and_shown():
    text = page([every_block()])
    assert '<a href="#later">Later</a>' in text
    assert '<section id="later"' in text


def test_a_page_is_complete_only_once():
    with pytest.raises(ValueError, match="0 places"):
        complete(page([every_block()]), [])


def test_equal_sections_give_equal_bytes():
    assert page([every_block()]) == page([every_block()])
