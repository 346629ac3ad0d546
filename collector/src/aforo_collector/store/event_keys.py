"""Idempotency keys of events: kept for ever, each with the hash of what came under it and the event it became.

Keys that come in order are kept in a B-tree, where they are written side by side. The others, each of which
would need a page of its own there, are kept in an index of random keys. A key is in one of the two.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Mapping
from hashlib import blake2b
from operator import lt
from struct import Struct

from .key_index import KeyIndex, KeyReads
from .key_pages import KEY_SIZE_BYTES, tables

ORDERED_KEYS_MIN = 64
"""So many keys at once show whether they come in order."""
STARTS_MAX = 10_000
"""Beginnings of keys that are told apart; where there are more, any key may be in the index."""
NAME = "scattered_keys"

_value = Struct(">q16s")


def scattered_keys() -> str:
    """The SQL that makes the tables of the index, for a step of the schema."""
    return tables(NAME) + "CREATE TABLE scattered_starts (start TEXT PRIMARY KEY) WITHOUT ROWID;"


def _places(tenant_no: int, keys: Iterable[str]) -> dict[str, bytes]:
    """Under what each key stands in the index: digests of 128 bits, of which no two are alike."""
    tenant = b"%d:" % tenant_no
    return {key: blake2b(tenant + key.encode(), digest_size=KEY_SIZE_BYTES).digest() for key in keys}


class KeyRows:
    """Finds and keeps keys on the writing connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self._index = KeyIndex(connection, NAME, _value.size)
        self._absent: dict[int, set[str]] = {}
        """The keys of each tenant that were looked for in this transaction and not found."""
        self._load_starts()

    def _load_starts(self) -> None:
        self._starts = {row[0] for row in self._db.execute("SELECT start FROM scattered_starts")}
        """The beginnings of all keys in the index: it needs no look for keys that begin otherwise."""

    def forget(self) -> None:
        """Drop memory that a rollback may have made wrong."""
        self._absent.clear()
        self._index.forget()
        self._load_starts()

    def flush(self) -> None:
        """Write what is held."""
        self._absent.clear()
        self._index.flush()

    def find(self, tenant_no: int, keys: Collection[str]) -> dict[str, tuple[bytes, int]]:
        """{key: (digest, event number)} of those that are known; 0 is no event."""
        if not keys:
            return {}
        found = self._in_tree(tenant_no, keys)
        starts = self._starts
        may_be_any = len(starts) >= STARTS_MAX
        places = _places(tenant_no, [key for key in keys if key[:2] in starts or may_be_any])
        values = self._index.find_many(places.values())
        for key, place in places.items():
            if place in values:
                event_no, digest = _value.unpack(values[place])
                found[key] = digest, event_no
        absent = [key for key in keys if key not in found] if found else keys
        self._absent.setdefault(tenant_no, set()).update(absent)
        return found

    def _in_tree(self, tenant_no: int, keys: Collection[str]) -> dict[str, tuple[bytes, int]]:
        if not self._neighbours(tenant_no, keys, 1):
            return {}
        rows = self._db.execute(
            "SELECT known.key, digest, event_no FROM json_each(?) wanted"
            " CROSS JOIN event_keys known ON tenant_no = ? AND known.key = wanted.value",
            (json.dumps(list(keys)), tenant_no),
        )
        return {key: (digest, event_no) for key, digest, event_no in rows}

    def _neighbours(self, tenant_no: int, keys: Collection[str], count_max: int) -> int:
        """How many keys the tree has from the first of some to the last, counted up to a number."""
        [(count,)] = self._db.execute(
            "SELECT count(*) FROM (SELECT 1 FROM event_keys WHERE tenant_no = ? AND key BETWEEN ? AND ? LIMIT ?)",
            (tenant_no, min(keys), max(keys), count_max),
        )
        return int(count)

    def put(self, tenant_no: int, rows: Iterable[tuple[str, bytes, int]]) -> None:
        """Keep (key, digest, event number); a key that is known gets the new ones."""
        new = {key: (digest, event_no) for key, digest, event_no in rows}
        absent = self._absent.setdefault(tenant_no, set())
        for key in self.find(tenant_no, [key for key in new if key not in absent]):
            self._replace(tenant_no, key, *new.pop(key))
        absent.difference_update(new)
        if self._belong_in_tree(tenant_no, list(new)):
            self._db.executemany(
                "INSERT INTO event_keys VALUES (?, ?, ?, ?)",
                [(tenant_no, key, digest, event_no) for key, (digest, event_no) in new.items()],
            )
        else:
            self._scatter(tenant_no, new)

    def _scatter(self, tenant_no: int, new: Mapping[str, tuple[bytes, int]]) -> None:
        starts = {key[:2] for key in new} - self._starts
        if starts and len(self._starts) < STARTS_MAX:
            self._db.executemany("INSERT INTO scattered_starts VALUES (?)", [(start,) for start in starts])
            self._starts |= starts
        values = [_value.pack(event_no, digest) for digest, event_no in new.values()]
        self._index.put_many(dict(zip(_places(tenant_no, new).values(), values, strict=True)))

    def _belong_in_tree(self, tenant_no: int, keys: list[str]) -> bool:
        """Whether keys come in order, and have at most as many others between them."""
        count = len(keys)
        return (
            count >= ORDERED_KEYS_MIN
            and all(map(lt, keys, keys[1:]))
            and self._neighbours(tenant_no, keys, count + 1) <= count
        )

    def move(self, tenant_no: int, key: str, event_no: int) -> None:
        """Let a key name the event that replaced the one it named."""
        for digest, _ in self.find(tenant_no, [key]).values():
            self._replace(tenant_no, key, digest, event_no)

    def _replace(self, tenant_no: int, key: str, digest: bytes, event_no: int) -> None:
        in_tree = self._db.execute(
            "UPDATE event_keys SET digest = ?, event_no = ? WHERE tenant_no = ? AND key = ?",
            (digest, event_no, tenant_no, key),
        )
        if not in_tree.rowcount:
            [place] = _places(tenant_no, [key]).values()
            self._index.replace(place, _value.pack(event_no, digest))


def event_no_of(connection: sqlite3.Connection, tenant_no: int, key: str) -> int:
    """The number of the event that a key names, for a reader; 0 or less for none."""
    row = connection.execute(
        "SELECT event_no FROM event_keys WHERE tenant_no = ? AND key = ?", (tenant_no, key)
    ).fetchone()
    if row is not None:
        return int(row[0])
    [place] = _places(tenant_no, [key]).values()
    value = KeyReads(connection, NAME, _value.size).find(place)
    return 0 if value is None else int(_value.unpack(value)[0])
