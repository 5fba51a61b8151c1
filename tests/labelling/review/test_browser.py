"""The review page in a real browser: two people, search, undo, and a server that is gone."""

from collections.abc import Iterator

import numpy as np
import pytest

from lib.data.catalog import Categories
from lib.labelling.images import ProductImages
from lib.labelling.review.app import ReviewPage, create_app
from lib.labelling.review.log import ABSENT, CLASS, SKIP, decisions
from lib.labelling.review.queue import ReviewQueue
from lib.labelling.review.task import ReviewTask, make_label_task
from lib.labelling.server import Server, bind
from lib.output.report.names import ClassNames
from lib.output.report.part import TopClass
from lib.similarity.nearest_products import NearestProducts
from tests.browser import BROWSER, NO_BROWSER, TIMEOUT, running_chromium
from tests.labelling.review.conftest import NUM_OPEN

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.skipif(BROWSER is None, reason=NO_BROWSER)
WIDTHS = (1280, 390)


@pytest.fixture(scope="module")
def chromium():
    with running_chromium() as browser:
        yield browser


@pytest.fixture
def server(app) -> Iterator[Server]:
    opened = Server(app, bind(0))
    yield opened
    opened.close()


class Person:
    """A person with a separate browser context."""

    def __init__(self, chromium, url: str, number: int, width: int = 1280) -> None:
        self.context = chromium.new_context(viewport={"width": width, "height": 900})
        self.context.set_default_timeout(TIMEOUT)
        self.page = self.context.new_page()
        self.errors: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)
        urls = self.urls = []
        self.page.on("request", lambda request: urls.append(request.url))
        self.page.goto(f"{url}person/{number}")
        sync_api.expect(self.page.locator("#question")).to_be_visible(timeout=TIMEOUT)

    @property
    def product(self) -> str:
        return self.page.locator("#product").inner_text()

    def press(self, *keys: str, last: str) -> None:
        """Press keys, and wait until the page names the last answer."""
        for key in keys:
            self.page.keyboard.press(key)
        shown = self.page.locator("#previous")
        sync_api.expect(shown).to_have_text(f"Last answer: {last}" if last else "\u00a0")

    def close(self) -> None:
        assert self.errors == []
        self.context.close()


def place_of(task: ReviewTask, person: Person) -> int:
    return task.keys.index(person.product)


def test_two_people_decide_forty_products_by_keys(task, log, server, chromium):
    people = [Person(chromium, server.url, number) for number in (1, 2)]
    assert people[0].product != people[1].product
    expected = {}
    for turn in range(NUM_OPEN):
        person = people[turn % 2]
        place, rank = place_of(task, person), turn % 5
        chosen = int(task.choices[place, rank])
        person.page.keyboard.press(str(rank + 1))
        progress = person.page.locator("#progress")  # of both; the other's page hears of it later
        sync_api.expect(progress).to_have_text(f"{turn + 1} of {NUM_OPEN}")
        expected[task.keys[place]] = task.class_keys[chosen]
    for person in people:
        person.page.reload()
        sync_api.expect(person.page.locator("#thanks")).to_be_visible()
        sync_api.expect(person.page.locator("#progress")).to_have_text("40 of 40")
        assert "20 by you" in person.page.locator("#rest").inner_text()
        assert all(url.startswith((server.url, "data:")) for url in person.urls)
        person.close()
    stand = decisions(log.answers())
    assert {product: answer.class_key for product, answer in stand.items()} == expected


