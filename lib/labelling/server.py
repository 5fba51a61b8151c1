"""A web server that answers this machine alone: its address, its headers, what it refuses.

It answers only requests to 127.0.0.1 or localhost, so that a foreign site cannot reach it under a
name of its own (DNS rebinding), and it accepts changes only from its own page.
"""

import logging
import socket
import threading
from typing import Any

import flask
from werkzeug.exceptions import HTTPException
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from lib.errors import UserError

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


def local_app() -> flask.Flask:
    """An application without routes, with the templates and files of the pages of this package."""
    app = flask.Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = MAX_REQUEST_BYTES
    app.before_request(_refuse_foreign_requests)
    app.after_request(_add_headers)
    app.register_error_handler(HTTPException, _error_page)
    return app


def request_body() -> dict[str, Any]:
    """The JSON object of the request, or status 400."""
    body = flask.request.get_json()
    if not isinstance(body, dict):
        flask.abort(400, "A label must be a JSON object.")
    return body


def request_integer(key: str, end: int) -> int:
    """An integer of the request, 0 <= value < `end`."""
    value = request_body().get(key)
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

    handler: type[WSGIRequestHandler] | None = None  # Werkzeug's own
    daemon_threads = True  # `close` does not wait for requests that are being answered

    def __init__(self, app: flask.Flask, bound: socket.socket) -> None:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)  # no line for each request
        port = bound.getsockname()[1]
        self.url = f"http://{ADDRESS}:{port}/"
        self._server: BaseWSGIServer = make_server(
            ADDRESS, port, app, threaded=True, fd=bound.fileno(), request_handler=self.handler
        )
        bound.close()  # the server duplicated its descriptor
        self._server.daemon_threads = self.daemon_threads  # type: ignore[attr-defined]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self._server.serve_forever()

    def wait(self) -> None:
        """Block until the server stops or Ctrl-C is pressed."""
        while self._thread.is_alive():
            self._thread.join(1.0)

    def close(self) -> None:
        """Stop the server and wait for its thread."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


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
