"""One HTTP request and its answer, as far as calls are concerned: what it opens, and what ends that.

Ids are unique within a session of the legacy protocol; without one every request stands for itself. Where
there is a session, an answer may come on another stream than the one that asked for it.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import parse_qs

from aforo_sdk import plugin

from aforo_mcp import calls, jsonrpc, links
from aforo_mcp.proxy_calls import CONNECTION_LOST, Connection, OpenCall, Parked, Payment, guarded

RESUME_TIMEOUT_S: Final = 300
"""How long an answer of the legacy protocol may wait while nobody listens for it."""
SESSIONS_MAX: Final = 10_000
MODERN_PROTOCOL: Final = "2026-07-28"
"""From this version on there are no sessions, and whoever closes a stream cancels what it asked for."""

_TRANSPORT: Final = plugin.text("network.transport", "tcp")
_ADDRESSES: Final = (b"/", b"http")
"""What the first event of the transport of 2024 begins with: where the client is to send its requests."""


class Sessions:
    """The sessions of the legacy protocol that are known, the least recently used first."""

    def __init__(self, payment: Payment, parked: Parked) -> None:
        self._payment = payment
        self._parked = parked
        self._connections: OrderedDict[str, Connection] = OrderedDict()

    def of_request(self, headers: Mapping[str, str], query: str) -> tuple[Connection, str]:
        """Within what the ids of a request are unique, and the session's id if it is one, else "".

        `headers` are in lower case. The transport of 2024 names sessions in the query: of those only ids are
        taken that a server has given out.
        """
        session_id = headers.get("mcp-session-id", "")
        if not session_id and (named := _session_in(query)) in self._connections:
            session_id = named
        if not session_id or headers.get("mcp-protocol-version", "") >= MODERN_PROTOCOL:
            return Connection(self._payment, self._parked, attributes=_TRANSPORT), ""
        return self.named(session_id), session_id

    def named(self, session_id: str) -> Connection:
        """The session of this id, from now on known."""
        connection = self._connections.get(session_id)
        if connection is None:
            attributes = _TRANSPORT + plugin.text_once(calls.MCP_SESSION_ID, session_id)
            billed_as = calls.session_of(session_id)
            connection = Connection(self._payment, self._parked, billed_as, attributes)
            self._connections[session_id] = connection
            if len(self._connections) > SESSIONS_MAX:
                self._forget_oldest()
        self._connections.move_to_end(session_id)
        return connection

    def end(self, session_id: str) -> None:
        """The client has deleted a session."""
        connection = self._connections.pop(session_id, None)
        if connection is not None:
            connection.close(calls.WAS_CANCELLED)
            connection.end_session()

    def close(self) -> None:
        """The proxy ends, the sessions may go on without it: only what is open is over."""
        for connection in self._connections.values():
            connection.close(calls.WAS_CANCELLED)

    def _forget_oldest(self) -> None:
        for session_id, connection in self._connections.items():
            if not connection.waits:
                del self._connections[session_id]
                return


class Exchange:
    """One request of a client, from its headers and body to the last byte of its answer."""

    def __init__(
        self, sessions: Sessions, method: str, headers: Mapping[str, str], query: str, body: bytearray
    ) -> None:
        self._sessions = sessions
        self._ends_session = method == "DELETE"
        self._resumes = "last-event-id" in headers
        self.link = ""
        """What the upstream is to be told in the header of links; empty if no tool is called."""
        self._session_id = ""
        self._opened: list[OpenCall] = []
        self._status = 0
        self._events: jsonrpc.Events | None = None
        self._whole = bytearray()
        self._inflate: Callable[[bytes | bytearray], bytes | bytearray] = _nothing
        self._begin(method, headers, query, body)

    @guarded
    def _begin(self, method: str, headers: Mapping[str, str], query: str, body: bytearray) -> None:
        self._connection, self._session_id = self._sessions.of_request(headers, query)
        if method == "POST":
            readable = _inflater(headers.get("content-encoding", ""), "a request")(body)
            link = links.for_request()
            self._opened = self._connection.request(readable, headers, link)
            if self._opened:
                self.link = link.text

    @guarded
    def answered(self, status: int, content_type: str, encoding: str) -> None:
        """The head of the answer is there."""
        self._status = status
        if content_type.lower().startswith("text/event-stream"):
            self._events = jsonrpc.Events()
            if self._resumes:
                self._connection.listeners.add(self)
        if self._opened or self._events is not None:
            self._inflate = _inflater(encoding, "an answer")

    @guarded
    def show(self, chunk: bytes) -> None:
        """Read what the client is about to see."""
        plain = self._inflate(chunk)
        if self._events is None:
            self._whole += plain
            return
        for event in self._events.feed(bytes(plain)):
            if event.startswith(_ADDRESSES) and (session_id := _session_in(event.decode("utf-8", "replace"))):
                self._connection = self._sessions.named(session_id)
                self._connection.listeners.add(self)
            self._connection.reply(event)

    @guarded
    def end(self) -> None:
        """The upstream has said all it had to say; the client must not have the last of it before this."""
        if self._whole:
            self._connection.reply(self._whole)
            self._whole.clear()
        if self._status >= 400:
            now_ns = time.time_ns()
            for call in self._opened:
                self._connection.end(call, _error_type_of(self._status), now_ns)
        else:
            self.lost(CONNECTION_LOST)
        if self._ends_session and self._session_id and self._status < 300:
            self._sessions.end(self._session_id)

    @guarded
    def lost(self, error_type: str) -> None:
        """The stream is gone. Elsewhere that is the end of its calls; in a session they may be resumed."""
        now_ns, now_s = time.time_ns(), asyncio.get_running_loop().time()
        if self in self._connection.listeners:
            self._connection.listeners.discard(self)
            self._connection.left_s = now_s
        for call in self._opened:
            if not self._session_id:
                self._connection.end(call, error_type, now_ns)
            elif self._connection.is_open(call):
                self._wait(call, error_type, now_ns, now_s)

    def _wait(self, call: OpenCall, error_type: str, lost_ns: int, quiet_s: float) -> None:
        """End a call whose stream was lost at `lost_ns`, once nobody has listened for its answer for long; it has
        been quiet since `quiet_s` (seconds of the loop).
        """
        loop = asyncio.get_running_loop()
        left_s = RESUME_TIMEOUT_S - (loop.time() - quiet_s)
        if left_s <= 0:
            self._connection.end(call, error_type, lost_ns)
        elif self._connection.is_open(call):
            loop.call_later(left_s, self._look, call, error_type, lost_ns, quiet_s)

    @guarded
    def _look(self, call: OpenCall, error_type: str, lost_ns: int, quiet_s: float) -> None:
        connection, now_s = self._connection, asyncio.get_running_loop().time()
        quiet_s = now_s if connection.listeners else max(quiet_s, connection.left_s)
        self._wait(call, error_type, lost_ns, quiet_s)

    @guarded
    def unreachable(self) -> None:
        """There was no answer at all."""
        now_ns = time.time_ns()
        for call in self._opened:
            self._connection.end(call, CONNECTION_LOST, now_ns)


def _nothing(_: bytes | bytearray) -> bytes:
    return b""


def _inflater(encoding: str, what: str) -> Callable[[bytes | bytearray], bytes | bytearray]:
    """What takes the content encoding off; what cannot be read is passed on all the same, with a warning."""

    def warn(error: ValueError) -> None:
        plugin.count("mcp_proxy_unreadable")
        plugin.warn_once(
            f"mcp.encoding.{what}",
            f"{what} cannot be read: {error}. It was passed on unchanged; calls in it lack an outcome or a span.",
        )

    try:
        inflate = jsonrpc.inflater(encoding)
    except ValueError as error:
        warn(error)
        return _nothing

    def guarded(chunk: bytes | bytearray) -> bytes | bytearray:
        try:
            return inflate(chunk)
        except ValueError as error:
            warn(error)
            return b""

    return guarded


def _session_in(address: str) -> str:
    """The session that an address or a query names: how HTTP with SSE, of 2024, tells its POSTs apart."""
    query = parse_qs(address.rpartition("?")[2])
    return (query.get("session_id") or query.get("sessionId") or [""])[0]


def _error_type_of(status: int) -> str:
    """The `error.type` of a call that HTTP itself refused."""
    if status in (408, 504):
        return calls.TIMED_OUT
    return calls.WAS_CANCELLED if status == 499 else str(status)
