"""The report as one HTML file that opens from a disk and asks a network for nothing.

Its style, script, charts and pictures are inside, and its policy (CSP) forbids the rest. Sections
that hold times or settings of a machine are put in later, by `complete`: the page without them has
the same bytes in every run.
"""

import base64
import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from lib.output.report.blocks import Section

LATER_LINKS, LATER = "<!-- links of later sections -->", "<!-- later sections -->"


class Heading(NamedTuple):
    """What the page is about: the name of the experiment, and a line below it."""

    title: str
    subtitle: str


def render_page(heading: Heading, sections: Sequence[Section]) -> str:
    """The page with these sections, and places for later ones."""
    environment = _environment()
    script = _source(environment, "page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("page.html").render(
        heading=heading,
        sections=sections,
        style=Markup(_source(environment, "page.css")),
        script=Markup(script),
        policy=(
            "default-src 'none'; img-src data:; style-src 'unsafe-inline';"
            f" script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
        ),
        later_links=Markup(LATER_LINKS),
        later=Markup(LATER),
    )


def complete(page: str, sections: Sequence[Section]) -> str:
    """A page of `render_page` with more sections at its end.

    Raises ValueError where it has no place for them, or several.
    """
    template = _environment().get_template("later.html").module
    for place, part in ((LATER_LINKS, "links"), (LATER, "bodies")):
        if page.count(place) != 1:
            raise ValueError(f"{page.count(place)} places for {part} of later sections")
        page = page.replace(place, str(getattr(template, part)(sections)))
    return page


def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("lib.output.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _source(environment: Environment, name: str) -> str:
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]
