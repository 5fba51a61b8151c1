"""The labelling page, served to this machine only.

The server reveals class names, counts and pixels, never a product's name, file or class.
"""

from collections.abc import Callable
from typing import Any

import flask
import numpy as np

from lib.labelling.images import ProductImages
from lib.labelling.items import LabellingTask
from lib.labelling.server import local_app, request_body, request_integer
from lib.labelling.store import StalePosition, Store


class _Session:
    """The state of every person's work: what the page shows next."""

    def __init__(
        self, task: LabellingTask, store: Store, images: ProductImages, num_people: int
    ) -> None:
        self.task, self.store, self.images = task, store, images
        self.num_people = num_people
        self.orders = {person: task.order(person) for person in range(1, num_people + 1)}

    def order(self, person: int) -> np.ndarray:
        """The person's order of the items, or status 404."""
        if person not in self.orders:
            flask.abort(404, f"There is no person {person}, only 1 to {self.num_people}.")
        return self.orders[person]

    def product(self, person: int, position: int) -> int:
        """The product at a person's position, or status 404."""
        order = self.order(person)
        if position >= len(order):
            flask.abort(404, "There is no such product.")
        return int(self.task.products[order[position]])

    def state(self, person: int, position: int) -> dict[str, Any]:
        """The position and the number of images of its product and of the next one."""
        shown = range(position, min(position + 2, len(self.task)))
        counts = [self.images.count(self.product(person, p)) for p in shown]
        return {"position": position, "total": len(self.task), "images": counts}


def create_app(
    task: LabellingTask,
    store: Store,
    images: ProductImages,
    num_people: int,
    on_finished: Callable[[int], None] = lambda person: None,
) -> flask.Flask:
    """The web application for persons 1 to `num_people`.

    `on_finished(person)` is called after a person's last label.
    """
    app = local_app()
    session = _Session(task, store, images, num_people)
    _add_pages(app, session)
    _add_actions(app, session, on_finished)
    return app


def _add_pages(app: flask.Flask, session: _Session) -> None:
    """The routes that only read."""
    task, store = session.task, session.store

    @app.get("/")
    def start() -> str:
        """The list of people with their progress."""
        rows = [(person, store.position(person)) for person in session.orders]
        return flask.render_template("start.html", rows=rows, total=len(task))

    @app.get("/person/<int:person>")
    def page(person: int) -> str:
        """The page on which a person labels."""
        session.order(person)
        return flask.render_template(
            "person.html",
            person=person,
            num_people=session.num_people,
            total=len(task),
            class_names=task.class_names,
        )

    @app.get("/person/<int:person>/state")
    def state(person: int) -> dict[str, Any]:
        """The person's current position."""
        session.order(person)
        return session.state(person, store.position(person))

    @app.get("/person/<int:person>/image/<int:position>/<int:index>")
    def image(person: int, position: int, index: int) -> flask.Response:
        """An image as PNG."""
        product = session.product(person, position)
        if index >= session.images.count(product):
            flask.abort(404, "There is no such image.")
        return flask.Response(session.images.png(product, index), mimetype="image/png")


def _add_actions(app: flask.Flask, session: _Session, on_finished: Callable[[int], None]) -> None:
    """The routes that write labels."""
    task, store = session.task, session.store

    @app.errorhandler(StalePosition)
    def stale(error: StalePosition) -> tuple[dict[str, Any], int]:
        """Status 409 with the person's real position."""
        assert flask.request.view_args is not None
        return session.state(flask.request.view_args["person"], error.position), 409

    @app.post("/person/<int:person>/answer")
    def answer(person: int) -> dict[str, Any]:
        """Record a class, or none for "I cannot tell"."""
        session.order(person)
        position = request_integer("position", len(task))
        skipped = request_body().get("class_id") is None
        class_id = None if skipped else request_integer("class_id", len(task.class_names))
        following = store.answer(person, position, class_id)
        if following == len(task):
            on_finished(person)
        return session.state(person, following)

    @app.post("/person/<int:person>/undo")
    def undo(person: int) -> dict[str, Any]:
        """Remove the last label."""
        session.order(person)
        return session.state(person, store.undo(person, request_integer("position", len(task) + 1)))
