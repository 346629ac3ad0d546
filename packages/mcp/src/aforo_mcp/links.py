"""What ties the proxy's view of a call to that of a metered server behind it, where no trace does.

The proxy makes up a link: one for a child process, in its environment, or one for every HTTP request, in a
header. From it and the request's id both sides derive the same trace and the same `gen_ai.tool.call.id`; to
the collector, two spans that share these and overlap in time are one call.

A link says nothing about who pays. Whoever sends one to a server that has no proxy can at most have one call
of his own taken for another, and `spans` lets no two calls that a process serves at once have one id.
"""

import os
from hashlib import blake2b
from typing import Final, NamedTuple

from aforo_sdk.plugin import new_trace_id

ENVIRONMENT: Final = "AFORO_MCP_LINK"
HEADER: Final = "aforo-mcp-link"
ID_LENGTH_MAX: Final = 256

_LINK_LENGTH: Final = 32
_TIME_SHIFT: Final = 80
_HASH_SIZE_BYTES: Final = 10


class Link(NamedTuple):
    """32 hex digits, the first 12 of them the time; `is_of_one_request` where the transport is HTTP."""

    text: str
    is_of_one_request: bool

    @property
    def session_id(self) -> str:
        """The session that a child process is, for the protocol has no name for it; "" over HTTP."""
        return "" if self.is_of_one_request else f"mcp-stdio-{self.text}"


class Place(NamedTuple):
    """Where a call stands: its trace (0: not said), its parent there (0: none), its own id ("": none)."""

    trace_id: int = 0
    parent_id: int = 0
    call_id: str = ""


NOWHERE: Final = Place()


def for_child() -> Link:
    """A link with a process that is about to be started."""
    return Link(f"{new_trace_id():032x}", is_of_one_request=False)


def for_request() -> Link:
    """A link for one HTTP request."""
    return Link(f"{new_trace_id():032x}", is_of_one_request=True)


def of_header(value: object) -> Link | None:
    """The link that a request brings; None for what our proxy would not have written."""
    return Link(value, is_of_one_request=True) if isinstance(value, str) and _is_link(value) else None


def _inherit() -> Link | None:
    """Take the link out of the environment: what this process starts is not what the proxy talks to."""
    value = os.environ.pop(ENVIRONMENT, "")
    return Link(value, is_of_one_request=False) if _is_link(value) else None


def _is_link(value: str) -> bool:
    return len(value) == _LINK_LENGTH and not value.strip("0123456789abcdef")


inherited: Final = _inherit()
"""The link with the proxy that started this process, if one did."""


def place_of(parent: tuple[int, int] | None, link: Link | None, request_id: object, tool: str) -> Place:
    """Where a call stands by what its request says: under the caller's span `parent`, and linked or not.

    A child may run where environments do not reach (a container), so over stdio the caller's span, which
    reaches everywhere, makes the id if there is one. Over HTTP clients may share a span and count their
    requests from 1 each: there the link makes it.
    """
    call_id = ""
    if request_id is not None:
        if link is not None and (parent is None or link.is_of_one_request):
            call_id = f"mcp:{link.text}:{request_id}:{tool}"
        elif parent is not None:
            call_id = f"mcp:{parent[1]:016x}:{request_id}:{tool}"
        if len(call_id) > ID_LENGTH_MAX:
            call_id = ""
    if parent is not None:
        return Place(*parent, call_id)
    if link is None or not call_id:
        return NOWHERE
    return Place(_trace_id(link, request_id), 0, call_id)


def _trace_id(link: Link, request_id: object) -> int:
    """A trace for every request, or that of a child would grow for ever; its time is the link's."""
    digest = blake2b(f"{link.text}:{request_id}".encode(errors="replace"), digest_size=_HASH_SIZE_BYTES)
    return int(link.text, 16) >> _TIME_SHIFT << _TIME_SHIFT | int.from_bytes(digest.digest(), "big")