def test_the_present_label_is_one_of_the_choices(task, log, chromium):
    """1 keeps it, 2 takes the suggestion, whose probability may not be known."""
    products = task.products[:2]
    names = ClassNames(Categories(np.arange(12), [("x", "", f"class {c}") for c in range(12)]))
    label = task.catalog.label[products]
    near = NearestProducts(*(np.tile(column[:1], (1000, 1)) for column in task.near))
    tops = [[TopClass(int(label[0]), 0.25)], []]
    made = make_label_task(
        task.catalog, products, ["suspicious", "suspicious"], (label + 1) % 12, tops, near, names
    )
    images = ProductImages(made.catalog, most=None)
    app = create_app(ReviewPage(made, ReviewQueue(log, made.keys), images, images, 1))
    server = Server(app, bind(0))
    person = Person(chromium, server.url, 1)
    first = person.page.locator("#choices button").first
    assert first.inner_text().split("\n")[-2:] == ["present label", "25 %"]
    assert person.page.locator("#choices .share").nth(1).inner_text() == ""
    assert "1 keeps the present label" in " ".join(
        person.page.locator("#help").inner_text().split()
    )
    person.press("1", last=f"x > class {label[0]}")
    person.press("2", last=f"x > class {(label[1] + 1) % 12}")
    sync_api.expect(person.page.locator("#thanks")).to_be_visible()
    person.close()
    server.close()
    images.close()


def test_search_near_products_skip_and_undo(task, log, server, chromium):
    person = Person(chromium, server.url, 1)
    sync_api.expect(person.page.locator("#images img")).to_have_count(
        int(task.catalog.image_count[task.products[0]])
    )
    loaded = "images => images.every(image => image.naturalWidth > 0)"
    assert person.page.locator("#images img, #near img").evaluate_all(loaded)
    assert person.page.locator("#list").is_hidden()
    person.press("/", last="")
    person.page.keyboard.type("no such name")
    person.page.keyboard.press("Enter")
    person.page.keyboard.press("Escape")
    person.page.keyboard.press("9")  # no choice has this key
    person.page.keyboard.press("Control+1")  # a shortcut of the browser
    assert log.answers() == []

    leaf = task.class_names[7].split(" > ")[-1]
    person.page.keyboard.press("/")
    person.page.keyboard.type(leaf.lower())
    person.press("Enter", last=task.class_names[7])
    person.press("n", last="not in the list")
    person.press("s", last="skipped")
    near = int(task.catalog.label[task.near.product[3, 0]])
    person.page.locator("#near button").first.click()
    person.press(last=task.class_names[near])
    sync_api.expect(person.page.locator("#progress")).to_have_text("3 of 40")
    person.press("u", last="skipped")
    person.press("Backspace", last="not in the list")
    sync_api.expect(person.page.locator("#product")).to_have_text(task.keys[2])
    person.press("1", last=task.class_names[int(task.choices[2, 0])])
    person.close()
    kinds = [answer.kind for answer in decisions(log.answers()).values()]
    assert sorted(kinds) == sorted([CLASS, ABSENT, CLASS])
    assert [answer.kind for answer in log.answers()].count(SKIP) == 1


def test_a_tab_that_falls_behind_and_a_server_that_is_gone(task, log, app, chromium):
    server = Server(app, bind(0))
    first, second = (Person(chromium, server.url, 1) for _ in range(2))
    first.press("1", last=task.class_names[int(task.choices[0, 0])])
    second.page.keyboard.press("2")
    message = second.page.locator("#message")
    sync_api.expect(message).to_contain_text("was decided meanwhile")
    sync_api.expect(second.page.locator("#product")).to_have_text(task.keys[1])
    assert len(log.answers()) == 1
    server.close()
    second.page.keyboard.press("2")
    sync_api.expect(message).to_contain_text("does not respond")
    first.close()
    second.context.close()


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_fits_a_phone_and_names_are_text(task, server, chromium, width):
    evil = "<script>alert(1)</script>"
    names = list(task.class_names)
    task.class_names[:] = [f"{evil} > {name}" for name in names]
    try:
        person = Person(chromium, server.url, 1, width)
        assert person.page.evaluate("document.documentElement.scrollWidth") <= width
        assert evil in person.page.locator("#choices").inner_text()
        person.close()
    finally:
        task.class_names[:] = names
