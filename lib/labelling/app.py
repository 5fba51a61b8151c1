"""The page on which people label, for this machine alone (Q2).

What leaves the server are the names of all classes, numbers of places and pixels: never a product's
name, file or class. A request must be addressed to this machine by name (a foreign page could
otherwise have its own name point here), and whatever changes something must come from the page.
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
from lib.labelling.images import Pictures
from lib.labelling.items import LabellingTask
from lib.labelling.store import StalePosition, Store

ADDRESS = "127.0.0.1"
HOSTS = (ADDRESS, "localhost")
LARGEST = 4096  # bytes of a request
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


def create_app(
    sheet: LabellingTask,
    store: Store,
    pictures: Pictures,
    people: int,
    ended: Callable[[int], None] = lambda person: None,
) -> flask.Flask:
    """The page for persons 1 to `people`; `ended(person)` is called at each last label."""
    app = flask.Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = LARGEST
    orders = {person: sheet.order(person) for person in range(1, people + 1)}

    def order_of(person: int) -> np.ndarray:
        if person not in orders:
            flask.abort(404, f"There is no person {person} here, only 1 to {people}.")
        return orders[person]

    def product(person: int, place: int) -> int:
        order = order_of(person)
        if place >= len(order):
            flask.abort(404, "There is no such drawing.")
        return int(sheet.products[order[place]])

    def state(person: int, stands: int) -> dict[str, Any]:
        """What the page is to show: how many pictures has the next drawing, and the one after."""
        places = range(stands, min(stands + 2, len(sheet)))
        counts = [pictures.count(product(person, place)) for place in places]
        return {"place": stands, "total": len(sheet), "pictures": counts}

    @app.before_request
    def guard() -> None:
        _stop_strangers(flask.request)

    @app.after_request
    def harden(response: flask.Response) -> flask.Response:
        response.headers.update(HEADERS)
        return response

    @app.errorhandler(HTTPException)
    def explain(error: HTTPException) -> tuple[str, int]:
        return flask.render_template("error.html", text=error.description), error.code or 500

    @app.errorhandler(StalePosition)
    def stand(error: StalePosition) -> tuple[dict[str, Any], int]:
        assert flask.request.view_args is not None
        return state(flask.request.view_args["person"], error.stands), 409

    @app.get("/")
    def start() -> str:
        rows = [(person, store.stands(person)) for person in orders]
        return flask.render_template("start.html", rows=rows, total=len(sheet))

    @app.get("/person/<int:person>")
    def page(person: int) -> str:
        order_of(person)
        return flask.render_template(
            "person.html", person=person, people=people, total=len(sheet), names=sheet.names
        )

    @app.get("/person/<int:person>/state")
    def standing(person: int) -> dict[str, Any]:
        order_of(person)
        return state(person, store.stands(person))

    @app.get("/person/<int:person>/picture/<int:place>/<int:position>")
    def picture(person: int, place: int, position: int) -> flask.Response:
        asked = product(person, place)
        if position >= pictures.count(asked):
            flask.abort(404, "There is no such picture.")
        return flask.Response(pictures.png(asked, position), mimetype="image/png")

    @app.post("/person/<int:person>/answer")
    def answer(person: int) -> dict[str, Any]:
        order_of(person)
        place = _number("place", len(sheet))
        cls = None if _said().get("class") is None else _number("class", len(sheet.names))
        stands = store.answer(person, place, cls)
        if stands == len(sheet):
            ended(person)
        return state(person, stands)

    @app.post("/person/<int:person>/undo")
    def undo(person: int) -> dict[str, Any]:
        order_of(person)
        return state(person, store.undo(person, _number("place", len(sheet) + 1)))

    return app


def _stop_strangers(request: flask.Request) -> None:
    """Answers 403 to what is addressed to another name, or asked for by another's page."""
    if request.host.rsplit(":", 1)[0].lower() not in HOSTS:
        flask.abort(403, f"This page is at http://{ADDRESS} and http://localhost alone.")
    if request.method not in ("GET", "HEAD", "OPTIONS"):
        if request.headers.get("Origin") != f"http://{request.host}":
            flask.abort(403, "This page takes nothing from other pages.")
        if not request.is_json:
            flask.abort(415, "A label is sent as JSON.")


def _said() -> dict[str, Any]:
    said = flask.request.get_json()
    if not isinstance(said, dict):
        flask.abort(400, "A label is an object.")
    return said


def _number(key: str, below: int) -> int:
    """A whole number of the request, from 0 to below `below`."""
    value = _said().get(key)
    if type(value) is not int or not 0 <= value < below:  # True is an int, and no place
        flask.abort(400, f"{key} must be a whole number from 0 to {below - 1}.")
    return value


def bind(port: int) -> socket.socket:
    """A socket that hears this machine alone; port 0: any free one. Raises UserError if taken."""
    if not 0 <= port < 65536:
        raise UserError(f"--port {port}: a port is a number from 0 to 65535")
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a restart need not wait
    try:
        bound.bind((ADDRESS, port))
        bound.listen(64)  # on Linux a port may be bound twice until one of the two listens
    except OSError as error:
        bound.close()
        raise UserError(
            f"--port {port}: {error.strerror}; choose another, or 0 for any free one"
        ) from None
    return bound


class Server:
    """Serves the page in threads, from now until it is closed; `url` is where."""

    def __init__(self, app: flask.Flask, bound: socket.socket) -> None:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)  # no line for every picture
        port = bound.getsockname()[1]
        self.url = f"http://{ADDRESS}:{port}/"
        self._server: BaseWSGIServer = make_server(
            ADDRESS, port, app, threaded=True, fd=bound.fileno()
        )
        bound.close()  # the server has its own handle of it
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Until the thread ends, or Ctrl-C."""
        while self._thread.is_alive():
            self._thread.join(1.0)

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
