"""A web server of this machine that loses no request when it is stopped."""

import logging
import select
import socket
import threading
from http.server import HTTPServer

import flask
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from lib.labelling.server import ADDRESS

POLL_SECONDS = 0.1  # in which `close` is noticed
READ_SECONDS = 10  # that a client may take for the next bytes of its request


class _Handler(WSGIRequestHandler):
    timeout = READ_SECONDS  # of the socket: a silent client must not hold the end up


class DrainingServer:
    """Serves an application at `url` in threads, from its creation until `close`."""

    def __init__(self, app: flask.Flask, bound: socket.socket) -> None:
        """bound: a socket of `lib.labelling.server.bind`, which this closes."""
        logging.getLogger("werkzeug").setLevel(logging.ERROR)  # no line for each request
        port = bound.getsockname()[1]
        self.url = f"http://{ADDRESS}:{port}/"
        self._server: BaseWSGIServer = make_server(
            ADDRESS, port, app, threaded=True, fd=bound.fileno(), request_handler=_Handler
        )
        bound.close()  # the server duplicated its descriptor
        self._server.daemon_threads = False  # type: ignore[attr-defined]  # so that `close` waits
        # Werkzeug's own loop closes the socket at its end, with all requests that wait there.
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        HTTPServer.serve_forever(self._server, poll_interval=POLL_SECONDS)

    def close(self) -> None:
        """Answer all requests that have come, also those not yet accepted, and stop."""
        self._server.shutdown()
        self._thread.join()
        while select.select([self._server.socket], [], [], 0)[0]:
            self._server.handle_request()
        self._server.server_close()  # waits for the threads of requests
