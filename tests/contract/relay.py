"""A relay before a collector that loses answers, as a network does; and what passed through it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx2


class Relay(ThreadingHTTPServer):
    """Passes requests on to `target`; `events` are all that was posted, request by request, and `unsent` how
    many of them were not passed on.

    `before` and `after` run once each, when the next batch of usage is about to be passed on, and when its
    answer is there; that answer is then lost: the connection ends without it.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Passing)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.target = ""
        self.events: list[list[dict[str, Any]]] = []
        self.before: Callable[[], None] | None = None
        self.after: Callable[[], None] | None = None
        self.unsent = 0
        self.lock = threading.Lock()

    def usage(self) -> list[dict[str, Any]]:
        """Every usage event that was posted, each time it was; heartbeats left out."""
        return [one for events in self.events for one in events if "sessionBoundary" not in one]


class _Passing(BaseHTTPRequestHandler):
    server: Relay
    protocol_version = "HTTP/1.0"

    def do_POST(self) -> None:
        """Pass one request on."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        relay = self.server
        with relay.lock:
            events = json.loads(body)["events"]
            relay.events.append(events)
            usage = any("sessionBoundary" not in one for one in events)
            if usage and relay.before is not None:
                before, relay.before = relay.before, None
                before()
                relay.unsent += len(events)
                return
            answer = self._passed(body)
            if usage and relay.after is not None:
                after, relay.after = relay.after, None
                after()
                return
        with suppress(ConnectionError):  # a client that is told to stop does not wait for it
            self.send_response(answer.status_code)
            self.send_header("Content-Type", answer.headers["content-type"])
            self.end_headers()
            self.wfile.write(answer.content)

    def _passed(self, body: bytes) -> httpx2.Response:
        headers = {name: value for name, value in self.headers.items() if name.lower() in _HEADERS}
        return httpx2.post(self.server.target + self.path, content=body, headers=headers, trust_env=False)

    def log_request(self, code: object = "-", size: object = "-") -> None:
        """Say nothing."""


_HEADERS = ("x-api-key", "x-tenant-id", "content-type", "authorization")


@contextmanager
def relaying() -> Iterator[Relay]:
    """A relay that runs."""
    relay = Relay()
    thread = threading.Thread(target=relay.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield relay
    finally:
        relay.shutdown()
        thread.join()
        relay.server_close()
