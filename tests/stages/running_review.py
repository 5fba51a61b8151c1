"""`run_all.sh --review` as a process, and people who answer over HTTP."""

import json
import os
import re
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tests import scripts


class ReviewServer(NamedTuple):
    process: Any
    url: str
    output: Path

    def request(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        headers = {"Origin": self.url.rstrip("/"), "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        try:
            with urlopen(Request(self.url + path, data, headers), timeout=60) as response:
                return json.load(response)
        except HTTPError as error:
            if error.code != 409:  # another person was faster; the answer is what is left
                raise
            return json.load(error)

    def decide(self, person: int, count: int, given: dict[str, str]) -> int:
        """Answer up to `count` products: the second class, but one is skipped, one is in no class.

        given: takes the answers, by product. Returns how many are decided by anyone.
        """
        state = self.request(f"person/{person}/state")
        while count > 0 and (item := state["item"]) is not None:
            kind = "absent" if len(given) == 1 else "class"
            body = {"product": item["product"], "kind": kind}
            if kind == "class":
                body["class_id"] = item["choices"][1][0]
            state = self.request(f"person/{person}/answer", body)
            if (state["last"] or {}).get("product") == item["product"]:
                given[item["product"]] = state["last"]["said"]
                count -= 1
        return state["decided"]

    def stop(self, kind: signal.Signals) -> str:
        """Send a signal; returns all that was printed."""
        os.kill(self.process.pid, kind)
        self.process.join()
        return self.output.read_text()


@contextmanager
def open_review(*arguments: str) -> Iterator[ReviewServer]:
    """`run_all.sh --review` as a process, once its page answers."""
    command = [*arguments, "--review"]
    with tempfile.TemporaryDirectory() as outputs:
        streams = [Path(outputs) / name for name in ("stdout", "stderr")]
        process = scripts.fork_cli(command, streams)
        try:
            while not (found := re.search(r"open (http://\S+)\n", read_text(streams[0]))):
                assert process.is_alive(), read_text(streams[1])
                time.sleep(0.05)
            yield ReviewServer(process, found[1], streams[0])
        finally:
            process.kill()
            process.join()


def read_text(path: Path) -> str:
    return path.read_text() if path.exists() else ""
