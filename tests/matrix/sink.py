"""Takes OTLP over HTTP and keeps the bodies as they came, by the setting of the scenario they belong to."""

import gzip
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class BodySink:
    """Listens on a free loopback port.

    The program of a cell posts to `/settings/NAME` when all spans of a setting have been delivered: the
    bodies since the last such post are that setting's, and `on_setting` is told its name before the answer.
    """

    def __init__(self, on_setting: Callable[[str], None] = lambda _: None) -> None:
        self.bodies: dict[str, list[bytes]] = {}
        self._waiting: list[bytes] = []
        self._lock = threading.Lock()
        sink = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                self._answer()

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                if self.path.startswith("/settings/"):
                    sink._close(self.path.removeprefix("/settings/"), on_setting)
                elif self.path == "/v1/traces":
                    with sink._lock:
                        sink._waiting.append(body)
                self._answer()

            def _answer(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def _close(self, setting: str, on_setting: Callable[[str], None]) -> None:
        with self._lock:
            self.bodies[setting], self._waiting = self._waiting, []
        on_setting(setting)

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
