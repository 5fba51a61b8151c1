"""The page in a real browser: nothing is requested, and the gallery is used by keys."""

import pytest

from tests.browser import BROWSER, NO_BROWSER, TIMEOUT, running_chromium
from tests.output.report.parts import SCRIPT
from tests.output.report.test_page import every_block, page

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.skipif(BROWSER is None, reason=NO_BROWSER)


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """The page, its errors, and what it asked for."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(page([every_block()]))
    errors, urls = [], []
    with running_chromium() as chromium:
        tab = chromium.new_page(viewport={"width": 390, "height": 800})
        tab.set_default_timeout(TIMEOUT)
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
        tab.on("request", lambda request: urls.append(request.url))
        tab.goto(path.as_uri())
        yield tab, errors, urls, path


def test_nothing_fails_and_nothing_is_requested(opened):
    tab, errors, urls, path = opened
    assert errors == []
    assert {url for url in urls if not url.startswith("data:")} == {path.as_uri()}
    assert tab.evaluate("[...document.images].every(i => i.complete && i.naturalWidth)")


def test_scripts_show_as_text_and_nothing_is_wider_than_a_phone(opened):
    tab, *_ = opened
    assert tab.inner_text("h1") == SCRIPT
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390


def titles(tab):
    return [text.split()[1] for text in tab.locator(".card:visible h3").all_inner_texts()]


def test_cards_are_sorted_filtered_and_reached_by_keys(opened):
    tab, *_ = opened
    tab.select_option(".sort", label="most confident")
    assert titles(tab) == ["5", "4", "3", "2", "1", "0"]
    tab.select_option(".sort", label="product")
    assert titles(tab) == ["0", "1", "2", "3", "4", "5"]
    tab.evaluate("document.activeElement.blur()")
    tab.keyboard.press("/")
    tab.keyboard.type("CATEGORY 1")
    assert titles(tab) == ["1", "3", "5"]
    assert tab.inner_text(".count") == "3 of 6 products"
    tab.evaluate("document.activeElement.blur()")
    for key in "jjk":
        tab.keyboard.press(key)
    assert tab.evaluate("document.activeElement.querySelector('h3').textContent").startswith(
        "product 1 "
    )
    tab.keyboard.press("/")
    tab.keyboard.press("Escape")
    assert len(titles(tab)) == 6


def test_a_key_opens_the_neighbors_of_one_card_or_of_all(opened):
    tab, *_ = opened
    tab.evaluate("document.activeElement.blur()")
    count = "document.querySelectorAll('.strip[open]').length"
    for key, number in (("n", 6), ("n", 0), ("j", 0), ("n", 1), ("n", 0)):
        tab.keyboard.press(key)
        assert tab.evaluate(count) == number
