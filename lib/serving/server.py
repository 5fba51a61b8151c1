"""A web server of this machine that loses no request when it is stopped."""

import select
from http.server import HTTPServer

from werkzeug.serving import WSGIRequestHandler

from lib.labelling.server import Server

POLL_SECONDS = 0.1  # in which `close` is noticed
READ_SECONDS = 10  # that a client may take for the next bytes of its request


class _Handler(WSGIRequestHandler):
    timeout = READ_SECONDS  # of the socket: a silent client must not hold the end up


class DrainingServer(Server):
    """Serves an application at `url` in threads, from its creation until `close`."""

    handler = _Handler
    daemon_threads = False  # `close` waits for them

    def _run(self) -> None:
        # Werkzeug's own loop closes the socket at its end, with all requests that wait there.
        HTTPServer.serve_forever(self._server, poll_interval=POLL_SECONDS)

    def close(self) -> None:
        """Answer all requests that have come, also those not yet accepted, and stop."""
        self._server.shutdown()
        self._thread.join()
        while select.select([self._server.socket], [], [], 0)[0]:
            self._server.handle_request()
        self._server.server_close()  # waits for the threads of requests
