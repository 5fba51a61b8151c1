"""The page in a real browser, used by keys alone."""

import pytest

from lib.labelling.items import LabellingTask
from lib.labelling.store import Store
from tests.browser import BROWSER, NO_BROWSER, TIMEOUT, running_chromium
from tests.labelling.conftest import make_task
from tests.labelling.running_page import running_page

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.skipif(BROWSER is None, reason=NO_BROWSER)
NUM_ITEMS = 20


@pytest.fixture(scope="module")
def chromium():
    with running_chromium() as browser:
        yield browser


class Person:
    """A person with a separate browser context."""

    def __init__(self, chromium, url: str) -> None:
        self.context = chromium.new_context()
        self.context.set_default_timeout(TIMEOUT)
        self.page = self.context.new_page()
        self.errors: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)
        urls = self.urls = []
        self.page.on("request", lambda request: urls.append(request.url))
        self.page.goto(url)

    def expect_position(self, position: int) -> None:
        """Wait until this many products are labelled and the next one is visible."""
        progress = self.page.locator("#progress")
        sync_api.expect(progress).to_have_text(f"{position} of {NUM_ITEMS}", timeout=TIMEOUT)
        if position < NUM_ITEMS:
            sync_api.expect(self.page.locator("#images img").first).to_be_visible(timeout=TIMEOUT)

    def press(self, key: str, then: int) -> None:
        self.page.keyboard.press(key)
        self.expect_position(then)

    def close(self) -> None:
        assert self.errors == []
        self.context.close()


def truth_of(task: LabellingTask, person: int) -> list[int]:
    """The true class ids in the person's order."""
    return task.truth[task.order(person)].tolist()


def test_twenty_products_are_labelled_by_keys(four_classes, tmp_path, chromium):
    """Label, close, resume, undo, finish: 16 correct, 3 wrong, 1 skipped."""
    path, config = four_classes
    truth = truth_of(make_task(config, NUM_ITEMS)[1], 1)
    wrong = {2, 7, 11}
    keys = [
        str((class_id + (position in wrong)) % 4 + 1) for position, class_id in enumerate(truth)
    ]
    keys[5] = "s"
    data = tmp_path / "labels.sqlite"
    with running_page(path, data, "--items", str(NUM_ITEMS)) as server:
        person = Person(chromium, server.url)
        person.page.get_by_text("Person 1").click()
        person.expect_position(0)
        for position in range(8):
            person.press(keys[position], position + 1)
        person.page.keyboard.press("9")  # no such class
        person.page.keyboard.press("Control+1")  # a shortcut of the browser
        person.press("u", 7)
        person.press("Backspace", 6)
        person.close()
        person = Person(chromium, f"{server.url}person/1")
        person.expect_position(6)
        for position in range(6, 12):
            person.press(keys[position], position + 1)
        server.kill()
        person.page.keyboard.press(keys[12])
        message = person.page.locator("#message")
        sync_api.expect(message).to_contain_text("does not respond", timeout=TIMEOUT)
        person.context.close()
    with running_page(path, data) as server:
        person = Person(chromium, f"{server.url}person/1")
        other = Person(chromium, f"{server.url}person/1")  # a second tab that falls behind
        person.expect_position(12)
        other.expect_position(12)
        for position in range(12, NUM_ITEMS):
            person.press(keys[position], position + 1)
        assert person.page.get_by_text("Done, thank you! Your labels are saved.").is_visible()
        other.page.keyboard.press("1")
        other.expect_position(NUM_ITEMS)
        person.press("u", NUM_ITEMS - 1)
        person.press(keys[-1], NUM_ITEMS)
        assert all(url.startswith((server.url, "data:")) for url in person.urls)
        person.close()
        other.context.close()
        report = server.interrupt()
    assert "| person 1 | 80.0 (58.4..91.9) | 20 of 20 | 1 |" in report
    with Store(data) as store:
        expected = [-1 if key == "s" else int(key) - 1 for key in keys]
        assert store.labels(1, NUM_ITEMS).tolist() == expected


def test_many_classes_are_selected_by_typing(twelve_classes, tmp_path, chromium):
    path, config = twelve_classes
    _, task = make_task(config, NUM_ITEMS)
    truth = truth_of(task, 2)
    data = tmp_path / "labels.sqlite"
    with running_page(path, data, "--items", str(NUM_ITEMS)) as server:
        person = Person(chromium, f"{server.url}person/2")
        person.expect_position(0)
        assert person.page.locator("#list li").count() == 12
        person.page.keyboard.press("Enter")  # no class is selected yet
        person.page.keyboard.type("nothing has this name")
        assert person.page.locator("#list li").count() == 0
        person.page.keyboard.press("Enter")
        person.page.keyboard.press("Escape")
        for position in range(3):
            person.page.keyboard.type(task.class_names[truth[position]])
            person.press("Enter", position + 1)
        person.press("?", 4)
        person.press("Backspace", 3)
        person.page.keyboard.type("x")
        person.page.keyboard.press("Backspace")  # edits the field, does not undo
        person.expect_position(3)
        person.page.keyboard.press("ArrowDown")
        person.page.keyboard.press("ArrowDown")
        second = person.page.locator("#list li").nth(1)
        assert second.get_attribute("aria-selected") == "true"
        field = person.page.locator("#filter")
        assert field.get_attribute("aria-activedescendant") == second.get_attribute("id")
        chosen = int(second.get_attribute("data-class-id"))
        person.press("Enter", 4)
        person.page.locator("#list li").nth(0).click()
        person.expect_position(5)
        person.close()
    with Store(data) as store:
        assert store.labels(2, NUM_ITEMS)[:4].tolist() == [*truth[:3], chosen]
        assert store.position(2) == 5


def test_text_has_enough_contrast_in_both_color_schemes(four_classes, tmp_path, chromium):
    """WCAG asks for a ratio of 4.5."""
    with running_page(
        four_classes[0], tmp_path / "labels.sqlite", "--items", str(NUM_ITEMS)
    ) as server:
        for scheme in ("light", "dark"):
            person = Person(chromium, f"{server.url}person/1")
            person.expect_position(0)
            person.page.emulate_media(color_scheme=scheme)
            for name in ("#title", "#help", "#skip", "header a"):
                assert _contrast(person.page.locator(name)) >= 4.5, (scheme, name)
            person.close()


def _contrast(locator) -> float:
    script = """e => {
        let ground = e;
        const of = (x) => getComputedStyle(x).backgroundColor;
        while (of(ground) === "rgba(0, 0, 0, 0)") ground = ground.parentElement;
        return [getComputedStyle(e).color, of(ground)];
    }"""
    luminances = []
    for color in locator.evaluate(script):
        parts = [int(x) / 255 for x in color[color.index("(") + 1 : -1].split(",")[:3]]
        linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
        luminances.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    return (max(luminances) + 0.05) / (min(luminances) + 0.05)
