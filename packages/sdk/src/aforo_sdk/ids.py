"""Trace and span ids: time-ordered, from a generator of our own.

A user's `random.seed(0)` must not make two processes bill under the same ids, and neither must a fork: the
generator is private, seeded from the operating system, and seeded again in every child.
"""

import os
import random
import time

_random = random.Random(os.urandom(32))


def new_trace_id() -> int:
    """A 128-bit trace id: 48 bits of unix milliseconds, then 80 random bits."""
    return (time.time_ns() // 1_000_000 & 0xFFFF_FFFF_FFFF) << 80 | _random.getrandbits(80)


def new_span_id() -> int:
    """A 64-bit span id, never 0."""
    return _random.getrandbits(64) or 1


def new_ids() -> tuple[int, int]:
    """A trace id and a span id in it, as above."""
    bits = _random.getrandbits(144)
    return time.time_ns() // 1_000_000 << 80 | bits >> 64, bits & 0xFFFF_FFFF_FFFF_FFFF or 1


def fraction() -> float:
    """A random number in [0, 1): jitter for the sender."""
    return _random.random()


def reseed() -> None:
    """Seed again from the operating system. Called in the child of a fork."""
    _random.seed(os.urandom(32))
