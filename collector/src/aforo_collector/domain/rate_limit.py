"""A rate limit: a bucket that holds a minute's requests and is filled evenly.

The whole state of a bucket is the time at which it will be full again, and each request moves that by the
time it takes to refill one (the generic cell rate algorithm), so there is nothing to fill by a timer.
"""

from __future__ import annotations

from typing import Final, NamedTuple

WINDOW_S: Final = 60
_NS_PER_S: Final = 1_000_000_000
_WINDOW_NS: Final = WINDOW_S * _NS_PER_S


class Spending(NamedTuple):
    """What became of a request: `full_ns` is the new state; `wait_ns` is 0 when it may pass."""

    full_ns: int
    wait_ns: int
    remaining: int


def spend(full_ns: int, now_ns: int, per_minute: int) -> Spending:
    """Take one request of a bucket of `per_minute` (at least 1), full at `full_ns`; 0 for a new one."""
    each_ns = _WINDOW_NS // per_minute
    full_ns = max(full_ns, now_ns)
    after_ns = full_ns + each_ns
    wait_ns = after_ns - now_ns - each_ns * per_minute
    if wait_ns > 0:
        return Spending(full_ns, wait_ns, 0)
    return Spending(after_ns, 0, (each_ns * per_minute - (after_ns - now_ns)) // each_ns)


def seconds(ns: int) -> int:
    """Whole seconds, rounded up."""
    return -(-ns // _NS_PER_S)
