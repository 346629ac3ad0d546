"""Figures over all tenants for monitoring; cheap however big the store is."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

OUTCOMES = ("received", "recorded", "duplicates", "conflicts", "rejected")


class Figures(NamedTuple):
    """`intake` is {door: counts in the order of `OUTCOMES`}; `sessions_running` still have a deadline."""

    intake: dict[str, tuple[int, ...]]
    sessions_opened: int
    sessions_running: int


def figures(connection: sqlite3.Connection) -> Figures:
    """The figures of one moment."""
    sums = ", ".join(f"sum({outcome})" for outcome in OUTCOMES)
    rows = connection.execute(f"SELECT door, {sums} FROM intake GROUP BY door ORDER BY door").fetchall()
    opened = connection.execute("SELECT max(session_no) FROM sessions").fetchone()[0]
    running = connection.execute("SELECT count(*) FROM session_due").fetchone()[0]
    return Figures({row[0]: tuple(row[1:]) for row in rows}, int(opened or 0), int(running))
