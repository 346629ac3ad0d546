"""Derived ids: the same input has the same id however often it is processed."""

from __future__ import annotations

import hashlib


def span_event_id(trace_id: bytes, span_id: int, metric: str) -> str:
    """The id of the usage event that a span is for one metric."""
    return f"{trace_id.hex()}-{span_id & 0xFFFFFFFFFFFFFFFF:016x}-{metric}"


def span_of_event_id(event_id: str) -> tuple[bytes, int] | None:
    """(trace id, span id) of `span_event_id`; None for another text."""
    trace, _, rest = event_id.partition("-")
    span = rest.partition("-")[0]
    try:
        trace_id, span_id = bytes.fromhex(trace), bytes.fromhex(span)
    except ValueError:
        return None
    if len(trace_id) != 16 or len(span_id) != 8:
        return None
    return trace_id, int.from_bytes(span_id, "big", signed=True)


def final_event_id(tenant_id: str, customer_id: str, session_id: str, metric: str) -> str:
    """The id of the final billing event of a session for one metric."""
    said = f"{tenant_id}\x1f{customer_id}\x1f{session_id}".encode()
    return f"final-{hashlib.blake2b(said, digest_size=16).hexdigest()}-{metric}"


def moment_no(key: str) -> int:
    """A number for an event that breaks ties between those of one moment, whatever order they came in."""
    said = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(said, "big", signed=True)
