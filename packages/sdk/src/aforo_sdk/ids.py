"""Trace and span ids: time-ordered, from a generator of our own.

A user's `random.seed(0)` must not make two processes bill under the same ids, and neither must a fork: the
generator is private, seeded from the operating system, and seeded again in every child.
"""

import os
import random
import time

_random = random.Random(os.urandom(32))
_bits = _random.getrandbits


def new_trace_id() -> int:
    """A 128-bit trace id: 48 bits of unix milliseconds, then 80 random bits."""
    return (time.time_ns() // 1_000_000 & 0xFFFF_FFFF_FFFF) << 80 | _bits(80)


def new_span_id() -> int:
    """A 64-bit span id, never 0."""
    return _bits(64) or 1


def new_ids(now_ns: int) -> tuple[int, int]:
    """A trace id, and the span id of its root: the lower half, which is as random, for half of the work."""
    bits = _bits(80)
    return now_ns // 1_000_000 << 80 | bits, bits & 0xFFFF_FFFF_FFFF_FFFF or 1


def fraction() -> float:
    """A random number in [0, 1): jitter for the sender."""
    return _random.random()


def reseed() -> None:
    """Seed again from the operating system. Called in the child of a fork."""
    _random.seed(os.urandom(32))
