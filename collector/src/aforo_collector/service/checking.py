"""Checking a store: what is derived equals what it is derived from, and the books balance."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from aforo_collector.domain.catalog_file import parse
from aforo_collector.store.posting_count import posting_differences, rebuild_postings
from aforo_collector.store.roll_up_count import differences, rebuild
from aforo_collector.store.sample_count import sample_differences, unnoted_metrics
from aforo_collector.store.sqlite import Database

FOUND_MAX: Final = 20
"""Findings of one check that are told; where there are so many, the first ones say enough."""


class Finding(NamedTuple):
    """Something that is not as it must be: which check found it, and what it is."""

    check: str
    detail: str


def check(database: Database) -> list[Finding]:
    """Everything that is wrong with a store that nobody else works on, at most `FOUND_MAX` of each check."""
    found = []
    for name, search in _CHECKS.items():
        for number, detail in enumerate(search(database.write)):
            if number == FOUND_MAX:
                found.append(Finding(name, "and more"))
                break
            found.append(Finding(name, detail))
    return found


def rebuild_derived(database: Database) -> None:
    """Count roll-ups and posting lists anew from the usage events, in one transaction."""
    connection = database.write
    connection.execute("BEGIN IMMEDIATE")
    try:
        rebuild(connection)
        rebuild_postings(connection)
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _damage(connection: sqlite3.Connection) -> Iterator[str]:
    return (row[0] for row in connection.execute("PRAGMA quick_check") if row[0] != "ok")


def _books(connection: sqlite3.Connection) -> Iterator[str]:
    rows = connection.execute(
        "SELECT tenant_id, door, received, recorded, duplicates, conflicts, rejected FROM intake"
        " JOIN tenants USING (tenant_no) WHERE received <> recorded + duplicates + conflicts + rejected"
    )
    for tenant_id, door, received, *fates in rows:
        yield f"tenant {tenant_id!r}, door {door!r}: {received} received, but {' + '.join(map(str, fates))}"


def _values(connection: sqlite3.Connection) -> Iterator[str]:
    yield from unnoted_metrics(connection)
    latest = "SELECT tenant_no, body, max(catalog_no) FROM catalogs GROUP BY tenant_no"
    for tenant_no, body, _ in connection.execute(latest).fetchall():
        for metric in parse(json.loads(body)).sampled_metrics():
            yield from sample_differences(connection, tenant_no, metric)


_CHECKS: Final[dict[str, Callable[[sqlite3.Connection], Iterator[str]]]] = {
    "file": _damage,
    "books": _books,
    "roll-ups": differences,
    "posting lists": posting_differences,
    "values": _values,
}
