"""The page in a real browser, by its keys alone."""

import shutil

import pytest

from lib.labelling.items import LabellingTask
from lib.labelling.store import Store
from tests.labelling.conftest import sheet_of
from tests.labelling.served import served

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = pytest.mark.skipif(
    BROWSER is None, reason="no Chromium is installed (apt-get install chromium)"
)
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync"
)
COUNT = 20
PATIENCE = 60_000  # milliseconds, on a busy machine


@pytest.fixture(scope="module")
def chromium():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=FLAGS.split())
        yield browser
        browser.close()


class Person:
    """Someone with a browser of their own."""

    def __init__(self, chromium, url: str) -> None:
        self.context = chromium.new_context()
        self.context.set_default_timeout(PATIENCE)
        self.page = self.context.new_page()
        self.faults: list[str] = []
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", lambda m: self.faults.append(m.text) if m.type == "error" else None)
        asked = self.asked = []
        self.page.on("request", lambda request: asked.append(request.url))
        self.page.goto(url)

    def stands(self, place: int) -> None:
        """Wait until so many are labelled."""
        progress = self.page.locator("#progress")
        sync_api.expect(progress).to_have_text(f"{place} of {COUNT}", timeout=PATIENCE)
        if place < COUNT:
            sync_api.expect(self.page.locator("#pictures img").first).to_be_visible(
                timeout=PATIENCE
            )

    def press(self, key: str, then: int) -> None:
        self.page.keyboard.press(key)
        self.stands(then)

    def leave(self) -> None:
        assert self.faults == []
        self.context.close()


def truth_of(sheet: LabellingTask, person: int) -> list[int]:
    return sheet.truth[sheet.order(person)].tolist()


def test_twenty_drawings_by_keys(few, tmp_path, chromium):
    """Labelled, closed, resumed, undone, finished; 16 right, 3 wrong, 1 passed."""
    path, config = few
    truth = truth_of(sheet_of(config, COUNT)[1], 1)
    wrong = {2, 7, 11}
    keys = [str((cls + (place in wrong)) % 4 + 1) for place, cls in enumerate(truth)]
    keys[5] = "s"
    data = tmp_path / "labels.sqlite"
    with served(path, data, "--drawings", str(COUNT)) as server:
        one = Person(chromium, server.url)
        one.page.get_by_text("Person 1").click()
        one.stands(0)
        for place in range(8):
            one.press(keys[place], place + 1)
        one.page.keyboard.press("9")  # no such class
        one.page.keyboard.press("Control+1")  # the browser's own
        one.press("u", 7)
        one.press("Backspace", 6)
        one.leave()
        one = Person(chromium, f"{server.url}person/1")
        one.stands(6)
        for place in range(6, 12):
            one.press(keys[place], place + 1)
        server.process.kill()
        server.process.wait()
        one.page.keyboard.press(keys[12])
        told = one.page.locator("#message")
        sync_api.expect(told).to_contain_text("does not answer", timeout=PATIENCE)
        one.context.close()
    with served(path, data) as server:
        one = Person(chromium, f"{server.url}person/1")
        other = Person(chromium, f"{server.url}person/1")  # a second tab that falls behind
        one.stands(12)
        other.stands(12)
        for place in range(12, COUNT):
            one.press(keys[place], place + 1)
        assert one.page.get_by_text("Done, thank you; your labels are saved.").is_visible()
        other.page.keyboard.press("1")
        other.stands(COUNT)
        one.press("u", COUNT - 1)
        one.press(keys[-1], COUNT)
        assert all(url.startswith((server.url, "data:")) for url in one.asked)
        one.leave()
        other.context.close()
        report = server.end()
    assert "| person 1 | 80.0 (58.4..91.9) | 20 of 20 | 1 |" in report
    with Store(data) as store:
        wanted = [-1 if key == "s" else int(key) - 1 for key in keys]
        assert store.answers(1, COUNT).tolist() == wanted


def test_many_classes_by_typing(many, tmp_path, chromium):
    path, config = many
    _, sheet = sheet_of(config, COUNT)
    truth = truth_of(sheet, 2)
    data = tmp_path / "labels.sqlite"
    with served(path, data, "--drawings", str(COUNT)) as server:
        one = Person(chromium, f"{server.url}person/2")
        one.stands(0)
        assert one.page.locator("#list li").count() == 12
        one.page.keyboard.press("Enter")  # nothing is chosen yet
        one.page.keyboard.type("nothing has this name")
        assert one.page.locator("#list li").count() == 0
        one.page.keyboard.press("Enter")
        one.page.keyboard.press("Escape")
        for place in range(3):
            one.page.keyboard.type(sheet.names[truth[place]])
            one.press("Enter", place + 1)
        one.press("?", 4)
        one.press("Backspace", 3)
        one.page.keyboard.type("x")
        one.page.keyboard.press("Backspace")  # of the field alone
        one.stands(3)
        one.page.keyboard.press("ArrowDown")
        one.page.keyboard.press("ArrowDown")
        second = one.page.locator("#list li").nth(1)
        assert second.get_attribute("aria-selected") == "true"
        field = one.page.locator("#filter")
        assert field.get_attribute("aria-activedescendant") == second.get_attribute("id")
        chosen = int(second.get_attribute("data-class"))
        one.press("Enter", 4)
        one.page.locator("#list li").nth(0).click()
        one.stands(5)
        one.leave()
    with Store(data) as store:
        assert store.answers(2, COUNT)[:4].tolist() == [*truth[:3], chosen]
        assert store.stands(2) == 5


def test_colours_of_the_night_are_readable(few, tmp_path, chromium):
    """Text and ground differ enough (WCAG: 4.5) in either scheme."""
    with served(few[0], tmp_path / "labels.sqlite", "--drawings", str(COUNT)) as server:
        for scheme in ("light", "dark"):
            one = Person(chromium, f"{server.url}person/1")
            one.stands(0)
            one.page.emulate_media(color_scheme=scheme)
            for name in ("#question", "#help", "#skip", "header a"):
                assert _contrast(one.page.locator(name)) >= 4.5, (scheme, name)
            one.leave()


def _contrast(found) -> float:
    script = """e => {
        let ground = e;
        const of = (x) => getComputedStyle(x).backgroundColor;
        while (of(ground) === "rgba(0, 0, 0, 0)") ground = ground.parentElement;
        return [getComputedStyle(e).color, of(ground)];
    }"""
    shades = []
    for colour in found.evaluate(script):
        parts = [int(x) / 255 for x in colour[colour.index("(") + 1 : -1].split(",")[:3]]
        linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
        shades.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    return (max(shades) + 0.05) / (min(shades) + 0.05)
