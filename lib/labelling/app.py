"""The labelling page, served to this machine only.

The server reveals class names, counts and pixels, never a product's name, file or class. It
answers only requests to 127.0.0.1 or localhost, so that a foreign site cannot reach it under a
name of its own (DNS rebinding), and it accepts changes only from its own page.
"""

import logging
import socket
import threading
from collections.abc import Callable
from typing import Any

import flask
import numpy as np
from werkzeug.exceptions import HTTPException
from werkzeug.serving import BaseWSGIServer, make_server

from lib.errors import UserError
from lib.labelling.images import ProductImages
from lib.labelling.items import LabellingTask
from lib.labelling.store import StalePosition, Store

ADDRESS = "127.0.0.1"
HOSTS = (ADDRESS, "localhost")
MAX_REQUEST_BYTES = 4096
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
        " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


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
    app = flask.Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = MAX_REQUEST_BYTES
    session = _Session(task, store, images, num_people)
    app.before_request(_refuse_foreign_requests)
    app.after_request(_add_headers)
    app.register_error_handler(HTTPException, _error_page)
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
        position = _integer("position", len(task))
        skipped = _body().get("class_id") is None
        class_id = None if skipped else _integer("class_id", len(task.class_names))
        following = store.answer(person, position, class_id)
        if following == len(task):
            on_finished(person)
        return session.state(person, following)

    @app.post("/person/<int:person>/undo")
    def undo(person: int) -> dict[str, Any]:
        """Remove the last label."""
        session.order(person)
        return session.state(person, store.undo(person, _integer("position", len(task) + 1)))


def _refuse_foreign_requests() -> None:
    """Answer 403 to a request for another host name, and to a change from another page."""
    request = flask.request
    if request.host.rsplit(":", 1)[0].lower() not in HOSTS:
        flask.abort(403, f"This page is available only at http://{ADDRESS} and http://localhost.")
    if request.method not in ("GET", "HEAD", "OPTIONS"):
        if request.headers.get("Origin") != f"http://{request.host}":
            flask.abort(403, "Requests from other pages are not accepted.")
        if not request.is_json:
            flask.abort(415, "A label must be sent as JSON.")


def _add_headers(response: flask.Response) -> flask.Response:
    """Add the security headers."""
    response.headers.update(HEADERS)
    return response


def _error_page(error: HTTPException) -> tuple[str, int]:
    """The page for an HTTP error."""
    return flask.render_template("error.html", text=error.description), error.code or 500


def _body() -> dict[str, Any]:
    """The JSON object of the request, or status 400."""
    body = flask.request.get_json()
    if not isinstance(body, dict):
        flask.abort(400, "A label must be a JSON object.")
    return body


def _integer(key: str, end: int) -> int:
    """An integer of the request, 0 <= value < `end`."""
    value = _body().get(key)
    if type(value) is not int or not 0 <= value < end:  # bool is a subclass of int
        flask.abort(400, f"{key} must be an integer from 0 to {end - 1}.")
    return value


def bind(port: int) -> socket.socket:
    """A socket that listens on this machine only; port 0 takes any free port.

    Raises UserError if the port is in use or not a port number.
    """
    if not 0 <= port < 65536:
        raise UserError(f"--port {port}: a port is a number from 0 to 65535")
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a restart need not wait
    try:
        bound.bind((ADDRESS, port))
        bound.listen(64)  # on Linux two sockets may bind a port until one of them listens
    except OSError as error:
        bound.close()
        raise UserError(
            f"--port {port}: {error.strerror}; choose another port, or 0 for any free one"
        ) from None
    return bound


class Server:
    """Serves the page at `url` in threads, from its creation until `close`."""

    def __init__(self, app: flask.Flask, bound: socket.socket) -> None:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)  # no line for each request
        port = bound.getsockname()[1]
        self.url = f"http://{ADDRESS}:{port}/"
        self._server: BaseWSGIServer = make_server(
            ADDRESS, port, app, threaded=True, fd=bound.fileno()
        )
        bound.close()  # the server duplicated its descriptor
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Block until the server stops or Ctrl-C is pressed."""
        while self._thread.is_alive():
            self._thread.join(1.0)

    def close(self) -> None:
        """Stop the server and wait for its thread."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
