"""One request to a collector: OTLP/HTTP protobuf over one kept connection, and what the answer means.

`requests` is imported here, at the first request and in the sender's thread: it takes longer than a short
program runs.
"""

import gzip
import time
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from aforo_sdk import wire
from aforo_sdk.settings import Destination

if TYPE_CHECKING:
    from requests import Response, Session

CONNECT_TIMEOUT_S: Final = 1.0
READ_TIMEOUT_S: Final = 10.0
RETRY_AFTER_S_MAX: Final = 3600.0
REASON_LENGTH_MAX: Final = 500


class Verdict(Enum):
    """What became of a request."""

    ACCEPTED = "accepted"  # 2xx: the collector is answerable for these spans now
    REJECTED = "rejected"  # 400, 413, 422: something in it is not acceptable, and never will be
    BUSY = "busy"  # 408, 425, 429, 5xx or no answer: the same request will do later
    MISDIRECTED = "misdirected"  # 401, 403, 404 …: key or address are wrong until somebody changes them


@dataclass(frozen=True, slots=True)
class Answer:
    """A verdict with its reason for people, when to come back (seconds; None = not said), and spans not
    taken.
    """

    verdict: Verdict
    reason: str = ""
    retry_after_s: float | None = None
    rejected_spans: int = 0


class Transport:
    """A connection to one destination, for one thread. `post` never raises."""

    def __init__(self, destination: Destination) -> None:
        self.destination = destination
        self._compress = not destination.on_loopback
        self._session: Session | None = None

    def post(self, body: bytes) -> Answer:
        """Send one encoded `ExportTraceServiceRequest`."""
        try:
            session = self._session or self._open()
            response = session.post(
                self.destination.traces_url,
                data=gzip.compress(body, 1) if self._compress else body,
                timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S),
                allow_redirects=False,
            )
            return _answer(response)
        except Exception as error:
            # Whatever a network, a proxy or an address can do: the spans stay for the next attempt.
            return Answer(Verdict.BUSY, f"{type(error).__name__}: {error}"[:REASON_LENGTH_MAX])

    def close(self) -> None:
        """Close the connection."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def _open(self) -> "Session":
        import requests

        session = requests.Session()
        session.trust_env = not self.destination.on_loopback
        session.headers.update(self.destination.headers)
        session.headers["Content-Type"] = "application/x-protobuf"
        if self._compress:
            session.headers["Content-Encoding"] = "gzip"
        self._session = session
        return session


def request_body(resource: bytes, scope: bytes, records: bytes) -> bytes:
    """Encoded spans (field-2 records) of one resource and scope as an `ExportTraceServiceRequest`."""
    scope_field = wire.sized(b"\x0a", scope)
    before = (
        wire.sized(b"\x0a", resource) + b"\x12" + wire.varint(len(scope_field) + len(records)) + scope_field
    )
    # One join: every further copy of a body this long costs more than all the rest here.
    return b"".join((b"\x0a", wire.varint(len(before) + len(records)), before, records))


def _answer(response: "Response") -> Answer:
    status = response.status_code
    if 200 <= status < 300:
        rejected, reason = _partial_success(response)
        return Answer(Verdict.ACCEPTED, reason, rejected_spans=rejected)
    said = "".join(sign if sign.isprintable() else " " for sign in response.text[:REASON_LENGTH_MAX])
    reason = f"HTTP {status} {response.reason or ''} {said.strip()}".strip()
    if status in (400, 413, 422):
        return Answer(Verdict.REJECTED, reason)
    if status in (408, 425, 429) or status >= 500:
        return Answer(Verdict.BUSY, reason, _retry_after_s(response.headers.get("Retry-After"), time.time()))
    return Answer(Verdict.MISDIRECTED, reason)


def _partial_success(response: "Response") -> tuple[int, str]:
    """(spans the collector did not take, why) from an `ExportTraceServiceResponse`; (0, "") from anything
    else.
    """
    rejected, reason = 0, ""
    if "protobuf" not in response.headers.get("Content-Type", "protobuf"):
        return rejected, reason
    try:
        for number, _, partial in wire.fields(response.content):
            if number == 1 and isinstance(partial, bytes):
                for inner, _, value in wire.fields(partial):
                    if inner == 1 and isinstance(value, int):
                        rejected = value
                    elif inner == 2 and isinstance(value, bytes):
                        reason = value.decode("utf-8", "replace")[:REASON_LENGTH_MAX]
    except ValueError:
        return 0, ""
    return rejected, reason


def _retry_after_s(value: str | None, now_s: float) -> float | None:
    """`Retry-After` as seconds from now, at most an hour; None when absent or unreadable."""
    from email.utils import parsedate_to_datetime

    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - now_s
        except (ValueError, OverflowError):
            return None
    # Not `max(0, min(…))`: that would let a NaN through.
    return min(seconds, RETRY_AFTER_S_MAX) if seconds > 0 else 0.0
